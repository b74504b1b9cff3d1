"""Running a language model on a batch: which positions predict a response token, and the logits at those alone.

Notation. B rows, T positions, right-padded; M positions in the whole batch predict a response token (position t
predicts token t + 1); V vocabulary entries. ℓ_i is the mean cross-entropy of row i over its response tokens.

The head is by far the widest layer of a small model, and most positions are prompt. So the head sees only the M
positions: a hook on it gathers them, and whatever the architecture does after its head (soft-capping, scaling) then
acts on them alike. The values are those of the plain path. Takes no gradients.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class BatchLike(Protocol):
    """What this room reads of a batch: ids, attention and response (B, T), right-padded."""

    @property
    def ids(self) -> Tensor: ...
    @property
    def attention(self) -> Tensor: ...
    @property
    def response(self) -> Tensor: ...


class ModelLike(Protocol):
    """What this room reads of a loaded language model."""

    @property
    def model(self) -> Any: ...
    @property
    def device(self) -> torch.device: ...


@dataclass(frozen=True)
class Predictions:
    """Where response tokens are predicted: row and position of each (M,), the token due (M,), and counts (B,)."""

    rows: Tensor
    positions: Tensor
    tokens: Tensor
    counts: Tensor


def predictions(batch: BatchLike) -> Predictions:
    """The positions whose logits enter the response loss; token 0 of a row has no predecessor and never counts."""
    due = batch.response[:, 1:].bool() & batch.attention[:, 1:].bool()  # (B, T-1)
    rows, positions = due.nonzero(as_tuple=True)  # (M,), (M,)
    return Predictions(rows, positions, batch.ids[rows, positions + 1], due.sum(dim=1))


def model_inputs(batch: BatchLike) -> dict[str, Any]:
    """The keyword arguments of a forward pass without a key-value cache."""
    inputs: dict[str, Any] = {"input_ids": batch.ids, "attention_mask": batch.attention, "use_cache": False}
    position_ids = getattr(batch, "position_ids", None)
    return inputs if position_ids is None else {**inputs, "position_ids": position_ids}


def base_model(model: nn.Module) -> nn.Module:
    """The model without its head (transformers' `base_model`; the model itself where there is none)."""
    return getattr(model, "base_model", model)


def last_hidden(model: nn.Module, batch: BatchLike) -> Tensor:
    """The last hidden states (B, T, H) after the final norm; the head is not run."""
    return base_model(model)(**model_inputs(batch)).last_hidden_state


def response_logits(model: nn.Module, batch: BatchLike, where: Predictions, **further: Any) -> Tensor:
    """Logits (M, V) at the predicting positions, equal to those of a full forward pass.

    `further` arguments of the forward pass (a prefix to go on from, say) take precedence over those of the batch.
    """
    with _gathered_head(model, batch.ids.shape, where) as seen:
        logits = model(**{**model_inputs(batch), **further}).logits
    return logits[0] if seen else logits[where.rows, where.positions]  # (M, V)


def hidden_and_logits(model: nn.Module, batch: BatchLike, where: Predictions) -> tuple[Tensor, Tensor]:
    """The last hidden states (B, T, H) and the logits (M, V) at the predicting positions, from one forward pass."""
    with _gathered_head(model, batch.ids.shape, where) as seen:
        logits = model(**model_inputs(batch)).logits
    if seen:
        return seen[0], logits[0]
    return last_hidden(model, batch), logits[where.rows, where.positions]


def row_losses(logits: Tensor, where: Predictions) -> Tensor:
    """ℓ (B,) in float32 from logits (M, V); NaN for a row that predicts no response token."""
    each = nn.functional.cross_entropy(logits.float(), where.tokens, reduction="none")  # (M,)
    total = each.new_zeros(len(where.counts)).index_add(0, where.rows, each)  # (B,)
    return total / where.counts.where(where.counts > 0, torch.nan)


@contextmanager
def _gathered_head(model: Any, shape: torch.Size, where: Predictions) -> Iterator[list[Tensor]]:
    """Let the head see predicting positions only; yields a list that holds its whole input (B, T, H) once it ran."""
    find = getattr(model, "get_output_embeddings", None)
    head = find() if find is not None else None
    seen: list[Tensor] = []

    def gather(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not args or args[0].shape[:2] != shape:
            return None
        seen.append(args[0])
        return (args[0][where.rows, where.positions].unsqueeze(0), *args[1:])  # (1, M, H)

    if head is None:
        yield seen
        return
    handle = head.register_forward_pre_hook(gather)
    try:
        yield seen
    finally:
        handle.remove()
