"""Shards: what a kill may and may not cost."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import Cancelled, EngineError
from engine.progress import Silent
from engine.runs.jobfolder import JobFolder
from engine.runs.reporter import FileReporter
from engine.runs.shards import Table, compute_shards, compute_table


class Killed(Exception):
    """Stands for the end of the process in the middle of a shard."""


def square(rows: np.ndarray) -> np.ndarray:
    return np.stack([rows, rows**2], axis=1).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.integers(0, 10**6), max_size=40), shard_rows=st.integers(1, 12))
def test_any_cutting_equals_one_pass(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], shard_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("work")
    whole = compute_shards(folder, "squares", rows, shard_rows, square, Silent())
    np.testing.assert_array_equal(whole, square(np.array(rows, dtype=np.int64)))


def test_a_killed_run_computes_only_what_is_missing(tmp_path: Path) -> None:
    seen: list[int] = []

    def until_40(rows: np.ndarray) -> np.ndarray:
        if 40 in rows:
            raise Killed
        seen.extend(rows.tolist())
        return square(rows)

    with pytest.raises(Killed):
        compute_shards(tmp_path, "squares", np.arange(100), 16, until_40, Silent())
    assert seen == list(range(32))
    later: list[int] = []
    whole = compute_shards(
        tmp_path, "squares", np.arange(100), 64, lambda r: (later.extend(r.tolist()), square(r))[1], Silent()
    )
    assert later == list(range(32, 100)), "finished shards were computed again, or the shard size changed on resume"
    np.testing.assert_array_equal(whole, square(np.arange(100)))


def test_a_finished_computation_is_opened_not_repeated(tmp_path: Path) -> None:
    compute_shards(tmp_path, "squares", np.arange(10), 4, square, Silent())

    def never(rows: np.ndarray) -> np.ndarray:
        raise Killed

    whole = compute_shards(tmp_path, "squares", np.arange(10), 4, never, Silent())
    assert isinstance(whole, np.memmap)
    assert not whole.flags.writeable
    assert not (tmp_path / "squares.shards").exists()


def test_a_half_written_shard_is_not_taken_for_a_shard(tmp_path: Path) -> None:
    shards = tmp_path / "squares.shards"
    shards.mkdir()
    (shards / ".000000.npz.tmp").write_bytes(b"half")
    np.testing.assert_array_equal(
        compute_shards(tmp_path, "squares", [3, 1], 4, square, Silent()), square(np.array([3, 1]))
    )


def test_a_kill_while_joining_joins_again(tmp_path: Path) -> None:
    joined = tmp_path / "squares.joined"
    joined.mkdir()
    (joined / "values.npy").write_bytes(b"half")  # no plan.json yet: not complete
    np.testing.assert_array_equal(compute_shards(tmp_path, "squares", [5], 4, square, Silent()), square(np.array([5])))


def test_other_rows_are_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    compute_shards(tmp_path, "squares", [1, 2], 1, square, Silent())
    with pytest.raises(EngineError, match="other samples"):
        compute_shards(tmp_path, "squares", [2, 1], 1, square, Silent())
    np.testing.assert_array_equal(
        compute_shards(tmp_path, "squares", [1, 2], 1, square, Silent()), square(np.array([1, 2]))
    )


def test_a_computation_that_loses_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="has 1 samples, expected 2"):
        compute_shards(tmp_path, "squares", [1, 2], 2, lambda rows: square(rows)[:1], Silent())
    with pytest.raises(EngineError, match="at least one sample"):
        compute_shards(tmp_path, "squares", [1, 2], 0, square, Silent())


def test_several_arrays_and_reasons_are_kept(tmp_path: Path) -> None:
    def compute(rows: np.ndarray) -> Table:
        problems = {int(row): "too long" for row in rows if row % 5 == 0}
        return Table({"loss": rows / 2, "norm": square(rows)}, problems)

    for _ in range(2):  # computed, then opened
        table = compute_table(tmp_path, "both", np.arange(1, 12), 3, compute, Silent())
        np.testing.assert_array_equal(table.arrays["loss"], np.arange(1, 12) / 2)
        np.testing.assert_array_equal(table.arrays["norm"], square(np.arange(1, 12)))
        assert table.problems == {5: "too long", 10: "too long"}


def test_cancel_stops_between_shards_and_keeps_them(tmp_path: Path) -> None:
    folder = JobFolder.create(tmp_path / "job", {"kind": "score"})
    reporter = FileReporter(folder)
    reporter.begin()
    reporter.phase("squares", 12)

    def compute(rows: np.ndarray) -> np.ndarray:
        reporter.advance(len(rows))
        if rows[0] == 4:
            folder.ask_cancel()
        return square(rows)

    with pytest.raises(Cancelled):
        compute_shards(folder.work, "squares", np.arange(12), 4, compute, reporter)
    assert reporter.progress.done == 8
    folder.withdraw_cancel()
    reporter.phase("squares", 12)
    compute_shards(folder.work, "squares", np.arange(12), 4, compute, reporter)
    assert reporter.progress.done == 12
    reporter.finish("done")
