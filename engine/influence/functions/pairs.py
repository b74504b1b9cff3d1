"""Every item in the context of every example, in batches: shared prefixes, or each pair as one plain sequence.

Notation. R examples of exactly L tokens, u items as continuations (see `contexts`), and a measure that gives one value
for each sequence from the logits before its response tokens. The result (R, u) is indexed [example, item].

A batch of R·I pairs weighs R·I·(S + K/8) tokens: the S padded tokens that are run, and an eighth of the K kept ones,
whose keys are repeated one layer at a time. Examples of equal length are run together, so that few items still fill a
batch. When memory runs out a batch is halved, and later ones are planned smaller. Knows no particular measure.
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
    """Measures sequences of one model, `max_tokens` a batch at most; `passes` counts what was run."""

    def __init__(self, lm: LanguageModel, measure: Measure, *, max_tokens: int, shared: bool) -> None:
        self.lm, self.measure, self.shared = lm, measure, shared
        self.max_tokens = max_tokens
        self.passes = Passes()

    def plan(self, lengths: Rows, rows: Rows, items: TokenTable) -> list[Rows]:
        """Batches of `rows`, longest first: of one length where prefixes are shared, single rows where they are not."""
        ordered = rows[np.argsort(-lengths[rows], kind="stable")]
        longest = int(items.lengths.max(initial=0))
        batches: list[Rows] = []
        for length in np.unique(lengths[ordered])[::-1]:
            group = ordered[lengths[ordered] == length]
            fitting = self.max_tokens // max(int(length), longest + int(length) // KEPT_SHARE)
            count = max(1, fitting) if self.shared else 1
            batches += [group[k : k + count] for k in range(0, len(group), count)]
        return batches

    def alone(self, batch: Batch) -> np.ndarray:
        """The measure (B,) of whole sequences."""
        where = predictions(batch)
        with torch.no_grad(), self._learning(len(batch), batch.ids.numel()):
            values = self.measure(response_logits(self.lm.model, batch, where), where).cpu().numpy()
        self.passes += Passes(forward=len(batch), tokens=int(batch.attention.sum()))
        return values

    def behind(self, examples: Batch, items: TokenTable, *, reporter: Reporter) -> Measured:
        """The measure of every item behind each of R equally long examples."""
        values = np.full((len(examples), len(items)), np.nan, dtype=np.float32)
        too_large = np.zeros(values.shape, dtype=np.bool_)
        kept = kept_lengths(examples.ids.shape[1], self.lm.max_length - items.lengths)  # (u,)
        run = self._shared if self.shared else self._whole
        for count in np.unique(kept):
            ids = cut_examples(examples.ids, int(count), bos=self.lm.tokenizer.bos_token_id)  # (R, K)
            for part, found in run(ids, items, np.flatnonzero(kept == count), _Checking(reporter)):
                if found is None:
                    too_large[:, part] = True
                else:
                    values[:, part] = found
        return Measured(values, too_large)

    def _shared(self, ids: Tensor, items: TokenTable, chosen: Rows, reporter: Reporter) -> Parts:
        """The chosen items behind examples (R, K) that are run once."""
        prefix = self._encode(ids)
        sizes = items.lengths + prefix.length // KEPT_SHARE
        plan = plan_batches(sizes, max_tokens=max(1, self.max_tokens // prefix.rows), rows=chosen)
        return run_within_memory(self.lm, items, plan, partial(self._continued, ids, prefix), reporter=reporter)

    def _whole(self, ids: Tensor, items: TokenTable, chosen: Rows, reporter: Reporter) -> Parts:
        """The chosen items behind one example (1, K), each pair as one sequence."""
        example = ids[0].cpu().numpy().astype(np.int32)
        table = TokenTable.of(_joined(example, *items.row(int(i))) for i in chosen)
        plan = plan_batches(table.lengths, max_tokens=self.max_tokens)
        for part, values in run_within_memory(self.lm, table, plan, self.alone, reporter=reporter):
            yield chosen[part], None if values is None else values[None]

    def _encode(self, ids: Tensor) -> Prefix:
        with self._learning(len(ids), ids.numel()):
            prefix = encode_prefix(self.lm, ids)
        self.passes += Passes(forward=len(ids), tokens=ids.numel())
        return prefix

    def _continued(self, ids: Tensor, prefix: Prefix, batch: Batch) -> np.ndarray:
        """The measure (R, I) of a batch of continuations; a single one that is too large for R rows goes row by row."""
        pairs = prefix.rows * len(batch)
        try:
            with torch.no_grad(), self._learning(pairs, pairs * (batch.ids.shape[1] + prefix.length // KEPT_SHARE)):
                values = self.measure(*continued_logits(self.lm, prefix, batch)).cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(batch) > 1 or prefix.rows == 1:
                raise
            values = None
        if values is None:
            rows = ids.split(1)
            return np.concatenate([self._continued(row, self._encode(row), batch) for row in rows])
        self.passes += Passes(forward=pairs, tokens=prefix.rows * int(batch.attention.sum()))
        return values.reshape(prefix.rows, len(batch))

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
