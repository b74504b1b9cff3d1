"""One forward and backward pass that hands on the inputs and output gradients of every layer of the parameter set.

Notation. For a site y = W x in row i, a_t is its input and g_t = dL/dy_t at position t, with L = Σ_i ℓ_i the sum of
the rows' own mean response losses: rows do not mix, so ∇_W ℓ_i = Σ_t g_t a_tᵀ over the positions of row i. Right
padding adds nothing, because g is zero there. Every kind of site is brought to this form:
- a weight used several times in a pass (or tied) has the positions of all its uses, side by side;
- a token embedding is the linear map of one-hot tokens: its "g" is the one-hot token and its "a" the gradient of the
  embedded token, which makes its part and that of a tied head rows of one (vocabulary, hidden) gradient. The one-hot
  takes B·T·V numbers, as logits at every position would;
- a norm's weight has one position: g the row's gradient, by reverse mode over that module alone, and a = 1.

No gradient of a parameter is computed: the graph begins at the innermost module that holds all sites of the earliest
block with one (or at an embedding, or norm). Routed experts that are not linear modules are outside the parameter set.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import EngineError
from engine.gradients.forwarding import (
    BatchLike,
    ModelLike,
    Predictions,
    predictions,
    response_logits,
    row_losses,
)
from engine.gradients.parameters import Site, blocks

Consume = Callable[[int, Tensor, Tensor], None]
Hidden = tuple[tuple[Any, ...], dict[str, Any]]

HALF_SCALE = 1024.0  # float16 gradients of a mean over tokens underflow; the loss is scaled up and g back down


def backward(lm: ModelLike, batch: BatchLike, sites: Sequence[Site], consume: Consume) -> Tensor:
    """One forward and backward pass; calls `consume(site index, g (B, T', out), a (B, T', in))`, float32, per site.

    T' is the number of positions of all uses of the weight. Returns the row losses (B,), NaN without a response
    token. A site that the loss does not depend on is never handed on. Raises `EngineError` for sites of another model
    or a layer that does not see the batch as (B, T).
    """
    where = predictions(batch)
    if len(where.rows) == 0:
        return torch.full((len(batch.ids),), torch.nan, device=batch.ids.device)
    scale = HALF_SCALE if any(weight.dtype == torch.float16 for weight in lm.model.parameters()) else 1.0
    uses = _Uses(batch, where, sites, consume, scale)
    with torch.enable_grad(), _watched(lm.model, sites, uses) as anchor:
        loss = row_losses(response_logits(lm.model, batch, where), where)  # (B,)
        torch.autograd.grad(scale * loss[where.counts > 0].sum(), anchor)
    uses.finish()
    return loss.detach()


class _Uses:
    """Collects the inputs and output gradients of every use of every site, and hands each site on once complete."""

    def __init__(
        self, batch: BatchLike, where: Predictions, sites: Sequence[Site], consume: Consume, scale: float
    ) -> None:
        self.shape, self.where = batch.ids.shape, where
        self.sites, self.consume, self.scale = sites, consume, scale
        self.inputs: list[list[tuple[nn.Module, Tensor]]] = [[] for _ in sites]
        self.signals: list[dict[int, Tensor]] = [{} for _ in sites]

    def forward(self, index: int, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """Forward hook of site `index`: keep its input and wait for the gradient of its output."""
        if self.sites[index].kind == "vector" and (len(args) != 1 or len(output) != self.shape[0]):
            raise self._regrouped(index, output)
        if self.sites[index].kind != "vector":
            self._rows(index, output)
        use = len(self.inputs[index])
        self.inputs[index].append((module, args[0].detach()))
        output.register_hook(partial(self._arrive, index, use))

    def _rows(self, index: int, values: Tensor) -> Tensor:
        """Values (B, T, …) or (B·T, …) as (B, T, …); those of the gathered head (1, M, …) as (B, R, …), R ≤ T."""
        rows, length = self.shape
        if values.shape[:2] == (rows, length):
            return values
        if values.ndim == 2 and len(values) == rows * length:
            return values.unflatten(0, (rows, length))
        if values.shape[:2] == (1, len(self.where.rows)):
            return self._spread(values[0])
        raise self._regrouped(index, values)

    def _spread(self, values: Tensor) -> Tensor:
        """Values (M, n) at the predicting positions, as (B, R, n) with zeros behind each row's own."""
        counts = self.where.counts
        starts = counts.cumsum(0) - counts  # (B,)
        slots = torch.arange(len(values), device=values.device) - starts[self.where.rows]  # (M,)
        spread = values.new_zeros(len(counts), int(counts.max()), values.shape[1])
        spread[self.where.rows, slots] = values
        return spread

    def _regrouped(self, index: int, values: Tensor) -> EngineError:
        rows, length = self.shape
        return EngineError(
            f"Layer {self.sites[index].name} sees {tuple(values.shape)} where {rows} rows of {length} tokens were "
            "expected; layers that regroup tokens (routed experts) have no per-sample gradient here. Choose a model "
            "without them. Nothing was scored."
        )

    def _arrive(self, index: int, use: int, gradient: Tensor) -> None:
        self.signals[index][use] = gradient
        if len(self.signals[index]) == len(self.inputs[index]):
            self._hand_on(index)

    def _hand_on(self, index: int) -> None:
        inputs, signals = self.inputs[index], self.signals[index]
        self.inputs[index], self.signals[index] = [], {}
        with torch.no_grad():
            pairs = [self._pair(index, *inputs[use], signals[use]) for use in signals]
            if len(pairs) == 1:
                self.consume(index, *pairs[0])
            else:
                self.consume(index, torch.cat([g for g, _ in pairs], dim=1), torch.cat([a for _, a in pairs], dim=1))

    def _pair(self, index: int, module: nn.Module, inputs: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """(g (B, T', out), a (B, T', in)) of one use, float32."""
        g = gradient.float() if self.scale == 1 else gradient.float() / self.scale
        if self.sites[index].kind == "vector":
            row = _vector_gradients(module, self.sites[index].parameter, inputs.float(), g)  # (B, n)
            return row.unsqueeze(1), torch.ones(len(row), 1, 1, device=row.device)
        if isinstance(module, nn.Embedding):
            return _one_hot(module, inputs), g * _embedding_factor(module)
        return self._rows(index, g), self._rows(index, inputs).float()

    def finish(self) -> None:
        """Hand on the sites of which only some uses reach the loss."""
        for index, signals in enumerate(self.signals):
            if signals:
                self._hand_on(index)


class _Bare(nn.Module):
    """Runs a module without its hooks."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module.forward(x)


def _vector_gradients(module: nn.Module, name: str, inputs: Tensor, signal: Tensor) -> Tensor:
    """The gradient (B, n) of a module's vector parameter in every row, from its input and output gradient (B, …)."""
    bare = _Bare(module)
    values = {key: value.detach().float() for key, value in bare.named_parameters()}
    own = f"module.{name}"

    def of_row(x: Tensor, g: Tensor) -> Tensor:
        def run(value: Tensor) -> Tensor:
            return torch.func.functional_call(bare, {**values, own: value}, (x,))

        return torch.func.vjp(run, values[own])[1](g)[0]

    return torch.func.vmap(of_row)(inputs, signal)


def _one_hot(module: nn.Embedding, ids: Tensor) -> Tensor:
    """Tokens (B, T) as (B, T, V) float32; all zero for the padding token, whose embedding has no gradient."""
    hot = torch.zeros(*ids.shape, module.num_embeddings, device=ids.device).scatter_(2, ids.unsqueeze(2), 1.0)
    if module.padding_idx is not None:
        hot[..., module.padding_idx] = 0
    return hot


def _embedding_factor(module: nn.Embedding) -> Any:
    """What an embedding multiplies its rows by (Gemma's kind), 1 for a plain one; `EngineError` for other kinds."""
    if type(module).forward is nn.Embedding.forward:
        return 1.0
    factor = getattr(module, "embed_scale", None)
    if isinstance(factor, float | int | Tensor):
        return factor
    raise EngineError(
        f"The token embedding is a {type(module).__name__}, whose gradient is not known here. "
        "Choose a parameter set without embeddings. Nothing was scored."
    )


@contextmanager
def _watched(model: nn.Module, sites: Sequence[Site], uses: _Uses) -> Iterator[list[Tensor]]:
    """Hook every site, and begin the graph at the first module that holds one; yields that module's input."""
    anchor: list[Tensor] = []
    with ExitStack() as stack:
        for module in _beginnings(model, sites):
            if isinstance(module, nn.Embedding):
                stack.callback(module.register_forward_hook(partial(_begin_after, anchor)).remove)
            else:
                hook = partial(_begin_before, anchor)
                stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        for index, site in enumerate(sites):
            for module in site.modules:
                stack.callback(module.register_forward_hook(partial(uses.forward, index)).remove)
        yield anchor


def _begin_before(anchor: list[Tensor], module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Pre-hook: begin the graph at the module's input, unless it has begun already."""
    if anchor:
        return None
    hidden = (args[0] if args else kwargs["hidden_states"]).detach().requires_grad_(True)
    anchor.append(hidden)
    return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})


def _begin_after(anchor: list[Tensor], module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Any:
    """Hook: begin the graph at an embedding's output; a view of it, so that hooks see its gradient."""
    if anchor:
        return None
    anchor.append(output.detach().requires_grad_(True))
    return anchor[0].view_as(anchor[0])


def _beginnings(model: nn.Module, sites: Sequence[Site]) -> list[nn.Module]:
    """Where the graph may begin: at the sites of the first block with one, and the modules of sites outside all blocks.

    Whichever of them runs first begins it. Where the block's sites lie in one module of it (the MLP), that module's
    input is early enough, and the attention before it takes no part in the backward pass.
    """
    wanted = {id(module): module for site in sites for module in site.modules}
    belonging = {id(module) for module in model.modules()}
    if not wanted or not belonging.issuperset(wanted):
        raise EngineError(
            "None of the projection's layers belongs to this model; build the projection from its layers."
        )
    outside = dict(wanted)
    holding: list[nn.Module] = []
    for block in blocks(model):
        inside = [id(module) for module in block.modules() if id(module) in wanted]
        if inside:
            holding.append(_innermost(block, set(inside)))
        for key in inside:
            outside.pop(key, None)
    return [*holding[:1], *outside.values()]


def _innermost(block: nn.Module, wanted: set[int]) -> nn.Module:
    """The smallest module of a block that holds every `wanted` one, and is called: a list of modules is not."""
    found = block
    for child in block.children():
        if wanted <= {id(module) for module in child.modules()}:
            found = _innermost(child, wanted)
    return block if isinstance(found, nn.ModuleList | nn.ModuleDict) else found
