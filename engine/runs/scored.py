"""What a method found for the pool: arrays by file name, and what the summary tells of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

LANDMARK, AUDIT, WARM_UP, TRUNCATED, TUNING, REFINED, LABELLED, ADDED = 1, 2, 4, 8, 16, 32, 64, 128
ROLES = {
    LANDMARK: "landmark",
    AUDIT: "audit",
    WARM_UP: "used for the warm-up",
    TRUNCATED: "cut to the model's length",
    TUNING: "tuning",
    REFINED: "measured in the refinement",
    LABELLED: "labelled by the network's teacher",
    ADDED: "added to the pool after the run",
}


@dataclass
class Scored:
    """`arrays` over the pool by file name, `files` already on disk by file name, and entries of the summary."""

    arrays: dict[str, np.ndarray]
    files: dict[str, Path] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def spread(values: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """Values (m, …) of `rows` placed into (n, …) float32, NaN elsewhere."""
    whole = np.full((n, *values.shape[1:]), np.nan, dtype=np.float32)
    whole[rows] = values
    return whole


def reasons(problems: Mapping[int, str]) -> dict[str, str]:
    """Reasons by row number, as JSON keys."""
    return {str(row): reason for row, reason in problems.items()}
