"""LESS: pool rows against items by gradients in LoRA adapters, as Adam would step with them (arXiv 2402.04333).

Notation. At checkpoint c of a LoRA warm-up g(z) is the gradient of the mean response loss of z in all adapter weights,
and m, v are Adam's moments there. A pool row counts by Γ(z) = m' / sqrt(v' + ε) with m' = β1 m + (1 − β1) g and
v' = β2 v + (1 − β2) g², ε = 1e-8 and no bias correction, as in its release; an item z' by g(z') alone. With a random
projection P and unit length ^, P_c[z, z'] = <^PΓ(z), ^Pg(z')> and P[z, z'] = Σ_c η̄_c P_c[z, z'], the η̄_c (the mean
learning rates of the checkpoints' epochs) made to sum to 1. Higher is better. (METHODS section 2.)

Γ is not linear in g, so every layer's whole gradient of a row is formed, for a few rows at a time, then projected.
Does not warm up, does not join items into tasks (LESS: mean within one, maximum over them), and keeps no row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.errors import EngineError
from engine.gradients.capture import backward
from engine.gradients.layers import layer_gradients
from engine.gradients.parameters import Site
from engine.gradients.projection import LayerHadamard, width_for
from engine.influence.functions.base import Passes, Scores
from engine.models.batches import Batch, map_batches
from engine.models.loading import LanguageModel
from engine.models.lora import LoraCheckpoint, LoraWarmUp, check_same_base
from engine.models.table import TokenTable
from engine.progress import Reporter, Silent

EPSILON = 1e-8  # inside the root
RAW_NUMBERS = 1 << 18  # held of one row's gradient before the last projection: 1 MB a row

Moments = Sequence[tuple[Tensor, Tensor]]
Problems = dict[int, str]


def preconditioned(gradient: Tensor, m: Tensor, v: Tensor, *, betas: tuple[float, float]) -> Tensor:
    """Γ of gradients (b, *shape) from Adam's moments m and v (*shape)."""
    m_next = betas[0] * m + (1 - betas[0]) * gradient
    v_next = betas[1] * v + (1 - betas[1]) * gradient.square()
    return m_next / (v_next + EPSILON).sqrt()


def checkpoint_weights(checkpoints: Sequence[LoraCheckpoint]) -> np.ndarray:
    """η̄ of the checkpoints (C,), float64, made to sum to 1."""
    rates = np.array([checkpoint.mean_learning_rate for checkpoint in checkpoints], dtype=np.float64)
    return rates / rates.sum()


def less_projection(sites: Sequence[Site], *, width: int, seed: int) -> LayerHadamard:
    """The gradients of all sites, side by side, to `width` coordinates with E‖Px‖² = ‖x‖²; all of them if no more.

    Where they are more than `RAW_NUMBERS`, every site is first shortened to its share of those, without bias as well.
    """
    whole = sum(site.weight.numel() for site in sites)
    longest = max(max(site.out_features, site.in_features) for site in sites)
    if whole <= width:
        return LayerHadamard(sites, width=longest, seed=seed)
    side = longest if whole <= RAW_NUMBERS else width_for(sites, max(RAW_NUMBERS, width))
    raw = LayerHadamard(sites, width=side, seed=seed)
    return raw if raw.raw_dim <= width else LayerHadamard(sites, width=side, seed=seed, compress=width)


@dataclass(frozen=True)
class _Items:
    """Unit gradients of all items at every checkpoint, (t, d) float32 each, NaN where an item has none, and why."""

    units: tuple[np.ndarray, ...]
    problems: Problems

    def good(self, items: np.ndarray) -> np.ndarray:
        """Which of `items` (u,) can be scored, (u,) bool."""
        return ~np.isin(items, list(self.problems))


class Less:
    """Scores pool rows against items by LESS at the checkpoints of a LoRA warm-up.

    `width` is d, drawn by `seed`; `batch_tokens` padded tokens make a batch. The model has adapters only during a call.
    Items are passed over at the first call, all of them, once at every checkpoint; `items` may be the pool. Raises
    `EngineError` for a warm-up of another model or without checkpoints, and a width below 1.
    """

    name = "less"
    pointwise = False

    def __init__(
        self,
        lm: LanguageModel,
        pool: TokenTable,
        items: TokenTable,
        warm_up: LoraWarmUp,
        *,
        width: int = 8192,
        seed: int = 0,
        batch_tokens: int = 1024,
    ) -> None:
        if width < 1:
            raise EngineError(f"width is {width!r}; it must be at least 1. Nothing was scored.")
        if not warm_up.checkpoints:
            raise EngineError("The LoRA warm-up has no checkpoint. Run it for at least one epoch. Nothing was scored.")
        check_same_base(lm, warm_up)
        self._lm, self._pool, self._items, self._warm_up = lm, pool, items, warm_up
        self._batch_tokens = batch_tokens
        self._adapters = warm_up.config.adapters(lm)
        self._projection = less_projection(self._adapters.sites, width=width, seed=seed)
        self._weights = checkpoint_weights(warm_up.checkpoints)
        self._passes = Passes()
        self._kept: _Items | None = None

    @property
    def passes(self) -> Passes:
        """Backward passes until now: of rows and of items, at each checkpoint."""
        return self._passes

    @property
    def notes(self) -> tuple[str, ...]:
        """The warm-up, the checkpoints' weights and the projection."""
        whole = sum(site.weight.numel() for site in self._adapters.sites)
        kept = self._projection.dim
        weights = ", ".join(f"{weight:.3f}" for weight in self._weights)
        return (
            *self._warm_up.notes,
            f"LESS at {len(self._weights)} checkpoints, which count by their epochs' mean learning rates: {weights}.",
            f"Gradients in {whole:,} adapter weights{'' if kept == whole else f', projected to {kept:,}'}; "
            "pool samples by Adam's step, items by the plain gradient, both of unit length.",
            f"The adapters have seen {len(self._warm_up.rows)} samples of the pool in their warm-up.",
        )

    def __call__(
        self, rows: np.ndarray, items: np.ndarray | None = None, *, reporter: Reporter | None = None
    ) -> Scores:
        """P (m, u); a row or item without a response, or without a finite gradient above zero, is NaN."""
        reporter = reporter or Silent()
        chosen = np.asarray(rows, dtype=np.int64)
        asked = np.arange(len(self._items)) if items is None else np.asarray(items, dtype=np.int64)
        with self._adapters.attached():
            if self._kept is None:
                self._kept = self._all_items(reporter)
            return self._scored(chosen, asked, self._kept, reporter)

    def _all_items(self, reporter: Reporter) -> _Items:
        numbers = np.arange(len(self._items))
        checkpoints = self._warm_up.checkpoints
        reporter.log(f"LESS: gradients of {len(numbers)} items at {len(checkpoints)} checkpoints.")
        units: list[np.ndarray] = []
        problems: Problems = {}
        for checkpoint in checkpoints:
            self._adapters.load(checkpoint.weights)
            values, found = self._mapped(self._items, numbers, _Shared(reporter, None))
            units.append(values)
            problems = found | problems
        return _Items(tuple(units), problems)

    def _scored(self, rows: np.ndarray, asked: np.ndarray, items: _Items, reporter: Reporter) -> Scores:
        good = items.good(asked)
        item_problems = {int(item): items.problems[int(item)] for item in asked[~good]}
        total = np.zeros((len(rows), int(good.sum())))
        problems: Problems = {}
        shared = _Shared(reporter, len(self._weights))
        for weight, checkpoint, units in zip(self._weights, self._warm_up.checkpoints, items.units, strict=True):
            self._adapters.load(checkpoint.weights)
            against = torch.from_numpy(units[asked[good]]).to(self._lm.device).T  # (d, u)
            moments = self._moments(checkpoint)
            values, found = self._mapped(self._pool, rows, shared, moments=moments, against=against)
            total += weight * values
            problems = found | problems
        matrix = np.full((len(rows), len(asked)), np.nan, dtype=np.float32)
        matrix[:, good] = total
        return Scores(matrix, problems, item_problems)

    def _moments(self, checkpoint: LoraCheckpoint) -> list[tuple[Tensor, Tensor]]:
        """m and v of every site, on the model's device."""
        device = self._lm.device
        return [(m.to(device), v.to(device)) for m, v in (checkpoint.moments[name] for name in self._adapters.names)]

    def _mapped(
        self,
        table: TokenTable,
        rows: np.ndarray,
        reporter: Reporter,
        *,
        moments: Moments | None = None,
        against: Tensor | None = None,
    ) -> tuple[np.ndarray, Problems]:
        """Unit gradients of rows (m, d), or their products with those `against` (d, u); and why some have none."""
        reasons: Problems = {}

        def measure(batch: Batch) -> np.ndarray:
            units = self._units(batch, moments, reasons)  # (B, d)
            self._passes += Passes(backward=len(batch), tokens=int(batch.attention.sum()))
            return (units if against is None else units @ against).cpu().numpy()

        values, problems = map_batches(self._lm, table, rows, measure, max_tokens=self._batch_tokens, reporter=reporter)
        found = np.asarray(values)
        if found.ndim == 1:  # no row could be run
            found = np.full((len(rows), self._projection.dim if against is None else against.shape[1]), np.nan)
        return found, problems | reasons

    def _units(self, batch: Batch, moments: Moments | None, reasons: Problems) -> Tensor:
        """^PΓ, or ^Pg without moments, of a batch's rows (B, d); NaN for a row without, and why into `reasons`."""
        projection, betas = self._projection, self._warm_up.config.betas
        found = torch.zeros(len(batch), projection.raw_dim, device=batch.ids.device)
        largest = torch.zeros(len(batch), device=batch.ids.device)  # of |g|; one that is no number stays

        def consume(index: int, signal: Tensor, inputs: Tensor) -> None:
            part = found[:, projection.offsets[index] : projection.offsets[index + 1]]
            for rows, gradient in layer_gradients(signal, inputs):  # (b, out, in)
                largest[rows] = torch.maximum(largest[rows], gradient.abs().amax(dim=(1, 2)))
                moved = gradient if moments is None else preconditioned(gradient, *moments[index], betas=betas)
                part[rows] = projection.project_matrix(projection.sites[index], moved)

        backward(self._lm, batch, projection.sites, consume)
        reasons.update(_reasons(batch, largest))
        vectors = projection.finish(found)
        return vectors / vectors.norm(dim=1).where(largest > 0, torch.nan)[:, None]


def _reasons(batch: Batch, largest: Tensor) -> Problems:
    """Why rows of a batch have no gradient, where there is more to say than that it is not finite."""
    silent = (batch.response.sum(dim=1) == 0).tolist()
    still = (largest == 0).tolist()
    reasons: Problems = {}
    for row, has_none, is_zero in zip(batch.rows.tolist(), silent, still, strict=True):
        if has_none:
            reasons[row] = "no response token: there is no loss to take a gradient of"
        elif is_zero:
            reasons[row] = "its gradient in the adapters is zero"
    return reasons


class _Shared:
    """Counts rows that are passed over `times` times once; for None, counts nothing. All else goes to the reporter."""

    def __init__(self, reporter: Reporter, times: int | None) -> None:
        self._reporter, self._times, self._done = reporter, times, 0

    def phase(self, name: str, total: int, unit: str = "samples") -> None:
        """Stay in the caller's phase."""

    def advance(self, n: int) -> None:
        """Count the whole rows that are now done."""
        if self._times is not None:
            before, self._done = self._done, self._done + n
            self._reporter.advance(self._done // self._times - before // self._times)

    def check(self) -> None:
        """Raise `Cancelled` where the reporter does."""
        self._reporter.check()

    def log(self, message: str) -> None:
        """Keep the line."""
        self._reporter.log(message)
