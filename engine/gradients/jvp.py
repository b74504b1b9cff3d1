"""Forward-mode embeddings: how the shallow hidden state of a sample moves along shared random parameter directions.

Notation. h_i(θ) is the hidden state (H,) of the last non-padding token of sample i after the first few blocks, passed
through the final norm (as the released code does). For V tangents u_v over the linear weights of those blocks, the
same for every sample, the embedding is the concatenation of dh_i/dθ · u_v, v = 1…V, randomly projected to `width`
where V·H is longer. (Influence Distillation, arXiv 2505.19051; METHODS section 1, "JVP embeddings".)

One pass carries the values once and the V tangents beside them (`dual`); only the blocks needed are evaluated, and of
the last one, behind its attention, only the last token. Every model is checked at construction, on two short rows,
against torch's own forward mode; where the fast way does not follow the architecture the plain one is taken, and
`notes` says so.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from engine.errors import EngineError
from engine.gradients.dual import Dual, NoRuleError, attention, forward_mode, plain, tapped
from engine.gradients.forwarding import BatchLike, ModelLike, base_model, last_hidden
from engine.gradients.keyed import keyed_generator, signs
from engine.gradients.parameters import Site, block_stack, shortened
from engine.gradients.tangents import RankOne, Tangent, Tangents, dense, draw_tangents, shallow_sites

Way = Literal["last token", "whole block", "torch"]

ATTENTION = ("eager", "sdpa")
PART_TOKENS = 1024  # padded tokens carried at once on a CPU: values and tangents stay in its cache
PROBE = (5, 3)  # lengths of the rows a model is checked on
AGREEMENT = {torch.float64: 1e-6, torch.float32: 1e-3}  # of the largest derivative; half precision: 5 %


@dataclass(frozen=True)
class _Part:
    """Some rows of a batch, without the padding they do not need."""

    ids: Tensor
    attention: Tensor
    response: Tensor
    position_ids: Tensor | None = None


class JvpEmbedding:
    """The forward-mode embedding; `.dim` is min(width, tangents · hidden size).

    `tangents` is their number, `tangent` their kind. `blocks` is clamped to the model's depth (a note says so).
    Tangents are fixed by seed and parameter name. Raises `EngineError` for counts below 1, an unknown kind, or an
    attention implementation without forward mode.
    """

    def __init__(
        self,
        lm: ModelLike,
        *,
        blocks: int = 4,
        tangents: int = 2,
        tangent: Tangent = "gaussian",
        width: int = 1024,
        seed: int = 0,
    ) -> None:
        _check(blocks, tangents, width, tangent)
        config = lm.model.config
        kind = _attention_kind(config)
        self.lm = lm
        self.stack = block_stack(base_model(lm.model))
        self.depth = min(blocks, len(self.stack.blocks))
        self.sites = shallow_sites(lm.model, self.depth)
        self.tangents: Tangents = draw_tangents(self.sites, tangents, tangent, seed=seed)
        length = tangents * int(config.get_text_config().hidden_size)
        self.dim = min(width, length)
        self.parts: tuple[int, ...] = (self.dim,)
        self.projection = None
        if self.dim < length:
            entries = signs(length * width, "jvp projection", seed).reshape(length, width) / sqrt(width)
            self.projection = torch.from_numpy(entries).to(lm.device)
        self.way: Way = self._checked_way()
        self.notes = (
            _way_note(self.way, kind),
            f"{tangents} {tangent} tangents through {self.depth} blocks.",
            *_depth_notes(blocks, self.depth),
        )

    @torch.no_grad()
    def __call__(self, batch: BatchLike) -> Tensor:
        """The vectors (B, dim), float32. A row without tokens is NaN."""
        moved = self.derivatives(batch).float()  # (V, B, H)
        joined = moved.transpose(0, 1).flatten(1)  # (B, V·H)
        vectors = joined if self.projection is None else joined @ self.projection
        return vectors.masked_fill(~batch.attention.bool().any(dim=1, keepdim=True), torch.nan)

    def derivatives(self, batch: BatchLike) -> Tensor:
        """dh/dθ · u_v for every tangent and row, (V, B, H), in the model's dtype."""
        parts = list(_parts(batch))
        moved = torch.cat([self._moved(part, self.tangents, self.way) for _, part in parts], dim=1)  # (V, B, H)
        return moved[:, torch.cat([rows for rows, _ in parts]).argsort()]

    def dense_tangents(self) -> dict[str, Tensor]:
        """The directions (V, …) in the layout of each weight, rank-one ones written out."""
        return dense(self.tangents, self.sites)

    def _moved(self, batch: BatchLike, tangents: Tangents, way: Way) -> Tensor:
        """(V, B, H) by one of three ways of equal value."""
        base = base_model(self.lm.model)
        with shortened(self.stack, self.depth):
            if way == "torch":
                return _by_torch(base, self.sites, tangents, batch)
            with ExitStack() as stack, torch.no_grad():
                for name, tangent in tangents.items():
                    for module in self.sites[name].modules:
                        hook = partial(_add_directions, tangent, self.sites[name])
                        stack.callback(module.register_forward_hook(hook).remove)
                if way == "last token":
                    stack.enter_context(_narrowed(self.stack.blocks[self.depth - 1], _last_tokens(batch)))
                return torch.stack(_LastToken(base)(batch).tangents)

    def _checked_way(self) -> Way:
        """The fastest way whose derivatives agree with torch's own on two short rows, for the first tangent."""
        probe = _probe(self.lm)
        first: Tangents = {name: tangent[:1] for name, tangent in self.tangents.items()}
        expected = self._moved(probe, first, "torch")
        bound = AGREEMENT.get(expected.dtype, 5e-2) * float(expected.float().abs().max())
        ways: tuple[Way, ...] = ("last token", "whole block")
        for way in ways:
            try:
                found = self._moved(probe, first, way)
            except (NoRuleError, RuntimeError, TypeError, ValueError, AttributeError, IndexError):
                continue  # said in the notes: another way is taken
            if found.shape == expected.shape and torch.allclose(found, expected, rtol=0, atol=bound, equal_nan=True):
                return way
        return "torch"


class _LastToken(nn.Module):
    """The hidden state (B, H) of the last non-padding token."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, batch: BatchLike) -> Any:
        """Run the (shortened) base model and pick the last token of every row."""
        last = _last_tokens(batch)
        return last_hidden(self.base, batch)[torch.arange(len(last), device=last.device), last]


def _last_tokens(batch: BatchLike) -> Tensor:
    return batch.attention.long().sum(dim=1).sub(1).clamp_min(0)  # (B,)


def _add_directions(tangent: Tensor | RankOne, site: Site, module: nn.Module, args: tuple[Any, ...], out: Any) -> Dual:
    """Forward hook of a linear layer: add Ẇ_v x to what its input's tangents gave."""
    x = plain(args[0])
    if isinstance(tangent, RankOne):
        narrow = x @ tangent.into.T  # (…, V)
        if isinstance(out, Dual):
            for v, moved in enumerate(out.tangents):
                moved.addcmul_(narrow[..., v : v + 1], tangent.out[v])
            return out
        return Dual(out, [narrow[..., v : v + 1] * direction for v, direction in enumerate(tangent.out)])
    own = [x @ (each if site.transposed else each.T) for each in tangent]  # (…, out)
    if isinstance(out, Dual):
        return Dual(out.value, [moved.add_(t) for moved, t in zip(own, out.tangents)])
    return Dual(out, own)


class _Reached(Exception):
    """Carries the arguments of a block's attention out of it, once that is reached."""

    def __init__(self, inputs: tuple[Any, ...], settings: dict[str, Any]) -> None:
        super().__init__()
        self.inputs, self.settings = inputs, settings


@contextmanager
def _narrowed(block: nn.Module, last: Tensor) -> Iterator[None]:
    """Let `block` evaluate what follows its attention for the last token (B,) of every row alone.

    It runs twice: whole, up to its attention, and on the last tokens, with the attention of those to all keys. Its
    output is that of the last token at every position. A block without fused attention runs whole.
    """
    original, own = block.forward, vars(block).get("forward")
    rows = torch.arange(len(last), device=last.device)

    def reach(*args: Any, **kwargs: Any) -> Any:
        raise _Reached(args, kwargs)

    def forward(*args: Any, **kwargs: Any) -> Any:
        try:
            with tapped(reach):
                return original(*args, **kwargs)
        except _Reached as reached:
            attended = _last_attention(reached.inputs, reached.settings, rows, last)
        hidden = args[0] if args else kwargs.pop("hidden_states")
        narrow = hidden[rows, last].unsqueeze(1)  # (B, 1, H)
        rest, named = tree_map(partial(_positions_of, rows, last, hidden.shape[1]), (args[1:], kwargs))
        with tapped(lambda *_, **__: attended):
            out = original(narrow, *rest, **named)
        wide = (len(last), hidden.shape[1], -1)
        return (out[0].expand(wide), *out[1:]) if isinstance(out, tuple) else out.expand(wide)

    block.forward = forward
    try:
        yield
    finally:
        del block.forward
        if own is not None:
            block.forward = own


def _positions_of(rows: Tensor, last: Tensor, length: int, x: Any) -> Any:
    """What a block is told of positions, (B or 1, T) or (B or 1, T, ·), for the last tokens alone; else x itself."""
    if not isinstance(x, Tensor) or x.ndim not in (2, 3) or x.shape[1] != length or len(x) not in (1, len(rows)):
        return x
    return x.expand(len(rows), *x.shape[1:])[rows, last].unsqueeze(1)


def _last_attention(args: tuple[Any, ...], kwargs: dict[str, Any], rows: Tensor, last: Tensor) -> Dual:
    """The attention (B, h, 1, d) of each row's last token."""
    settings = dict(zip(("attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa"), args[3:])) | kwargs
    query, key, value = args[:3]
    mask = settings.get("attn_mask")
    if settings.get("is_causal"):
        mask = torch.arange(key.shape[2], device=last.device) <= last[:, None]  # (B, S)
        settings |= {"attn_mask": mask[:, None, None], "is_causal": False}
    elif mask is not None:
        settings["attn_mask"] = mask.expand(len(last), *mask.shape[1:])[rows, :, last].unsqueeze(2)  # (B, h, 1, S)
    return attention(query[rows, :, last].unsqueeze(2), key, value, **settings)


def _by_torch(base: nn.Module, sites: Mapping[str, Site], tangents: Tangents, batch: BatchLike) -> Tensor:
    """(V, B, H) by torch's forward mode over dense directions: slow, and for any model it can follow."""
    values = {name: sites[name].weight.detach() for name in tangents}

    def hidden(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(_LastToken(base), {f"base.{k}": v for k, v in parameters.items()}, batch)

    def move(direction: dict[str, Tensor]) -> Tensor:
        return forward_mode(hidden, (values,), (direction,))[1]  # (B, H)

    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        return torch.func.vmap(move)(dense(tangents, sites))


def _parts(batch: BatchLike) -> Iterator[tuple[Tensor, _Part]]:
    """The rows of a batch in groups of like length, without needless padding; on a GPU all rows at once."""
    lengths = batch.attention.long().sum(dim=1).clamp_min(1)
    order = lengths.argsort(descending=True, stable=True)
    sizes = lengths[order].tolist()
    start = 0
    while start < len(sizes):
        count = len(sizes) if batch.ids.device.type != "cpu" else max(1, PART_TOKENS // sizes[start])
        rows = order[start : start + count]
        positions = getattr(batch, "position_ids", None)
        tensors = (batch.ids, batch.attention, batch.response, positions)
        yield rows, _Part(*(t if t is None else t[rows, : sizes[start]] for t in tensors))  # type: ignore[arg-type]
        start += count


def _probe(lm: ModelLike) -> _Part:
    """Two short rows of random tokens."""
    vocabulary = min(int(lm.model.get_input_embeddings().weight.shape[0]), 1000)
    drawn = np.random.Generator(keyed_generator("jvp probe")).integers(0, vocabulary, (len(PROBE), max(PROBE)))
    ids = torch.from_numpy(drawn).to(lm.device)
    mask = torch.arange(max(PROBE), device=lm.device) < torch.tensor(PROBE, device=lm.device)[:, None]
    return _Part(ids, mask.long(), mask)


def _check(blocks: int, tangents: int, width: int, tangent: str) -> None:
    if min(blocks, tangents, width) < 1:
        raise EngineError(f"Blocks, tangents and width must be at least 1; got {blocks}, {tangents} and {width}.")
    if tangent not in get_args(Tangent):
        raise EngineError(f"The tangent is {tangent!r}; it must be one of: {', '.join(get_args(Tangent))}.")


def _attention_kind(config: Any) -> str:
    kind = getattr(config, "_attn_implementation", None) or "eager"
    if kind not in ATTENTION:
        raise EngineError(
            f"Forward-mode embeddings need eager or sdpa attention; the model was loaded with {kind!r}. "
            "Load it with attention='eager' or 'sdpa', or choose the embedding 'hidden'. Nothing was computed."
        )
    return kind


def _way_note(way: Way, kind: str) -> str:
    if way == "torch":
        form = "the math form of attention" if kind == "sdpa" else "eager attention"
        return f"Forward mode runs through torch's own rules, under {form}: the faster way does not follow this model."
    if kind == "sdpa":
        return "Forward mode runs under an attention of its own; the fused kernels have no rule for it."
    return "Forward mode runs under eager attention."


def _depth_notes(asked: int, depth: int) -> tuple[str, ...]:
    return () if asked == depth else (f"{asked} blocks asked for; the model has {depth}, all of them are used.",)
