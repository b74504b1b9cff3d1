"""DELIFT (arXiv 2411.04425): how much a pool row, shown as an earlier turn, helps a model to predict an item.

Notation. Item i has the prompt x_i and the response y_i of T tokens; p(y_t) is the model's probability of response
token t given all before it (the logits before a token predict it). The distance from certainty is

    d(y | context) = ‖1 − p(y_t)‖₂ / √T,

the root of the mean square over the response tokens, in [0, 1]. The utility of pool row j for item i is

    P[j, i] = u_ij = d(y_i | x_i) − d(y_i | row j, x_i):

positive where the row, as an in-context example, brings the response nearer (METHODS, section 2).

Each example is run once, many in a batch, and its keys and values serve all items it fits with (`pairs`, `prefixes`).
What stands between example and item, and how a too long example is cut, is in `contexts`. d(y_i | x_i) is computed once
for each item and kept. Knows nothing of embeddings, gradients or selection.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
from torch import Tensor, nan, nn

from engine.errors import EngineError
from engine.gradients.forwarding import Predictions
from engine.influence.functions.base import Passes, Scores
from engine.influence.functions.contexts import SHORTEST_EXAMPLE, continuation, separator
from engine.influence.functions.pairs import InContext, Measured
from engine.influence.functions.prefixes import why_not_padded, why_not_shared
from engine.models.batches import Rows, plan_batches, run_within_memory, unrunnable
from engine.models.loading import LanguageModel
from engine.models.table import Encoded, TokenTable
from engine.progress import Reporter, Silent

_NOT_FINITE = "not finite: the model's value for this sample is NaN or infinite"


def distances(logits: Tensor, where: Predictions) -> Tensor:
    """d (B,) float32 from logits (M, V) at the predicting positions; NaN for a row that predicts no response token."""
    losses = nn.functional.cross_entropy(logits.float(), where.tokens, reduction="none")  # (M,) −log p
    squares = losses.neg().expm1().square()  # (1 − p)², exact where p is near one
    sums = squares.new_zeros(len(where.counts)).index_add(0, where.rows, squares)  # (B,)
    return (sums / where.counts.where(where.counts > 0, nan)).sqrt()


class Delift:
    """Utilities of pool rows for items; `items` may be the pool itself.

    `batch_tokens` bounds a batch: padded item tokens and an eighth of the example tokens kept for them. `reuse=False`
    runs every pair as one plain sequence, which gives the same scores; so is a model run whose layers keep more than
    keys and values. Where a model gives other values behind padded examples, only equally long ones share a batch. A
    note says which and why. Raises `EngineError` for a budget below one token or a broken chat template.
    """

    name = "delift"
    pointwise = False

    def __init__(
        self, lm: LanguageModel, pool: TokenTable, items: TokenTable, *, batch_tokens: int = 1024, reuse: bool = True
    ) -> None:
        if batch_tokens < 1:
            raise EngineError(f"batch_tokens is {batch_tokens}; a batch needs at least 1 token. Nothing was run.")
        self._lm, self._pool, self._items = lm, pool, items
        self._between, self._between_note = separator(lm.tokenizer)
        self._obstacle = why_not_shared(lm) if reuse else "as asked for"
        self._asked_tokens = batch_tokens
        shared = self._obstacle is None
        self._apart = why_not_padded(lm) if shared else None
        padded = shared and self._apart is None
        self._runs = InContext(lm, distances, max_tokens=batch_tokens, shared=shared, padded=padded)
        self._alone = np.full(len(items), np.nan, dtype=np.float32)  # d(y_i | x_i)
        self._seen = np.zeros(len(items), dtype=np.bool_)
        self._item_problems: dict[int, str] = {}
        self._cut = np.zeros(len(pool), dtype=np.bool_)

    @property
    def passes(self) -> Passes:
        """Sequences and real tokens run so far.

        A shared example counts once (and once more for every length it is cut to), each pair by what follows it.
        """
        return self._runs.passes

    @property
    def notes(self) -> tuple[str, ...]:
        """What stands between example and item, whether examples are shared, how many were cut, smaller batches."""
        notes = [self._between_note]
        if self._obstacle is None:
            notes.append("each example is run once, and its keys and values serve all items")
            if self._apart:
                notes.append(f"only examples of equal length share a batch: {self._apart}")
        else:
            notes.append(f"every pair is run as one whole sequence: {self._obstacle}")
        if count := int(self._cut.sum()):
            limit = f"at most {self._lm.max_length} tokens together"
            notes.append(f"{count} examples were cut on the left before items that they do not fit with ({limit})")
        if self._runs.max_tokens < self._asked_tokens:
            notes.append(f"memory ran out: batches of at most {self._runs.max_tokens} tokens")
        return tuple(notes)

    def __call__(
        self, rows: np.ndarray, items: np.ndarray | None = None, *, reporter: Reporter | None = None
    ) -> Scores:
        """P (m, u) float32 of pool rows (m,) against items (u,), all items for None. Advances `reporter` by rows.

        NaN, with the reason by row or item number: a row without tokens, an item without a response or without room
        for an example, ids that the model does not embed, and what is not finite or does not fit in memory even alone.
        """
        reporter = reporter or Silent()
        asked, places, times = np.unique(np.asarray(rows, dtype=np.int64), return_inverse=True, return_counts=True)
        numbers = np.arange(len(self._items)) if items is None else np.asarray(items, dtype=np.int64)
        wanted, columns = np.unique(numbers, return_inverse=True)
        self._measure_alone(wanted, reporter)
        usable = np.flatnonzero(np.isfinite(self._alone[wanted]))
        problems = unrunnable(self._lm, self._pool, asked)
        ready = asked[~np.isin(asked, list(problems))] if len(usable) else asked[:0]
        reporter.advance(int(times[~np.isin(asked, ready)].sum()))
        behind = np.full((len(asked), len(wanted)), np.nan, dtype=np.float32)
        for part, measured in self._behind(ready, wanted[usable], reporter):
            at = np.searchsorted(asked, part)
            behind[at[:, None], usable] = measured.values
            problems |= _reasons(part, measured, self._no_memory)
            reporter.advance(int(times[at].sum()))
        told = {int(i): self._item_problems[int(i)] for i in wanted if int(i) in self._item_problems}
        return Scores((self._alone[wanted] - behind)[places][:, columns], problems, told)

    def _behind(self, rows: Rows, items: Rows, reporter: Reporter) -> Iterator[tuple[Rows, Measured]]:
        """d(y_i | row j, x_i) of every item for batches of rows."""
        table = TokenTable.of(self._continuation(int(i)) for i in items)
        plan = self._runs.plan(self._pool.lengths, rows, table)
        run = partial(self._runs.behind, items=table, reporter=reporter)
        rooms = self._lm.max_length - table.lengths
        for part, measured in run_within_memory(self._lm, self._pool, plan, run, reporter=reporter):
            shape = (len(part), len(items))
            yield part, measured or Measured(np.full(shape, np.nan, np.float32), np.ones(shape, np.bool_))
            self._cut[part] |= self._pool.lengths[part] > rooms.min()

    def _measure_alone(self, wanted: Rows, reporter: Reporter) -> None:
        """d(y_i | x_i) of the items that are new, and why some have none."""
        new = wanted[~self._seen[wanted]]
        problems = unrunnable(self._lm, self._items, new)
        problems |= {int(i): reason for i in new if int(i) not in problems and (reason := self._unfit(int(i)))}
        plan = plan_batches(
            self._items.lengths, max_tokens=self._runs.max_tokens, rows=new[~np.isin(new, list(problems))]
        )
        for part, values in run_within_memory(self._lm, self._items, plan, self._runs.alone, reporter=reporter):
            if values is None:
                problems[int(part[0])] = self._no_memory
                continue
            self._alone[part] = values
            problems |= {int(i): _NOT_FINITE for i in part[~np.isfinite(values)]}
        self._item_problems |= problems
        self._seen[new] = True

    def _unfit(self, item: int) -> str | None:
        """Why an item can be in no pair, though the model could run its tokens."""
        context = self._continuation(item)
        room = self._lm.max_length - len(context.ids)
        if not self._items.row(item)[1][1:].any():
            return "no response token: the response has no token that an earlier one predicts"
        if context.mask[0]:
            return "no prompt: only the BOS stands before the response, so nothing of its own predicts the first token"
        if room < SHORTEST_EXAMPLE:
            limit = f"of {self._lm.max_length} tokens it leaves {max(room, 0)} for an example"
            return f"too long: {limit}, and an example needs {SHORTEST_EXAMPLE}"
        return None

    def _continuation(self, item: int) -> Encoded:
        ids, mask = self._items.row(item)
        return continuation(ids, mask, between=self._between, bos=self._lm.tokenizer.bos_token_id)

    @property
    def _no_memory(self) -> str:
        return f"out of memory: it does not fit on {self._lm.device} even alone"


def _reasons(rows: Rows, measured: Measured, no_memory: str) -> dict[int, str]:
    """Why rows lack values, by row number."""
    lacking = ~np.isfinite(measured.values)
    measured.values[lacking] = np.nan
    reasons = {int(row): _NOT_FINITE for row in rows[lacking.any(axis=1)]}
    return reasons | {int(row): no_memory for row in rows[measured.too_large.any(axis=1)]}
