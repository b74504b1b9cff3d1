"""The points of the browser test's map: islands of a seeded shape, the same on the page and in the test."""

import numpy as np

ISLANDS = 24


def islands(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positions, island codes and signed scores of `n` points on 24 islands, and the islands' middles (NaN: none)."""
    rng = np.random.default_rng(7)
    middles = rng.uniform(-1, 1, (ISLANDS, 2)) * (1.5, 1)
    spread = rng.uniform(0.03, 0.14, ISLANDS)
    code = np.minimum(rng.geometric(0.09, n) - 1, ISLANDS - 1)
    twist = rng.normal(size=(n, 2)) * spread[code, None]
    bend = np.stack([np.sin(twist[:, 1] * 14 + code), np.cos(twist[:, 0] * 11 - code)], axis=1) * 0.05
    xy = (middles[code] + twist + bend).astype(np.float32)
    xy /= np.abs(xy).max()
    score = rng.normal(size=n) * 0.02 + np.sin(code * 1.7) * 0.03 + twist[:, 0] * 0.2
    with np.errstate(invalid="ignore"):
        middles = (
            np.stack([np.bincount(code, xy[:, axis], ISLANDS) for axis in (0, 1)], 1)
            / np.bincount(code, minlength=ISLANDS)[:, None]
        )
    return xy, code, score.astype(np.float32), middles
