"""Every item in the context of every example, in batches: shared prefixes, or each pair as one plain sequence.

Notation. R examples of at most L tokens, u items as continuations (see `contexts`), and a measure that gives one value
for each sequence from the logits before its response tokens. The result (R, u) is indexed [example, item].

A batch of R·I pairs weighs R·I·(S + K/8) tokens: the S padded tokens that are run, and an eighth of the K kept places,
whose keys are repeated one layer at a time. Many examples are run together, so that few items still fill a batch: those
that are cut alike and of which none is shorter than half of the longest, or those of equal length where a model allows
no padding before an item. When memory runs out a batch is halved, and later ones are smaller. Knows no particular
measure.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from engine.gradients.forwarding import Predictions, predictions, response_logits
from engine.influence.functions.base import Passes
from engine.influence.functions.contexts import cut_examples, kept_lengths
from engine.influence.functions.prefixes import Prefix, continued_logits, encode_prefix
from engine.models.batches import Batch, Rows, is_out_of_memory, plan_batches, run_within_memory
from engine.models.loading import LanguageModel
from engine.models.table import Encoded, TokenTable
from engine.progress import Reporter, Silent

KEPT_SHARE = 8

Measure = Callable[[Tensor, Predictions], Tensor]
Parts = Iterator[tuple[Rows, np.ndarray | None]]


@dataclass(frozen=True)
class Measured:
    """Values (R, u) float32, and which pairs (R, u) have none because they do not fit in memory even alone."""

    values: np.ndarray
    too_large: np.ndarray


class InContext:
    """Measures sequences of one model, `max_tokens` a batch at most; `passes` counts what was run.

    `shared`: an example is run once for all items. `padded`: examples of several lengths are then run together.
    """

    def __init__(
        self, lm: LanguageModel, measure: Measure, *, max_tokens: int, shared: bool, padded: bool = False
    ) -> None:
        self.lm, self.measure, self.shared, self.padded = lm, measure, shared, padded
        self.max_tokens = max_tokens
        self.passes = Passes()

    def plan(self, lengths: Rows, rows: Rows, items: TokenTable) -> list[Rows]:
        """Batches of `rows`, longest first: alike rows where prefixes are shared, single rows where they are not.

        Alike are rows that are too long for the same items, so that each is run once at every length it is cut to.
        """
        ordered = rows[np.argsort(-lengths[rows], kind="stable")]
        too_long_for = np.searchsorted(np.sort(self.lm.max_length - items.lengths), lengths[ordered])
        kind = too_long_for if self.padded else lengths[ordered]
        batches: list[Rows] = []
        for group in np.split(ordered, np.flatnonzero(np.diff(kind)) + 1):
            while len(group):
                count = self._fitting(lengths[group], items) if self.shared else 1
                batches.append(group[:count])
                group = group[count:]
        return batches

    def _fitting(self, lengths: Rows, items: TokenTable) -> int:
        """How many of the first of these rows, longest first, make a batch that whole items fill."""
        longest = int(lengths[0])
        pair = int(items.lengths.max(initial=1)) + longest // KEPT_SHARE
        together = min(-(-longest // pair), len(items))  # items that weigh as much as their example
        fitting = self.max_tokens // max(longest, together * pair)
        return max(1, min(fitting, int((2 * lengths >= longest).sum())))

    def alone(self, batch: Batch) -> np.ndarray:
        """The measure (B,) of whole sequences."""
        where = predictions(batch)
        with torch.no_grad(), self._learning(len(batch), batch.ids.numel()):
            values = self.measure(response_logits(self.lm.model, batch, where), where).cpu().numpy()
        self.passes += Passes(forward=len(batch), tokens=int(batch.attention.sum()))
        return values

    def behind(self, examples: Batch, items: TokenTable, *, reporter: Reporter) -> Measured:
        """The measure of every item behind each of R examples."""
        values = np.full((len(examples), len(items)), np.nan, dtype=np.float32)
        too_large = np.zeros(values.shape, dtype=np.bool_)
        lengths = examples.attention.sum(dim=1)  # (R,)
        kept = kept_lengths(lengths.cpu().numpy()[:, None], self.lm.max_length - items.lengths)  # (R, u)
        run = self._shared if self.shared else self._whole
        for counts in np.unique(kept, axis=1).T:  # (R,)
            own = torch.from_numpy(counts.copy()).to(lengths.device)
            ids = cut_examples(examples.ids, own, bos=self.lm.tokenizer.bos_token_id, lengths=lengths)  # (R, K)
            chosen = np.flatnonzero((kept == counts[:, None]).all(axis=0))
            for part, found in run(ids, counts, items, chosen, _Checking(reporter)):
                if found is None:
                    too_large[:, part] = True
                else:
                    values[:, part] = found
        return Measured(values, too_large)

    def _shared(self, ids: Tensor, lengths: Rows, items: TokenTable, chosen: Rows, reporter: Reporter) -> Parts:
        """The chosen items behind examples (R, K) of these lengths (R,) that are run once."""
        prefix = self._encode(ids, lengths)
        sizes = items.lengths + prefix.width // KEPT_SHARE
        plan = plan_batches(sizes, max_tokens=max(1, self.max_tokens // len(prefix)), rows=chosen)
        return run_within_memory(self.lm, items, plan, partial(self._continued, prefix), reporter=reporter)

    def _whole(self, ids: Tensor, lengths: Rows, items: TokenTable, chosen: Rows, reporter: Reporter) -> Parts:
        """The chosen items behind one example (1, K), each pair as one sequence."""
        example = ids[0].cpu().numpy().astype(np.int32)
        table = TokenTable.of(_joined(example, *items.row(int(i))) for i in chosen)
        plan = plan_batches(table.lengths, max_tokens=self.max_tokens)
        for part, values in run_within_memory(self.lm, table, plan, self.alone, reporter=reporter):
            yield chosen[part], None if values is None else values[None]

    def _encode(self, ids: Tensor, lengths: Rows) -> Prefix:
        own = None if (lengths == ids.shape[1]).all() else torch.from_numpy(lengths.copy()).to(ids.device)
        with self._learning(len(ids), ids.numel()):
            prefix = encode_prefix(self.lm, ids, own)
        self.passes += Passes(forward=len(ids), tokens=int(lengths.sum()))
        return prefix

    def _continued(self, prefix: Prefix, batch: Batch) -> np.ndarray:
        """The measure (R, I) of a batch of continuations; a single one that is too large for R rows, by half of them.

        What was planned before memory ran out may be too large now, and is not tried.
        """
        pairs = len(prefix) * len(batch)
        tokens = pairs * (batch.ids.shape[1] + prefix.width // KEPT_SHARE)
        values = None
        try:
            if tokens <= self.max_tokens or len(prefix) == 1:
                with torch.no_grad(), self._learning(pairs, tokens):
                    values = self.measure(*continued_logits(self.lm, prefix, batch)).cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(batch) > 1 or len(prefix) == 1:
                raise
        if values is None:
            return np.concatenate([self._continued(half, batch) for half in prefix.halves()])
        self.passes += Passes(forward=pairs, tokens=len(prefix) * int(batch.attention.sum()))
        return values.reshape(len(prefix), len(batch))

    @contextmanager
    def _learning(self, sequences: int, tokens: int) -> Iterator[None]:
        """Plan later batches smaller where memory runs out in one of several sequences."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error) and sequences > 1:
                self.max_tokens = min(self.max_tokens, max(1, tokens // 2))
            raise


class _Checking(Silent):
    """Only asks whether the work was cancelled: the numbers in what is logged of items would mean nothing."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def check(self) -> None:
        """Raise `engine.errors.Cancelled` if cancellation was asked for."""
        self._reporter.check()


def _joined(example: np.ndarray, ids: np.ndarray, mask: np.ndarray) -> Encoded:
    return Encoded(np.concatenate([example, ids]), np.concatenate([np.zeros(len(example), np.uint8), mask]), False)
