"""Propagation for many targets at once against solving for each target by itself, in one run.

n rows with e coordinates, l landmarks, t targets, all random, float32 in memory. The engine fits and predicts all
targets together. The other way is that of the published code: for every target the bandwidth, the kernel between
landmarks, its factorisation, and the kernel against every row are computed again. It is timed on `SOLVED` targets and
extended to t by its mean, which is exact up to noise because each target repeats the same work; its own matrix products
are in float32 and as large as ours. The rate counts 2·n·l·(e + t) operations of the prediction alone and is given as a
share of the best rate of a square float32 matrix product measured here, by the same library.

TOUCHSTONE_ROWS (default 200,000), TOUCHSTONE_LANDMARKS (4,096), TOUCHSTONE_WIDTH (1,024) and TOUCHSTONE_TARGETS (64)
set the size.
"""

from pathlib import Path

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import pdist
from small_models import conditions, setting, significant, timed

from engine.influence.regression import KernelRidge

ROWS = setting("ROWS", 200_000)
LANDMARKS = setting("LANDMARKS", 4096)
WIDTH = setting("WIDTH", 1024)
TARGETS = setting("TARGETS", 64)
SOLVED = 2
PEAK_SIZE = 4096
CHUNK = 4096
BANDWIDTH_ROWS = 1024
RIDGE = 1e-2


def run(folder: Path) -> dict[str, object]:
    """Seconds, ratio, agreement and share of the measured peak; `folder` is not used."""
    generator = np.random.default_rng(0)
    pool = generator.standard_normal((ROWS, WIDTH), dtype=np.float32)
    landmarks = generator.choice(ROWS, size=LANDMARKS, replace=False)
    scores = np.tanh(pool[landmarks] @ generator.standard_normal((WIDTH, TARGETS), dtype=np.float32) / WIDTH**0.5)
    model, fit_s = timed(lambda: KernelRidge.fit(pool[landmarks], scores, ridge=RIDGE))
    found, predict_s = timed(lambda: model.predict(pool))
    singles = [timed(lambda: by_itself(pool, landmarks, scores[:, j], seed=j)) for j in range(SOLVED)]  # noqa: B023
    one_s = float(np.mean([seconds for _, seconds in singles]))
    off = max(float(np.abs(found[:, j] - single).max()) for j, (single, _) in enumerate(singles))
    peak = matmul_rate()
    rate = 2 * ROWS * LANDMARKS * (WIDTH + TARGETS) / predict_s
    return {
        "size": f"n {ROWS}, l {LANDMARKS}, e {WIDTH}, t {TARGETS}",
        "conditions": conditions(),
        "fit_s": significant(fit_s),
        "predict_s": significant(predict_s),
        "one_target_s": significant(one_s),
        "targets_solved_one_by_one": SOLVED,
        "all_targets_one_by_one_s_extended": significant(one_s * TARGETS),
        "faster_by": significant(one_s * TARGETS / (fit_s + predict_s), 3),
        "largest_difference": significant(off, 2),
        "predict_gflops": significant(rate / 1e9),
        "matmul_peak_gflops": significant(peak / 1e9),
        "share_of_peak": significant(rate / peak, 3),
        "notes": list(model.notes),
    }


def by_itself(pool: np.ndarray, landmarks: np.ndarray, scores: np.ndarray, *, seed: int) -> np.ndarray:
    """Scores (n,) of one target, everything computed for it alone."""
    known = pool[landmarks]
    drawn = np.random.default_rng(seed).permutation(len(known))[:BANDWIDTH_ROWS]
    bandwidth = float(np.median(pdist(known[drawn].astype(np.float64))))
    gram = rbf(known, known, bandwidth)
    gram[np.diag_indices_from(gram)] += RIDGE
    weights = cho_solve(cho_factor(gram, lower=True, overwrite_a=True), scores)
    parts = [rbf(pool[start : start + CHUNK], known, bandwidth) @ weights for start in range(0, len(pool), CHUNK)]
    return np.concatenate(parts)


def rbf(rows: np.ndarray, landmarks: np.ndarray, bandwidth: float) -> np.ndarray:
    """exp(−‖x−y‖²/2σ²), (m, l) float32."""
    squares = np.square(rows).sum(axis=1)[:, None] + np.square(landmarks).sum(axis=1)[None, :] - 2 * rows @ landmarks.T
    return np.exp(squares / np.float32(-2 * bandwidth**2))


def matmul_rate() -> float:
    """The best rate of a square float32 product by numpy, in operations per second."""
    generator = np.random.default_rng(1)
    a, b = (generator.standard_normal((PEAK_SIZE, PEAK_SIZE), dtype=np.float32) for _ in range(2))
    return 2 * PEAK_SIZE**3 / min(timed(lambda: a @ b)[1] for _ in range(5))
