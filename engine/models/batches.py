"""Rows become padded batches under a token budget, and a function is mapped over all of them safely.

Notation: B rows of a batch, T its longest row; rows are padded on the right, so that with causal attention a row's
values do not depend on its neighbours. A batch costs B·T padded tokens, at most `max_tokens` (a single longer row
goes alone). Longest rows come first: memory trouble shows at once, and the remaining time is never underestimated.
This module knows nothing of what is computed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from engine.errors import EngineError
from engine.models.loading import LanguageModel
from engine.models.table import TokenTable
from engine.progress import Reporter, Silent

Rows = NDArray[np.int64]
Values = NDArray[np.float32] | tuple[NDArray[np.float32], ...]

R = TypeVar("R")

_MEMORY_PHRASES = ("out of memory", "not enough memory", "defaultcpuallocator", "cublas_status_alloc_failed")


@dataclass(frozen=True)
class Batch:
    """ids int64 (B, T), attention int64 (B, T), response bool (B, T), rows int64 (B,) of the table.

    `response` marks the tokens that enter the loss, each predicted by the token before it; never the first column.
    Positions are 0..T-1 for every row, which is what every model assumes on right-padded input.
    """

    ids: torch.Tensor
    attention: torch.Tensor
    response: torch.Tensor
    rows: Rows

    def __len__(self) -> int:
        """The number of rows B."""
        return len(self.rows)


def plan_batches(lengths: ArrayLike, *, max_tokens: int, rows: ArrayLike | None = None) -> list[Rows]:
    """Row numbers of each batch, longest rows first, equal lengths in row order; rows of length 0 are left out.

    `lengths` (n,) are the tokens of every row of the table; `rows` restricts the plan to some of them. Each batch
    has (its longest length) x (its rows) at most `max_tokens`, or is one row that is longer than the budget.
    """
    if max_tokens < 1:
        raise EngineError(f"max_tokens is {max_tokens}; a batch needs a budget of at least 1 token.")
    sizes = np.asarray(lengths, dtype=np.int64)
    chosen = np.arange(len(sizes)) if rows is None else np.asarray(rows, dtype=np.int64)
    chosen = chosen[sizes[chosen] > 0]
    chosen = chosen[np.argsort(-sizes[chosen], kind="stable")]
    batches, start = [], 0
    while start < len(chosen):
        count = max(1, max_tokens // int(sizes[chosen[start]]))
        batches.append(chosen[start : start + count])
        start += count
    return batches


def collate(table: TokenTable, rows: ArrayLike, *, pad_id: int, device: torch.device | str = "cpu") -> Batch:
    """The batch of `rows`, in the order given, padded on the right with `pad_id` and moved to `device`."""
    numbers = np.asarray(rows, dtype=np.int64)
    parts = [table.row(int(i)) for i in numbers]
    shape = (len(parts), max(len(ids) for ids, _ in parts))
    ids = np.full(shape, pad_id, dtype=np.int64)
    attention = np.zeros(shape, dtype=np.int64)
    response = np.zeros(shape, dtype=np.bool_)
    for i, (row_ids, row_mask) in enumerate(parts):
        ids[i, : len(row_ids)] = row_ids
        attention[i, : len(row_ids)] = 1
        response[i, 1 : len(row_ids)] = row_mask[1:] != 0
    on_device = [torch.from_numpy(a).to(device) for a in (ids, attention, response)]
    return Batch(on_device[0], on_device[1], on_device[2], numbers)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU, on MPS or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _MEMORY_PHRASES)


def map_batches(
    lm: LanguageModel,
    table: TokenTable,
    rows: ArrayLike | None,
    fn: Callable[[Batch], Values],
    *,
    max_tokens: int,
    reporter: Reporter | None = None,
) -> tuple[Values, dict[int, str]]:
    """`fn` of every row, float32, aligned with `rows` (None: all): one array (m, …), or a tuple where `fn` gives one.

    `fn` takes a batch and returns arrays whose first axis is the batch's rows. A row that cannot be scored is NaN
    throughout and has its reason under its table row number in the second result: see `unrunnable`, or it does not fit
    in memory even alone, or a value of it is not finite. When memory runs out the batch is halved, and later
    batches stay within what fitted. Advances `reporter` by rows, within the phase that the caller began.
    """
    chosen = np.arange(len(table)) if rows is None else np.asarray(rows, dtype=np.int64)
    collected = _Collected(chosen)
    reporter = reporter or Silent()
    for row, reason in unrunnable(lm, table, chosen).items():
        collected.refuse(row, reason)
    runnable = chosen[~np.isin(chosen, list(collected.problems))]
    reporter.advance(len(chosen) - len(runnable))
    plan = plan_batches(table.lengths, max_tokens=max_tokens, rows=np.unique(runnable))
    for part, values in run_within_memory(lm, table, plan, fn, reporter=reporter):
        if values is None:
            length = int(table.lengths[part[0]])
            collected.refuse(int(part[0]), f"out of memory: the sample does not fit on {lm.device} ({length} tokens)")
        else:
            collected.place(part, values)
        reporter.advance(collected.count(part))
    return collected.values(), collected.problems


def unrunnable(lm: LanguageModel, table: TokenTable, rows: Rows) -> dict[int, str]:
    """Why rows cannot be run at all: they could not be encoded, or have a token that the model does not embed.

    Such a token would end the whole process on a GPU.
    """
    reasons = {int(i): table.problems.get(int(i), "no tokens") for i in rows[table.lengths[rows] == 0]}
    reason = f"a token id beyond the {lm.vocabulary} that the model embeds"
    return reasons | {int(i): reason for i in table.outside(rows, lm.vocabulary)}


def run_within_memory(
    lm: LanguageModel,
    table: TokenTable,
    plan: Sequence[Rows],
    fn: Callable[[Batch], R],
    *,
    reporter: Reporter,
) -> Iterator[tuple[Rows, R | None]]:
    """Each planned batch with what `fn` returns for it, split where memory runs out; None for a row that cannot fit."""
    waiting = list(reversed(plan))
    limit: int | None = None
    while waiting:
        reporter.check()
        part = waiting.pop()
        padded = len(part) * int(table.lengths[part].max())
        if len(part) > 1 and limit is not None and padded > limit:
            waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
            continue
        try:
            result, fitted = fn(collate(table, part, pad_id=lm.pad_id, device=lm.device)), True
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            fitted = False
        if fitted:
            yield part, result
        elif len(part) == 1:
            _free(lm.device)
            reporter.log(f"Sample {int(part[0])} set aside: {padded} tokens do not fit in memory on {lm.device}.")
            yield part, None
        else:
            _free(lm.device)
            limit = max(padded // 2, 1)
            reporter.log(f"Out of memory at {padded} padded tokens a batch; going on with at most {limit}.")
            waiting.append(part)


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


class _Collected:
    """Values by position in the rows asked for; NaN until placed."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._order = np.argsort(rows, kind="stable")
        self._sorted = rows[self._order]
        self._arrays: list[NDArray[np.float32]] | None = None
        self._is_tuple = False
        self.problems: dict[int, str] = {}

    def refuse(self, row: int, reason: str) -> None:
        self.problems[row] = reason

    def count(self, rows: Rows) -> int:
        """How many of the rows asked for these are; a row may have been asked for twice."""
        first, last = self._places(rows)
        return int((last - first).sum())

    def _places(self, rows: Rows) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        return np.searchsorted(self._sorted, rows, side="left"), np.searchsorted(self._sorted, rows, side="right")

    def place(self, rows: Rows, values: Values) -> None:
        self._is_tuple = isinstance(values, tuple)
        parts = [np.asarray(v, dtype=np.float32) for v in (values if isinstance(values, tuple) else (values,))]
        if any(len(p) != len(rows) for p in parts):
            raise ValueError(
                f"the mapped function returned {[p.shape for p in parts]} for a batch of {len(rows)} samples"
            )
        finite = np.all([np.isfinite(p).reshape(len(rows), -1).all(axis=1) for p in parts], axis=0)
        for row in rows[~finite]:
            self.refuse(int(row), "not finite: the model's value for this sample is NaN or infinite")
        if self._arrays is None:
            self._arrays = [np.full((len(self._rows), *p.shape[1:]), np.nan, dtype=np.float32) for p in parts]
        first, last = self._places(rows)
        for k in np.flatnonzero(finite):
            places = self._order[first[k] : last[k]]
            for array, part in zip(self._arrays, parts):
                array[places] = part[k]

    def values(self) -> Values:
        if self._arrays is None:
            return np.full(len(self._rows), np.nan, dtype=np.float32)
        return tuple(self._arrays) if self._is_tuple else self._arrays[0]
