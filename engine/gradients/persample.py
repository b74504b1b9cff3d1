"""Projected per-sample gradients of the response loss from one batched forward and backward pass.

Notation. For a site y = W x in row i, a_t is its input and g_t = dL/dy_t at position t, with L = Σ_i ℓ_i the sum of
the rows' own mean response losses: rows do not mix, so ∇_W ℓ_i = Σ_t g_t a_tᵀ over the positions of row i. Its
projection P_out (Σ_t g_t a_tᵀ) P_inᵀ is formed from the narrow products P_out g_t and P_in a_t, and its squared norm
from the ghost identity ‖∇_W ℓ_i‖² = Σ_{t,s} (g_t·g_s)(a_t·a_s); no per-sample gradient is held for more than one
layer, and none at all where the identity is cheaper. Right padding adds nothing, because g is zero there.

No gradient of a parameter is computed: the graph begins at the input of the first block that holds a site. A weight
used several times in a pass (or tied) contributes the sum over its uses, cross terms included. Routed experts that
are not linear modules are outside the parameter set. Conditioning by optimiser moments is not done here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from engine.errors import EngineError
from engine.gradients.forwarding import BatchLike, ModelLike, predictions, response_logits, row_losses
from engine.gradients.parameters import Site, blocks
from engine.gradients.projection import FactoredProjection

Norm = Literal["projected", "ghost"]
Consume = Callable[[int, Tensor, Tensor], None]

HALF_SCALE = 1024.0  # float16 gradients of a mean over tokens underflow; the loss is scaled up and g back down
GHOST_ELEMENTS = 1 << 24  # largest temporary of a squared norm, in numbers


def projected_gradients(
    lm: ModelLike, batch: BatchLike, projection: FactoredProjection, *, norm: Norm = "projected"
) -> tuple[Tensor, Tensor, Tensor]:
    """Projected gradients of every row's response loss.

    Returns (grads (B, dim), loss (B,), norm (B,)), float32 on the model's device. `norm` is that of the projected
    gradient, or with "ghost" the exact norm over the whole parameter set (before projection). A row without a
    predicted response token has loss NaN, a zero gradient and norm 0; a row whose numbers overflow is NaN, it alone.
    Raises `EngineError` for an unknown norm or a layer that does not see the batch as (B, T).
    """
    if norm not in get_args(Norm):
        raise EngineError(f"The norm is {norm!r}; it must be one of: {', '.join(get_args(Norm))}.")
    count = len(batch.ids)
    grads = torch.zeros(count, projection.raw_dim, device=batch.ids.device)
    squared = torch.zeros(count, dtype=torch.float64, device=batch.ids.device)

    def consume(index: int, signal: Tensor, inputs: Tensor) -> None:
        begin, end = projection.offsets[index], projection.offsets[index + 1]
        grads[:, begin:end] = projection.project(projection.sites[index], signal, inputs)
        if norm == "ghost":
            squared.add_(ghost_squared_norm(signal, inputs))

    loss = backward(lm, batch, projection.sites, consume)
    finished = projection.finish(grads)  # (B, dim)
    norms = squared.sqrt().float() if norm == "ghost" else finished.norm(dim=1)
    return finished, loss, norms


def ghost_squared_norm(signal: Tensor, inputs: Tensor) -> Tensor:
    """‖Σ_t g_t a_tᵀ‖² of every row (B,), float64, from g (B, T, out) and a (B, T, in), by the cheaper of two forms.

    Σ_{t,s} (g_t·g_s)(a_t·a_s) costs T²(in + out), the explicit product T·in·out.
    """
    length, out, into = signal.shape[1], signal.shape[2], inputs.shape[2]
    pairwise = length * (into + out) <= into * out
    held = 2 * length * length if pairwise else into * out
    step = max(1, GHOST_ELEMENTS // held)
    form = _pairwise if pairwise else _explicit
    return torch.cat([form(g, a) for g, a in zip(signal.split(step), inputs.split(step))])


def _pairwise(signal: Tensor, inputs: Tensor) -> Tensor:
    products = (signal @ signal.transpose(1, 2)) * (inputs @ inputs.transpose(1, 2))  # (b, T, T)
    return products.sum(dim=(1, 2), dtype=torch.float64).clamp_min(0)


def _explicit(signal: Tensor, inputs: Tensor) -> Tensor:
    return (signal.transpose(1, 2) @ inputs).square().sum(dim=(1, 2), dtype=torch.float64)


def backward(lm: ModelLike, batch: BatchLike, sites: Sequence[Site], consume: Consume) -> Tensor:
    """One forward and backward pass; calls `consume(site index, g (B, T', out), a (B, T', in))`, float32, per site.

    T' is T times the number of uses of the weight. Returns the row losses (B,), NaN without a response token.
    """
    where = predictions(batch)
    if len(where.rows) == 0:
        return torch.full((len(batch.ids),), torch.nan, device=batch.ids.device)
    scale = HALF_SCALE if any(site.weight.dtype == torch.float16 for site in sites) else 1.0
    uses = _Uses(batch.ids.shape, sites, consume, scale)
    with torch.enable_grad(), _watched(lm.model, sites, uses) as anchor:
        loss = row_losses(response_logits(lm.model, batch, where), where)  # (B,)
        torch.autograd.grad(scale * loss[where.counts > 0].sum(), anchor)
    uses.finish()
    return loss.detach()


class _Uses:
    """Collects the inputs and output gradients of every use of every site, and hands each site on once complete."""

    def __init__(self, shape: torch.Size, sites: Sequence[Site], consume: Consume, scale: float) -> None:
        self.shape, self.sites, self.consume, self.scale = shape, sites, consume, scale
        self.inputs: list[list[Tensor]] = [[] for _ in sites]
        self.signals: list[dict[int, Tensor]] = [{} for _ in sites]

    def forward(self, index: int, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """Forward hook of site `index`: keep its input and wait for the gradient of its output."""
        self._rows(index, output)
        use = len(self.inputs[index])
        self.inputs[index].append(self._rows(index, args[0].detach()))
        output.register_hook(partial(self._arrive, index, use))

    def _rows(self, index: int, values: Tensor) -> Tensor:
        rows, length = self.shape
        if values.shape[:-1] == (rows, length):
            return values
        if values.shape[:-1] == (rows * length,):
            return values.unflatten(0, (rows, length))
        raise EngineError(
            f"Layer {self.sites[index].name} sees {tuple(values.shape)} where {rows} rows of {length} tokens were "
            "expected; layers that regroup tokens (routed experts) have no per-sample gradient here. Choose a model "
            "without them. Nothing was scored."
        )

    def _arrive(self, index: int, use: int, gradient: Tensor) -> None:
        self.signals[index][use] = self._rows(index, gradient)
        if len(self.signals[index]) == len(self.inputs[index]):
            self._hand_on(index)

    def _hand_on(self, index: int) -> None:
        signals, inputs = self.signals[index], self.inputs[index]
        signal = torch.cat([signals[use].float() for use in signals], dim=1) / self.scale  # (B, uses·T, out)
        a = torch.cat([inputs[use].float() for use in signals], dim=1)  # (B, uses·T, in)
        self.signals[index], self.inputs[index] = {}, []
        with torch.no_grad():
            self.consume(index, signal, a)

    def finish(self) -> None:
        """Hand on the sites of which only some uses reach the loss."""
        for index, signals in enumerate(self.signals):
            if signals:
                self._hand_on(index)


@contextmanager
def _watched(model: nn.Module, sites: Sequence[Site], uses: _Uses) -> Iterator[list[Tensor]]:
    """Hook every site, and begin the graph at the first block that holds one; yields that block's input."""
    anchor: list[Tensor] = []

    def begin(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if anchor:  # a block that is applied again belongs to the graph already
            return None
        hidden = (args[0] if args else kwargs["hidden_states"]).detach().requires_grad_(True)
        anchor.append(hidden)
        return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

    with ExitStack() as stack:
        first = _first_block(model, sites)
        stack.callback(first.register_forward_pre_hook(begin, with_kwargs=True).remove)
        for index, site in enumerate(sites):
            for module in site.modules:
                stack.callback(module.register_forward_hook(partial(uses.forward, index)).remove)
        yield anchor


def _first_block(model: nn.Module, sites: Sequence[Site]) -> nn.Module:
    wanted = {id(module) for site in sites for module in site.modules}
    for block in blocks(model):
        if any(id(module) in wanted for module in block.modules()):
            return block
    raise EngineError("None of the projection's layers belongs to this model; build the projection from its layers.")
