"""Exact products with the Hessian, or the Gauss–Newton matrix, of the target loss; neither matrix is ever formed.

Notation. L = Σ_j c_j ℓ_j over the t target items with a response, c_j = 1/t unless weights are given; W the weights of
the parameter set; H = ∇²L with respect to them and, with z_j the logits that predict a response token of item j,
G = Σ_j c_j (∂z_j/∂W)ᵀ (∂²ℓ_j/∂z_j²) (∂z_j/∂W): positive semi-definite for c ≥ 0. A *direction* is one matrix (out, in)
per site, and so is a product. H v comes from double backward: the gradient with respect to W of <∇L, v>; G v from the
same trick on the logits. (METHODS section 1, "Hessian products".)

The target batches are streamed: one batch's graph is alive at a time and serves every direction that was handed over
together; products are summed. Fused attention has no double backward: the math form is used, and `notes` says so.
Does not condition by an optimiser and does not know the pool.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from engine.errors import EngineError
from engine.gradients.forwarding import BatchLike, ModelLike, Predictions, predictions, response_logits, row_losses
from engine.gradients.parameters import Site
from engine.gradients.unprojected import Matrices, TakenRows, taken, wanting_gradients
from engine.progress import Reporter, Silent

Curvature = Literal["hessian", "gauss-newton"]
Direction = Sequence[Tensor]
ATTENTION = ("eager", "sdpa")


class TargetLoss:
    """The mean loss of a target set as a function of the parameter set: its gradient and its curvature products.

    `batches` are the target items, streamed once here (without gradients, to find those with a finite loss) and once
    per call afterwards, so they must be a sequence. `weights` are factors, one tensor (B,) per batch; by default every
    usable item counts alike; they are normalised by the sum of their absolute values over usable items.
    `items` is t, `loss` is L. Raises `EngineError` for half precision, an attention implementation without double
    backward, an unknown kind, or targets without a usable item.
    """

    def __init__(
        self,
        lm: ModelLike,
        sites: Sequence[Site],
        batches: Sequence[BatchLike],
        *,
        kind: Curvature = "hessian",
        weights: Sequence[Tensor] | None = None,
    ) -> None:
        if kind not in get_args(Curvature):
            raise EngineError(f"The curvature is {kind!r}; it must be one of: {', '.join(get_args(Curvature))}.")
        self.lm, self.sites, self.kind = lm, tuple(sites), kind
        self._sdpa, attention = _attention(lm.model.config)
        _check_precision(self.sites)
        self._batches, self.loss, self.items, dropped = self._usable(batches, weights)
        self.notes: tuple[str, ...] = (attention, *_dropped(dropped), *_kind_note(kind))

    def gradient(self) -> Matrices:
        """∇L, one matrix (out, in) per site, in the weights' precision."""
        total = self._zeros()
        with self._differentiable() as weights:
            for rows in self._batches:
                self._add(total, torch.autograd.grad(self._loss(rows), weights, materialize_grads=True))
        return _finite(total, "gradient")

    def product(self, direction: Direction) -> Matrices:
        """H v (or G v), one matrix (out, in) per site."""
        return self.products([direction])[0]

    def products(self, directions: Sequence[Direction], *, reporter: Reporter | None = None) -> list[Matrices]:
        """H v of several directions, which share every batch's graph; holds 2·len(directions) sets of weights.

        Raises `EngineError` for a direction of another shape and for a product that is not finite. Advances `reporter`
        by one per target batch and direction.
        """
        moved = [self._own_layout(direction) for direction in directions]
        totals = [self._zeros() for _ in directions]
        listener = reporter or Silent()
        with self._differentiable() as weights:
            for rows in self._batches:
                multiply = _MULTIPLY[self.kind](self, rows, weights)
                for at, direction in enumerate(moved):
                    listener.check()
                    self._add(totals[at], multiply(direction, at + 1 < len(moved)))
                    listener.advance(1)
                del multiply
        return [_finite(total, f"product with the {self.kind} matrix") for total in totals]

    @property
    def batches(self) -> int:
        """How many target batches a product streams."""
        return len(self._batches)

    def _loss(self, rows: TakenRows) -> Tensor:
        where = predictions(rows)
        losses = row_losses(response_logits(self.lm.model, rows, where), where)
        return (losses * rows.factors).sum()

    def _usable(
        self, batches: Sequence[BatchLike], weights: Sequence[Tensor] | None
    ) -> tuple[list[TakenRows], float, int, int]:
        """The rows with a finite loss and a factor, their factors normalised; L; how many; how many were left out."""
        kept: list[TakenRows] = []
        values: list[Tensor] = []
        total = 0
        for at, batch in enumerate(batches):
            where = predictions(batch)
            with torch.no_grad():
                losses = row_losses(response_logits(self.lm.model, batch, where), where) if len(where.rows) else None
            total += len(batch.ids)
            if losses is None:
                continue
            factors = torch.ones_like(losses) if weights is None else weights[at].to(losses)
            good = losses.isfinite() & (factors != 0)
            if bool(good.any()):
                kept.append(taken(batch, good, factors))
                values.append(losses[good])
        items = sum(len(rows.ids) for rows in kept)
        if items == 0:
            raise EngineError(
                f"None of the {total} target items has a response with a finite loss, so there is no target loss to "
                "differentiate. Check the targets. Nothing was computed."
            )
        scale = sum(float(rows.factors.abs().sum()) for rows in kept)
        scaled = [TakenRows(r.ids, r.attention, r.response, r.factors / scale, r.position_ids) for r in kept]
        loss = sum(float((rows.factors * each).sum()) for rows, each in zip(scaled, values, strict=True))
        return scaled, loss, items, total - items

    def _zeros(self) -> list[Tensor]:
        return [site.weight.new_zeros(site.out_features, site.in_features) for site in self.sites]

    def _add(self, total: list[Tensor], parts: Iterable[Tensor]) -> None:
        for site, into, part in zip(self.sites, total, parts, strict=True):
            into.add_(site.as_matrix(part.detach()))

    def _own_layout(self, direction: Direction) -> list[Tensor]:
        """The direction in the modules' own layout and precision. Raises `EngineError` for another shape."""
        expected = [(site.out_features, site.in_features) for site in self.sites]
        if [tuple(part.shape) for part in direction] != expected:
            raise EngineError(
                f"A direction needs one (out, in) matrix per weight of the parameter set ({len(expected)}); got shapes "
                f"{[tuple(part.shape) for part in direction][:3]} …, expected {expected[:3]} …."
            )
        return [_own(site, part) for site, part in zip(self.sites, direction, strict=True)]

    @contextmanager
    def _differentiable(self) -> Iterator[list[Tensor]]:
        """The weights, wanting gradients for a while, under an attention that can be differentiated twice."""
        attention = sdpa_kernel(SDPBackend.MATH) if self._sdpa else nullcontext()
        with attention, wanting_gradients(self.sites) as weights:
            yield weights


Multiply = Callable[[list[Tensor], bool], Iterable[Tensor]]


def _hessian(target: TargetLoss, rows: TakenRows, weights: list[Tensor]) -> Multiply:
    """v ↦ Hv of one batch: the gradient, kept as a graph, is differentiated along v."""
    loss = target._loss(rows)
    first = torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)

    def multiply(direction: list[Tensor], more: bool) -> Iterable[Tensor]:
        inside = [(g, v) for g, v in zip(first, direction, strict=True) if g.requires_grad]
        if not inside:
            return [torch.zeros_like(weight) for weight in weights]
        outputs, vectors = zip(*inside, strict=True)
        return torch.autograd.grad(outputs, weights, vectors, retain_graph=more, materialize_grads=True)

    return multiply


def _gauss_newton(target: TargetLoss, rows: TakenRows, weights: list[Tensor]) -> Multiply:
    """v ↦ Gv of one batch: Jv by double backward through a dummy cotangent u, then (diag p − ppᵀ), then Jᵀ."""
    where = predictions(rows)
    logits = response_logits(target.lm.model, rows, where)  # (M, V)
    dummy = torch.zeros_like(logits, requires_grad=True)
    pulled = torch.autograd.grad(logits, weights, dummy, create_graph=True, materialize_grads=True)  # Jᵀu
    share = _shares(logits, where, rows.factors)

    def multiply(direction: list[Tensor], more: bool) -> Iterable[Tensor]:
        pushed = torch.autograd.grad(pulled, dummy, direction, retain_graph=True)[0]  # Jv (M, V)
        return torch.autograd.grad(logits, weights, share(pushed), retain_graph=more, materialize_grads=True)

    return multiply


def _shares(logits: Tensor, where: Predictions, factors: Tensor) -> Callable[[Tensor], Tensor]:
    """y (M, V) ↦ ∂²L/∂z² y: per position c_j / T_j · (p ⊙ y − p <p, y>)."""
    chances = logits.detach().float().softmax(dim=1)  # (M, V)
    weight = (factors / where.counts.clamp_min(1))[where.rows].unsqueeze(1)  # (M, 1)

    def apply(pushed: Tensor) -> Tensor:
        inner = (chances * pushed.float()).sum(dim=1, keepdim=True)
        return (weight * chances * (pushed.float() - inner)).to(logits.dtype)

    return apply


_MULTIPLY: dict[Curvature, Callable[[TargetLoss, TakenRows, list[Tensor]], Multiply]] = {
    "hessian": _hessian,
    "gauss-newton": _gauss_newton,
}


def _attention(config: Any) -> tuple[bool, str]:
    """Whether the model runs scaled-dot-product attention, and the sentence that says under what it runs here."""
    kind = getattr(config, "_attn_implementation", None) or "eager"
    if kind not in ATTENTION:
        raise EngineError(
            f"Curvature products need eager or sdpa attention; the model was loaded with {kind!r}. Load it with "
            "attention='eager' or 'sdpa', or use the first-order weights. Nothing was computed."
        )
    if kind == "sdpa":
        return True, "Curvature runs under the math form of attention; the fused kernels have no double backward."
    return False, "Curvature runs under eager attention."


def _check_precision(sites: Sequence[Site]) -> None:
    if not sites:
        raise EngineError("The parameter set is empty; curvature needs at least one weight matrix.")
    half = {str(s.weight.dtype) for s in sites if s.weight.dtype not in (torch.float32, torch.float64)}
    if half:
        raise EngineError(
            f"Curvature products need float32 weights; the model is in {', '.join(sorted(half))}, where differences "
            "of gradients are noise. Load it in float32, or use the first-order weights. Nothing was computed."
        )


def _own(site: Site, matrix: Tensor) -> Tensor:
    """(out, in) in the layout and precision of the module's parameter."""
    return (matrix.T if site.transposed else matrix.reshape(site.weight.shape)).to(site.weight)


def _finite(total: list[Tensor], what: str) -> Matrices:
    if not all(bool(part.isfinite().all()) for part in total):
        raise EngineError(
            f"The target's {what} is not finite: the model overflows on the targets. Check the model, or use the "
            "first-order weights. Nothing was kept."
        )
    return tuple(total)


def _dropped(count: int) -> tuple[str, ...]:
    return (f"{count} target items without a finite loss were left out of the target loss.",) if count else ()


def _kind_note(kind: Curvature) -> tuple[str, ...]:
    if kind == "hessian":
        return ()
    return (
        "The Gauss–Newton matrix stands in for the Hessian: it is never negative, so the weights' problem is convex.",
    )
