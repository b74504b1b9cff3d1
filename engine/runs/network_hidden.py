"""Pooled hidden states of rows, and from the same pass how likely the model finds their responses.

A loss is a by-product here: one that is no number does not take the row's hidden states with it. Reads no texts.
"""

import numpy as np
from torch import Tensor

from engine.gradients.embeddings import HiddenStates
from engine.models.batches import Batch, map_batches
from engine.models.loading import LanguageModel
from engine.models.table import TokenTable
from engine.progress import Reporter

UNKNOWN = -1.0  # stands for a loss that is no number; a loss is never below 0


def states_and_losses(
    lm: LanguageModel, table: TokenTable, rows: np.ndarray, *, max_tokens: int, reporter: Reporter | None = None
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Hidden states (m, d) float32 of rows of a table, their response losses (m,) in nats, and the rows set aside.

    Both are NaN for a row that could not be run.
    """
    hidden = HiddenStates(lm)

    def measure(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        vectors, losses = hidden.with_loss(batch)
        return _plain(vectors), np.nan_to_num(_plain(losses), nan=UNKNOWN, posinf=UNKNOWN)

    found, problems = map_batches(lm, table, rows, measure, max_tokens=max_tokens, reporter=reporter)
    if not isinstance(found, tuple):  # no row could be run
        return np.full((len(rows), hidden.dim), np.nan, np.float32), np.full(len(rows), np.nan, np.float32), problems
    states, losses = found
    return states, np.where(losses == UNKNOWN, np.nan, losses).astype(np.float32), problems


def _plain(values: Tensor) -> np.ndarray:
    return np.asarray(values.float().cpu().numpy())
