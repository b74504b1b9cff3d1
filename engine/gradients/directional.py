"""Inner products of every row's gradient with a few directions, from forward passes only.

Notation. u is a direction: one matrix (out, in) per site; û = u/‖u‖. <g_i, u> is the derivative of row i's response
loss ℓ_i along u. As a difference it is ‖u‖·[ℓ_i(θ + εû) − ℓ_i(θ − εû)]/2ε: two forward passes a direction, with the
weights moved in place and given back bit for bit. In forward mode it is exact: one pass that carries the values once
and the tangents of all directions beside them, at about two forward passes a direction and their memory; the fused
attention kernels have no rule for it, so the math form is used, and `notes` says so. (METHODS section 3, "Directional
scores".) A higher product means that a step along row i's gradient lowers the target loss more.

The first rows seen are checked against the true derivative from a backward pass; a difference that is noise, as in
half precision, is refused. Needs no projection and holds no gradient of a row.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import nan
from typing import Any, Literal, get_args

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from engine.errors import EngineError
from engine.gradients.exact import Direction, check_directions, exact_products
from engine.gradients.forwarding import BatchLike, ModelLike, Predictions, predictions, response_logits, row_losses
from engine.gradients.parameters import Site

Mode = Literal["difference", "forward"]
Found = tuple[Tensor, Tensor]
Move = Callable[[Direction, float], None]

CHECK_ROWS = 8
TOLERANCE = 0.1  # largest relative error of a product that is still a measurement
LADDER = (1.0, 0.25, 4.0)  # steps tried around the one that machine precision suggests
TANGENTS_AT_ONCE = 8


@dataclass(frozen=True)
class Check:
    """How far the products are from the true derivatives on a few rows.

    `relative_error` is ‖found − true‖/‖true‖ over `rows` rows and all directions; `spearman` the lowest rank
    correlation of any direction (NaN below three rows). `epsilon` is the step used, None in forward mode.
    """

    relative_error: float
    spearman: float
    epsilon: float | None
    rows: int


@dataclass(frozen=True)
class _Rows:
    ids: Tensor
    attention: Tensor
    response: Tensor


class Directional:
    """<g_i, u_j> for every row and each of s directions; a conditioned score takes a ⊙ u (`conditioned`).

    `epsilon` is the step along the unit direction; None lets machine precision suggest it and the check choose it.
    `checked` is the last check: the first call makes one on its first rows. Raises `EngineError` for an unknown mode,
    directions that do not fit or are not finite, a step that rounding swallows, or attention without forward mode.
    """

    def __init__(
        self,
        lm: ModelLike,
        sites: Sequence[Site],
        directions: Sequence[Direction],
        *,
        mode: Mode = "difference",
        epsilon: float | None = None,
    ) -> None:
        if mode not in get_args(Mode):
            raise EngineError(f"The mode is {mode!r}; it must be one of: {', '.join(get_args(Mode))}.")
        if epsilon is not None and not epsilon > 0:
            raise EngineError(f"The step along a direction is {epsilon}; it must be above 0.")
        check_directions(directions, sites)
        self.lm, self.sites, self.mode = lm, tuple(sites), mode
        self.norms = [_norm(u) for u in directions]
        self.units = [_unit(u, size, sites) for u, size in zip(directions, self.norms)]
        self.chosen = epsilon is not None
        self.epsilon = epsilon if epsilon is not None else suggested_epsilon(sites)
        self.checked: Check | None = None
        self.notes = (_forward_note(lm.model.config),) if mode == "forward" else (_difference_note(),)
        if mode == "difference":
            self._refuse_swallowed_steps()

    def __call__(self, batch: BatchLike) -> Found:
        """(<g_i, u_j> (B, s), losses (B,)), float32, for one batch; see `shard`."""
        return self.shard([batch])[0]

    def shard(self, batches: Sequence[BatchLike]) -> list[Found]:
        """The same for several batches, with the weights moved 2s times in all rather than for each batch.

        A row without a predicted response token has products 0 and loss NaN; one that overflows is NaN, it alone. The
        loss is that at θ in forward mode; as a difference it is the mean of the two sides of the first direction,
        which differs from it by (ε²/2)·ûᵀHû.
        """
        self._check_first(batches)
        return self._measure(batches)

    def check(self, batch: BatchLike, *, rows: int = CHECK_ROWS, tolerance: float = TOLERANCE) -> Check:
        """Compare the first `rows` rows that have a response with the true derivatives, and choose ε where it is free.

        Raises `EngineError` if no row of the batch has a finite derivative, or the error is above `tolerance`.
        """
        few = _first_rows(batch, rows)
        truth = exact_products(self.lm, few, self._directions(), self.sites, norm=False)[0]
        ladder = [self.epsilon] if self.chosen or self.mode == "forward" else [self.epsilon * f for f in LADDER]
        checks = [self._compare(few, truth, epsilon) for epsilon in ladder]
        best = min(checks, key=lambda c: c.relative_error if c.relative_error == c.relative_error else np.inf)
        if best.rows == 0:
            raise EngineError(
                "No sample to check the directional products on has a finite derivative. Nothing was scored."
            )
        if not best.relative_error <= tolerance:
            raise EngineError(self._refusal(best, tolerance))
        if self.mode == "difference" and best.epsilon is not None:
            self.epsilon, self.chosen = best.epsilon, True
        self.checked = best
        return best

    def _check_first(self, batches: Sequence[BatchLike]) -> None:
        if self.checked is None:
            usable = [batch for batch in batches if len(predictions(batch).rows)]
            if usable:
                self.check(usable[0])

    def _directions(self) -> list[Direction]:
        return [tuple(u * size for u in unit) for unit, size in zip(self.units, self.norms)]

    def _compare(self, batch: BatchLike, truth: Tensor, epsilon: float) -> Check:
        before, self.epsilon = self.epsilon, epsilon
        try:
            found = self._measure([batch])[0][0]
        finally:
            self.epsilon = before
        kept = truth.isfinite().all(dim=1)
        error = float((found[kept] - truth[kept]).norm() / truth[kept].norm())
        if not bool(truth[kept].any()):
            error = 0.0 if not bool(found[kept].any()) else float("inf")
        ranks = [_spearman(found[kept, j], truth[kept, j]) for j in range(truth.shape[1])]
        return Check(error, float(np.min(ranks)), epsilon if self.mode == "difference" else None, int(kept.sum()))

    def _refusal(self, check: Check, tolerance: float) -> str:
        step = f" at a step of {check.epsilon:.3g}" if check.epsilon is not None else ""
        return (
            f"The products along the directions are off by {check.relative_error:.0%} of their size{step}, measured on "
            f"{check.rows} samples against the true derivative; at most {tolerance:.0%} is accepted. "
            f"{_precision_advice(self.sites)} Nothing was scored."
        )

    def _measure(self, batches: Sequence[BatchLike]) -> list[Found]:
        if self.mode == "forward":
            return [self._forward_mode(batch) for batch in batches]
        return self._differences(batches)

    @torch.no_grad()
    def _differences(self, batches: Sequence[BatchLike]) -> list[Found]:
        products = [torch.zeros(len(b.ids), len(self.units), device=b.ids.device) for b in batches]
        middles: list[Tensor] = []
        with perturbed(self.sites) as move:
            for j, (unit, size) in enumerate(zip(self.units, self.norms)):
                move(unit, self.epsilon)
                ahead = [_losses(self.lm.model, batch) for batch in batches]
                move(unit, -self.epsilon)
                behind = [_losses(self.lm.model, batch) for batch in batches]
                for part, one, other in zip(products, ahead, behind):
                    part[:, j] = size * (one - other) / (2 * self.epsilon)
                if j == 0:
                    middles = [(one + other) / 2 for one, other in zip(ahead, behind)]
        return [_finished(part, middle.float(), batch) for part, middle, batch in zip(products, middles, batches)]

    def _forward_mode(self, batch: BatchLike) -> Found:
        where = predictions(batch)
        module = _RowLosses(self.lm.model)
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        values = {names[id(site.weight)]: site.weight.detach() for site in self.sites}
        tangents = {names[id(s.weight)]: _tangents(s, [u[k] for u in self.units]) for k, s in enumerate(self.sites)}

        def run(parameters: dict[str, Tensor]) -> Tensor:
            return torch.func.functional_call(module, parameters, (batch, where))

        def move(tangent: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            pair: tuple[Tensor, Tensor] = torch.func.jvp(run, (values,), (tangent,))  # type: ignore[assignment]
            return pair

        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            # torch scripts its own forward-mode rules on first use, and warns of that
            warnings.filterwarnings("ignore", message="`torch.jit.script", category=DeprecationWarning)
            losses, moved = torch.func.vmap(move, chunk_size=TANGENTS_AT_ONCE)(tangents)  # (s, B), (s, B)
        sizes = torch.tensor(self.norms, device=moved.device)
        return _finished(moved.T.float() * sizes, losses[0].float(), batch)

    def _refuse_swallowed_steps(self) -> None:
        """Half precision rounds a small step away: measure what is left of the first direction's."""
        if not _is_half(self.sites) or not self.norms[0] > 0:
            return
        lost = kept = 0.0
        for site, u in zip(self.sites, self.units[0]):
            base = site.as_matrix(site.weight.detach())
            step = self.epsilon * u
            lost += float(((base + step).to(base.dtype).float() - base.float() - step).double().square().sum())
            kept += float(step.double().square().sum())
        if lost > TOLERANCE**2 * kept:
            raise EngineError(
                f"A step of {self.epsilon:.3g} along the direction is lost in the rounding of {base.dtype} weights "
                f"({(lost / kept) ** 0.5:.0%} of it is rounding error). {_precision_advice(self.sites)} "
                "Nothing was scored."
            )


@contextmanager
def perturbed(sites: Sequence[Site]) -> Iterator[Move]:
    """Yields `move(direction, step)`, which sets the weights to θ + step·direction; θ is given back bit for bit."""
    saved = [site.weight.detach().clone() for site in sites]

    def move(direction: Direction, step: float) -> None:
        for site, base, u in zip(sites, saved, direction):
            site.as_matrix(site.weight.detach()).copy_(site.as_matrix(base) + step * u)

    try:
        yield move
    finally:
        for site, base in zip(sites, saved):
            site.weight.detach().copy_(base)


def suggested_epsilon(sites: Sequence[Site]) -> float:
    """Four times the cube root of the machine precision, where rounding and curvature balance (losses are float32)."""
    precision = max(torch.finfo(site.weight.dtype).eps for site in sites)
    return 4 * max(precision, torch.finfo(torch.float32).eps) ** (1 / 3)


class _RowLosses(nn.Module):
    """The response losses (B,) as a module, so that its parameters can be replaced."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: BatchLike, where: Predictions) -> Tensor:
        return row_losses(response_logits(self.model, batch, where), where)


def _losses(model: nn.Module, batch: BatchLike) -> Tensor:
    """ℓ (B,) in float64, so that the difference of two rounds nothing more."""
    where = predictions(batch)
    if len(where.rows) == 0:
        return torch.full((len(batch.ids),), torch.nan, dtype=torch.float64, device=batch.ids.device)
    return row_losses(response_logits(model, batch, where), where).double()


def _finished(products: Tensor, losses: Tensor, batch: BatchLike) -> Found:
    """Products NaN where a value is not finite, and 0 where the row predicts nothing."""
    silent = predictions(batch).counts == 0
    broken = ~(products.isfinite().all(dim=1) & losses.isfinite())
    return products.masked_fill(broken[:, None], torch.nan).masked_fill(silent[:, None], 0), losses


def _first_rows(batch: BatchLike, rows: int) -> _Rows:
    chosen = (predictions(batch).counts > 0).nonzero()[:rows, 0]
    return _Rows(batch.ids[chosen], batch.attention[chosen], batch.response[chosen])


def _tangents(site: Site, matrices: Sequence[Tensor]) -> Tensor:
    """The directions (s, …) of one site in its module's own layout and precision."""
    stacked = torch.stack(list(matrices))  # (s, out, in)
    own = stacked.squeeze(2) if site.kind == "vector" else stacked.mT if site.transposed else stacked
    return own.to(site.weight.dtype)


def _norm(direction: Direction) -> float:
    return sum(float(u.double().square().sum()) for u in direction) ** 0.5


def _unit(direction: Direction, size: float, sites: Sequence[Site]) -> Direction:
    factor = 1 / size if size > 0 else 0.0
    return tuple(u.to(site.weight.device, torch.float32) * factor for u, site in zip(direction, sites))


def _spearman(found: Tensor, truth: Tensor) -> float:
    if len(found) < 3 or len(found.unique()) < 2 or len(truth.unique()) < 2:
        return nan
    return float(spearmanr(found.cpu().numpy(), truth.cpu().numpy()).statistic)


def _is_half(sites: Sequence[Site]) -> bool:
    return any(site.weight.dtype in (torch.float16, torch.bfloat16) for site in sites)


def _precision_advice(sites: Sequence[Site]) -> str:
    if _is_half(sites):
        return "Load the model in float32, or take the method 'exact', whose backward pass bears half precision."
    return "Give another epsilon, take the forward mode, or the method 'exact'."


def _difference_note() -> str:
    return "Products are central differences of the loss; the losses are the mean of the two sides."


def _forward_note(config: Any) -> str:
    kind = getattr(config, "_attn_implementation", None) or "eager"
    if kind not in ("eager", "sdpa"):
        raise EngineError(
            f"Forward mode needs eager or sdpa attention; the model was loaded with {kind!r}. Load it with "
            "attention='eager' or 'sdpa', or take the mode 'difference'. Nothing was computed."
        )
    if kind == "sdpa":
        return "Forward mode runs under the math form of attention; the fused kernels have no rule for it."
    return "Forward mode runs under eager attention."
