"""The shared memory: one value per key, made anew under another version, bounded in bytes; and what reads it keeps."""

import threading
import time

import numpy as np
import pytest

from pages.parts import reads
from pages.parts.memory import Memory, size


def test_a_value_is_made_once_per_version_from_the_one_before():
    memory, made = Memory(10_000), []

    def make(before):
        made.append(before)
        return len(made)

    assert [memory.get("k", v, make) for v in ("a", "a", "b", "b", "a")] == [1, 1, 2, 2, 3]
    assert made == [None, 1, 2]
    with pytest.raises(ZeroDivisionError):
        memory.get("k", "c", lambda _: 1 // 0)
    assert memory.get("k", "a", make) == 3, "an error took the value that was there"


def test_the_longest_unused_go_first_and_the_bound_holds():
    memory = Memory(5 * 8_100)
    for at in range(20):
        memory.get(at, 0, lambda _: np.zeros(1000))
        memory.get("used all along", 0, lambda _: np.zeros(1000))
        assert memory.bytes <= memory.limit
    assert len(memory) == 5
    kept = memory.get("used all along", 0, lambda _: pytest.fail("it went although it was in use"))
    assert len(kept) == 1000
    assert len(memory.get("larger than all", 0, lambda _: np.zeros(100_000))) == 100_000
    assert len(memory) == 1


def test_sizes_count_arrays_and_texts_but_not_mapped_files(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(1000))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert size(mapped) == size(mapped[10:]) == 0
    assert size(np.asarray(mapped)[10:]) == 0
    assert size({"a": [np.zeros(1000), "x" * 500]}) == pytest.approx(8500, abs=300)
    assert size(["x" * 936] * 10_000) == pytest.approx(10_000_000, rel=0.01)


def test_threads_make_a_value_once_and_one_that_must_not_wait_does_not():
    memory, made = Memory(10_000), []

    def slow(_):
        made.append(1)
        time.sleep(0.2)
        return "slow"

    threads = [threading.Thread(target=memory.get, args=("k", 0, slow)) for _ in range(4)]
    for thread in threads:
        thread.start()
    while not made:
        time.sleep(0.01)
    assert memory.get("k", 0, lambda _: "own", patient=False) == "own"
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_a_decision_makes_nothing_else_be_read_again(make_project, monkeypatch):
    project = make_project()
    before = {name: reads.by_state(project, name) for name in ("runs", "files", "selections", "latest_map")}
    words = reads.column(project, "words")
    asked = []
    for name in ("runs", "files", "selections", "latest_map", "pool_hash", "column"):
        monkeypatch.setattr(project, name, lambda *_, name=name: asked.append(name))
    project.decide([3], "approve", by="Ada")
    assert reads.decisions(project)[3] == 1
    assert {name: reads.by_state(project, name) for name in before} == before
    assert reads.column(project, "words") is words
    assert asked == []
    assert reads.by_state(project, "counts").decisions["approve"] == 1
    project.undo(by="Ada")
    assert reads.decisions(project)[3] == 0
    assert reads.by_state(project, "counts").decisions["approve"] == 0
