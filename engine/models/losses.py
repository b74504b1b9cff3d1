"""The loss ℓ of a row: mean cross-entropy over its response tokens (METHODS, notation), in nats.

A response token at position s is predicted by the logits at s−1. Prompt and padding never enter. Sums are float32
whatever the model's precision, and only the response's logits are widened. No optimiser and no gradient here.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional

from engine.models.batches import Batch, map_batches
from engine.models.loading import LanguageModel
from engine.models.table import TokenTable
from engine.progress import Reporter, Silent


def response_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """ℓ (B,) float32 from logits (B, T, V): mean over each row's response tokens. A row without any is NaN."""
    sums, counts = response_sums(logits, batch)
    return sums / counts


def response_sums(logits: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The summed cross-entropy (B,) and the number of response tokens (B,) of each row, float32."""
    places = batch.response[:, 1:].nonzero(as_tuple=True)  # R tokens, as (row, position of the predicting logits)
    chosen = logits[places].float()  # (R, V)
    losses = functional.cross_entropy(chosen, batch.ids[:, 1:][places], reduction="none")  # (R,)
    zeros = torch.zeros(len(batch), dtype=torch.float32, device=logits.device)
    counts = batch.response[:, 1:].sum(dim=1, dtype=torch.float32)
    return zeros.index_add(0, places[0], losses), counts


def mean_response_loss(
    lm: LanguageModel,
    table: TokenTable,
    *,
    max_tokens: int,
    rows: ArrayLike | None = None,
    reporter: Reporter | None = None,
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """ℓ of every row (m,) without gradients, NaN where unscorable, and the reasons by row (see `map_batches`)."""

    def losses(batch: Batch) -> NDArray[np.float32]:
        with torch.no_grad():
            return response_loss(lm.logits(batch), batch).cpu().numpy()

    chosen = np.arange(len(table)) if rows is None else np.asarray(rows, dtype=np.int64)
    reporter = reporter or Silent()
    reporter.phase("losses", len(chosen))
    values, problems = map_batches(lm, table, chosen, losses, max_tokens=max_tokens, reporter=reporter)
    return np.asarray(values), problems
