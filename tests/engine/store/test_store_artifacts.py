"""Artifacts: equal parts give equal keys, and a folder is complete or absent."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.store import artifacts

ROOT = Path(__file__).parents[3]
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(parts=st.dictionaries(st.from_regex(r"[a-z]+", fullmatch=True), plain, min_size=1))
def test_keys_depend_on_values_and_not_on_order(parts):
    key = artifacts.artifact_key(**parts)
    assert len(key) == 16
    assert key == artifacts.artifact_key(**dict(reversed(parts.items())))
    assert key == artifacts.artifact_key(**json.loads(json.dumps(parts)))
    assert key != artifacts.artifact_key(**parts, **{"one more": 1})


def test_keys_tell_numbers_from_texts_and_refuse_what_has_no_form():
    assert artifacts.artifact_key(a=1) != artifacts.artifact_key(a="1")
    assert (
        artifacts.artifact_key(a=(1, 2))
        == artifacts.artifact_key(a=[1, 2])
        == artifacts.artifact_key(a=np.array([1, 2]))
    )
    for bad in (float("nan"), object()):
        with pytest.raises(EngineError, match="part of a key"):
            artifacts.artifact_key(a=bad)


def test_an_artifact_appears_whole_with_its_manifest(tmp_path):
    assert artifacts.find(tmp_path, "scores", "k") is None
    manifest = {"rows": 3}
    with artifacts.create(tmp_path, "scores", "k", manifest) as folder:
        artifacts.save_array(folder, "score", np.arange(3.0))
        assert artifacts.find(tmp_path, "scores", "k") is None
        manifest["late"] = float("inf")
    found = artifacts.find(tmp_path, "scores", "k")
    assert found == tmp_path / "scores-k"
    assert artifacts.read_manifest(found) == {"rows": 3, "late": None, "format": 1, "stage": "scores", "key": "k"}
    assert isinstance(artifacts.load_array(found, "score"), np.memmap)
    assert artifacts.load_array(found, "score", mmap=False).tolist() == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["scores-k"]


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), artifacts.create(tmp_path, "scores", "k", {}) as folder:
        artifacts.save_array(folder, "score", np.arange(3.0))
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_a_complete_artifact_is_never_replaced_and_an_incomplete_one_is(tmp_path):
    (tmp_path / "scores-k").mkdir()
    (tmp_path / "scores-k" / "old.npy").write_text("half")
    with artifacts.create(tmp_path, "scores", "k", {"maker": 1}):
        pass
    with artifacts.create(tmp_path, "scores", "k", {"maker": 2}):
        pass
    assert artifacts.read_manifest(tmp_path / "scores-k")["maker"] == 1
    assert not (tmp_path / "scores-k" / "old.npy").exists()


def test_unreadable_artifacts_are_told(tmp_path):
    with pytest.raises(EngineError, match="not complete"):
        artifacts.read_manifest(tmp_path)
    artifacts.write_json(tmp_path / "manifest.json", {"format": 99})
    with pytest.raises(EngineError, match="format 99"):
        artifacts.read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{half")
    with pytest.raises(EngineError, match="not readable JSON"):
        artifacts.read_manifest(tmp_path)
    with pytest.raises(EngineError, match="is missing"):
        artifacts.load_array(tmp_path, "absent")
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(EngineError, match="not a readable array"):
        artifacts.load_array(tmp_path, "bad")


def test_objects_are_neither_written_nor_read(tmp_path):
    with pytest.raises(EngineError, match="objects are not stored"):
        artifacts.save_array(tmp_path, "x", np.array([{}], object))
    np.save(tmp_path / "y.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(EngineError, match="not a readable array"):
        artifacts.load_array(tmp_path, "y")


def test_empty_arrays_come_back(tmp_path):
    artifacts.save_array(tmp_path, "none", np.zeros((0, 3), np.float32))
    assert artifacts.load_array(tmp_path, "none").shape == (0, 3)


WRITER = """
import sys, itertools
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from engine.store.artifacts import write_json
for i in itertools.count():
    write_json(Path(sys.argv[2]), {"i": i, "pad": "x" * 50_000})
    if i == 5:
        print("now", flush=True)
"""


def test_a_json_file_is_never_seen_half_written(tmp_path):
    path = tmp_path / "progress.json"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(ROOT), str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seen = [artifacts.read_json(path)["i"] for _ in range(50)]
        process.kill()
    assert seen == sorted(seen)
    assert len(artifacts.read_json(path)["pad"]) == 50_000
