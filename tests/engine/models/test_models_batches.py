"""Token budgets, padding, and mapping a function over rows when memory or numbers fail."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import Cancelled, EngineError
from engine.models.batches import Batch, collate, is_out_of_memory, map_batches, plan_batches
from engine.models.loading import LanguageModel, load
from engine.models.table import Encoded, TokenTable
from engine.progress import Silent


def make_table(lengths: list[int]) -> TokenTable:
    """Row i has tokens 10+i, all but the first in the response; length 0 is a row that could not be encoded."""
    rows: list[Encoded | str] = []
    for i, n in enumerate(lengths):
        mask = np.ones(n, np.uint8)
        mask[:1] = 0
        rows.append(Encoded(np.full(n, 10 + i, np.int32), mask, False) if n else "no response: test")
    return TokenTable.of(rows)


@pytest.fixture(scope="module")
def lm(model_folder: Callable[..., Path]) -> LanguageModel:
    """A tiny Llama on the CPU."""
    return load(model_folder("llama"), device="cpu")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=50), st.integers(1, 200))
def test_plan_covers_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    plan = plan_batches(lengths, max_tokens=budget)
    flat = [int(i) for part in plan for i in part]
    assert sorted(flat) == [i for i, n in enumerate(lengths) if n]
    assert [lengths[i] for i in flat] == sorted((n for n in lengths if n), reverse=True)
    for part in plan:
        assert len(part) == 1 or len(part) * max(lengths[i] for i in part) <= budget
    for part, following in pairwise(plan):  # no batch could have taken one row more
        assert (len(part) + 1) * lengths[part[0]] > budget
        assert len(following)


def test_plan_keeps_row_order_among_equals_and_takes_only_the_rows_asked_for() -> None:
    plan = plan_batches([5, 5, 9, 5, 0], max_tokens=10, rows=[3, 2, 0, 4])
    assert [p.tolist() for p in plan] == [[2], [3, 0]]
    with pytest.raises(EngineError, match="max_tokens is 0"):
        plan_batches([1], max_tokens=0)


def test_collate_pads_on_the_right_and_marks_only_response_tokens() -> None:
    batch = collate(make_table([2, 4]), [1, 0], pad_id=7)
    assert batch.ids.tolist() == [[11, 11, 11, 11], [10, 10, 7, 7]]
    assert batch.attention.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.response.tolist() == [[False, True, True, True], [False, True, False, False]]
    assert batch.rows.tolist() == [1, 0]
    assert len(batch) == 2


def lengths_of(batch: Batch) -> np.ndarray:
    """A function of the row alone: its first token and its length."""
    return torch.stack([batch.ids[:, 0], batch.attention.sum(1)], dim=1).float().numpy()


LENGTHS = [3, 8, 0, 5, 8, 1, 6]


@pytest.mark.parametrize("rows", [None, [6, 0, 2, 4], [1, 1, 3], []])
@pytest.mark.parametrize("budget", [1, 8, 20, 1000])
def test_values_are_aligned_with_the_rows_asked_for(lm: LanguageModel, rows: list[int] | None, budget: int) -> None:
    table = make_table(LENGTHS)
    values, problems = map_batches(lm, table, rows, lengths_of, max_tokens=budget)
    asked = list(range(7)) if rows is None else rows
    assert isinstance(values, np.ndarray)
    assert len(values) == len(asked)
    for row, value in zip(asked, values):
        if LENGTHS[row]:
            assert value.tolist() == [10 + row, LENGTHS[row]]
        else:
            assert np.isnan(value).all()
    assert problems == ({2: "no response: test"} if 2 in asked else {})


def test_a_tuple_of_arrays_comes_back_as_one(lm: LanguageModel) -> None:
    values, _ = map_batches(
        lm, make_table(LENGTHS), [0, 1], lambda b: (lengths_of(b), lengths_of(b)[:, 0]), max_tokens=9
    )
    assert isinstance(values, tuple)
    assert values[0].shape == (2, 2)
    assert values[1].tolist() == [10.0, 11.0]


class Memory:
    """A function that fits at most `capacity` padded tokens, and remembers what it was asked to do."""

    def __init__(self, capacity: int, error: Exception) -> None:
        self.capacity, self.error, self.asked = capacity, error, []

    def __call__(self, batch: Batch) -> np.ndarray:
        self.asked.append(batch.ids.numel())
        if batch.ids.numel() > self.capacity:
            raise self.error
        return lengths_of(batch)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: not enough memory: you tried to allocate"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda e: type(e).__name__ + str(e)[:12])
def test_running_out_of_memory_halves_the_batch_and_loses_nothing(lm: LanguageModel, error: Exception) -> None:
    table = make_table([4] * 16)
    fn = Memory(16, error)
    values, problems = map_batches(lm, table, None, fn, max_tokens=64)
    whole, _ = map_batches(lm, table, None, lengths_of, max_tokens=64)
    np.testing.assert_array_equal(values, whole)
    assert problems == {}
    assert fn.asked == [64, 32, 16, 16, 16, 16]


def test_later_batches_stay_within_what_fitted(lm: LanguageModel) -> None:
    fn = Memory(16, MemoryError())
    map_batches(lm, make_table([4] * 48), None, fn, max_tokens=64)
    assert fn.asked.count(64) == 1
    assert fn.asked.count(32) == 1
    assert fn.asked.count(16) == 12


def test_a_row_that_does_not_fit_alone_is_set_aside_with_the_reason(lm: LanguageModel) -> None:
    values, problems = map_batches(lm, make_table([3, 30, 5]), None, Memory(10, MemoryError()), max_tokens=100)
    assert problems == {1: "out of memory: the sample does not fit on cpu (30 tokens)"}
    assert np.isnan(values[1]).all()
    assert values[[0, 2]].tolist() == [[10, 3], [12, 5]]


def test_a_value_that_is_not_finite_does_not_spread(lm: LanguageModel) -> None:
    def poisoned(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        values = lengths_of(batch)
        values[batch.rows == 1, 0] = np.nan
        other = np.ones(len(batch))
        other[batch.rows == 3] = np.inf
        return values, other

    values, problems = map_batches(lm, make_table([3, 3, 3, 3]), None, poisoned, max_tokens=100)
    assert sorted(problems) == [1, 3]
    assert all(p.startswith("not finite") for p in problems.values())
    for part in values:
        assert np.isnan(part).reshape(4, -1).all(axis=1).tolist() == [False, True, False, True]


def test_other_errors_are_not_mistaken_for_memory(lm: LanguageModel) -> None:
    def broken(batch: Batch) -> np.ndarray:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        map_batches(lm, make_table([3]), None, broken, max_tokens=9)
    with pytest.raises(ValueError, match="2 samples"):
        map_batches(lm, make_table([3, 3]), None, lambda b: np.ones(3), max_tokens=9)
    assert not is_out_of_memory(ValueError("out of memory"))


def test_progress_counts_every_row_and_cancelling_stops(lm: LanguageModel) -> None:
    class Counter(Silent):
        done = 0

        def advance(self, n: int) -> None:
            self.done += n

        def check(self) -> None:
            if self.done > 3:
                raise Cancelled("cancelled")

    table = make_table([2, 0, 2, 2])
    counter = Counter()
    map_batches(lm, table, [0, 0, 1], lengths_of, max_tokens=2, reporter=counter)
    assert counter.done == 3
    with pytest.raises(Cancelled):
        map_batches(lm, make_table([2] * 9), None, lengths_of, max_tokens=2, reporter=Counter())
