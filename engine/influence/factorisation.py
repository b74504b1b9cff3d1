"""The Cholesky factor of a regularised kernel, with a growing jitter where rounding makes it singular."""

import numpy as np
from scipy.linalg import LinAlgError, cholesky

from engine.errors import EngineError

JITTERS = (0.0, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)  # of mean(diag K), in turn


def factorised(gram: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """Lower Cholesky factor of K + ridge·mean(diag K)·I, and the jitter (absolute) that had to be added.

    Overwrites the diagonal of `gram` (l, l). Raises `EngineError` where it stays singular.
    """
    level = float(np.diagonal(gram).mean())
    diagonal = np.diagonal(gram).copy() + ridge * level
    for share in JITTERS:
        np.fill_diagonal(gram, diagonal + share * level)
        try:
            factor = cholesky(gram, lower=True)
        except LinAlgError:
            continue
        if well_posed(factor):
            return factor, share * level
    raise EngineError(
        f"The kernel of {len(gram)} landmarks stays singular with a jitter of {JITTERS[-1]:g}. "
        "Raise the ridge, or standardise the embeddings. Nothing was propagated."
    )


def well_posed(factor: np.ndarray) -> bool:
    """Whether the pivots are well above rounding, so that a solve means something."""
    pivots = np.diagonal(factor)
    rounding = 100 * np.sqrt(len(factor)) * np.finfo(factor.dtype).eps
    return bool(pivots.min() ** 2 > rounding * pivots.max() ** 2)
