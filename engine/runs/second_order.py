"""The second-order part of a landmark run: the curvature of the target loss as the weights' problem needs it.

    output/curvature.npy     Q_L (q, q) float64, one exact Hessian (or Gauss-Newton) product per curvature landmark
    output/coefficients.npy  C (n, q) float32, the kernel ridge coefficients of every row on those landmarks

With them `select --strategy weights` solves −pᵀw + (η/2)(Cᵀw)ᵀ Q_L (Cᵀw) + (λ/2)‖w‖²; p are the run's scores, which
must then be inner products with mean target gradients. (METHODS section 1, "Q through landmarks".)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from engine.gradients.conditioning import Step, gradient_descent
from engine.gradients.exact import Direction
from engine.gradients.hessian import TargetLoss
from engine.gradients.unprojected import row_gradients
from engine.influence.curvature import landmark_curvature
from engine.influence.regression import KernelRidge, RidgeConfig
from engine.models.batches import Batch, collate, plan_batches
from engine.models.loading import LanguageModel
from engine.models.table import TokenTable
from engine.progress import Reporter
from engine.runs.config import ScoreConfig
from engine.runs.parameters import Parameters


@dataclass(frozen=True)
class Curvature:
    """Q_L (q, q), C (n, q), the landmark rows (q,) they are over, η, and sentences."""

    core: np.ndarray
    coefficients: np.ndarray
    rows: np.ndarray
    eta: float
    notes: tuple[str, ...]


def target_loss(
    lm: LanguageModel,
    config: ScoreConfig,
    parameters: Parameters,
    tables: Sequence[TokenTable],
    items: Sequence[np.ndarray],
    weights: Sequence[float],
) -> TargetLoss:
    """The combined target loss: the weighted mean over target sets of the mean over their usable `items`."""
    batches: list[Batch] = []
    factors: list[Tensor] = []
    for table, rows, weight in zip(tables, items, weights, strict=True):
        for part in plan_batches(table.lengths[rows], max_tokens=config.batch_tokens):
            batches.append(collate(table, rows[part], pad_id=lm.pad_id, device=lm.device))
            factors.append(torch.full((len(part),), weight / len(rows), device=lm.device))
    return TargetLoss(lm, parameters.sites, batches, kind=config.curvature_form, weights=factors)


def curvature_of(
    lm: LanguageModel,
    config: ScoreConfig,
    parameters: Parameters,
    target: TargetLoss,
    pool: TokenTable,
    rows: np.ndarray,
    features: np.ndarray,
    ridge: RidgeConfig,
    reporter: Reporter,
) -> Curvature:
    """Q_L over the landmark `rows` (q,), each of which has a gradient and an embedding, and C for the whole pool."""

    def gradient(index: int) -> Direction:
        batch = collate(pool, rows[index : index + 1], pad_id=lm.pad_id, device=lm.device)
        (found,) = row_gradients(lm, parameters.sites, batch)
        return found if parameters.mask is None else tuple(g * m for g, m in zip(found, parameters.mask))

    step: Step = parameters.step or gradient_descent(eta=parameters.eta)
    core = landmark_curvature(target, step, gradient, len(rows), pool=len(pool), reporter=reporter)
    known = np.zeros((len(rows), 1))
    fitted = KernelRidge.from_config(np.asarray(features[rows]), known, replace(ridge, bandwidth=None))
    notes = (f"Second order: {config.curvature_form} products of {len(rows)} landmarks, η = {parameters.eta:.3g}.",)
    return Curvature(core, fitted.coefficients(features), rows, parameters.eta, notes)
