"""What a set A of rows is worth, kept as a state that rows are added to one by one.

Notation. V the represented rows, A the chosen ones, s_ij ≥ 0 as in `kernels`, t_i = max_{q∈T} s_iq and
p_i = max_{p∈P} s_ip the best similarity to target and owned rows. All are monotone and submodular:

- facility location      Σ_{i∈V} max_{j∈A} s_ij
- mutual information     Σ_{i∈V} min(max_{j∈A} s_ij, η·t_i)
- conditional gain       Σ_{i∈V} max(max_{j∈A} s_ij − ν·p_i, 0)
- graph cut              λ Σ_{i∈V, j∈A} s_ij − Σ_{i,j∈A} s_ij,  λ ≥ 2, symmetric s, A ⊆ V
- diverse top-k          (1−μ)·(1/k) Σ_{j∈A} q_j + μ·Σ_{i∈V} max_{j∈A} s_ij / Σ_{i∈V} max_j s_ij,  0 ≤ q_j ≤ 1

The first three are one: `Coverage` holds for every row a level that starts at its floor and rises as far as its cap.
In the last, both parts are shares of what is possible: a row of best score and a row that represents n/k others fully
are worth the same. Gains are computed in one fixed order, in which rounding keeps them from ever growing as A does.
Does not search.
"""

from typing import Protocol

import numpy as np
from scipy.stats import rankdata

from engine.errors import EngineError
from engine.selection.kernels import Kernel


class Objective(Protocol):
    """A set function at its present set A."""

    @property
    def value(self) -> float:
        """f(A)."""

    def __len__(self) -> int:
        """Rows of the pool."""

    def gains(self, rows: np.ndarray) -> np.ndarray:
        """f(A ∪ {j}) − f(A) of every j in `rows` (c,), none of them in A; float64 (c,)."""

    def add(self, row: int) -> None:
        """Put a row into A that is not in it."""


class Coverage:
    """Σ_i (level_i − floor_i); adding j lifts level_i to min(s_ij, cap_i) wherever that is higher."""

    def __init__(self, kernel: Kernel, *, floor: np.ndarray, cap: np.ndarray | None) -> None:
        self.kernel, self.floor, self.cap = kernel, floor, cap
        self.level = floor.copy()

    @property
    def value(self) -> float:
        """f(A)."""
        return float((self.level - self.floor).sum(dtype=np.float64))

    def __len__(self) -> int:
        """Rows of the pool."""
        return len(self.kernel)

    def gains(self, rows: np.ndarray) -> np.ndarray:
        """Σ_i max(min(s_ij, cap_i) − level_i, 0)."""
        return self.kernel.improvements(rows, self.level, self.cap)

    def add(self, row: int) -> None:
        """Lift the levels of the rows that `row` represents better."""
        rows, values = self.kernel.column(row)
        reached = values if self.cap is None else np.minimum(values, self.cap[rows])
        self.level[rows] = np.maximum(self.level[rows], reached)


def facility_location(kernel: Kernel, *, represented: np.ndarray | None = None) -> Coverage:
    """Σ_{i∈V} max_{j∈A} s_ij, V = `represented` bool (n,) or all rows."""
    cap = None if represented is None else np.where(represented, np.inf, 0).astype(np.float32)
    return Coverage(kernel, floor=np.zeros(len(kernel), np.float32), cap=cap)


def mutual_information(
    kernel: Kernel, target_best: np.ndarray, *, eta: float = 1.0, represented: np.ndarray | None = None
) -> Coverage:
    """Σ_{i∈V} min(max_{j∈A} s_ij, η·t_i) with `target_best` t (n,) from `similarity.best_similarity`.

    Raises `EngineError` where no represented row resembles the target: every set would be worth nothing.
    """
    cap = _scaled(kernel, target_best, eta, "eta")
    cap = cap if represented is None else np.where(represented, cap, np.float32(0))
    if not (cap > 0).any():
        raise EngineError(
            "No represented sample resembles the target at all (it may be empty), so every choice would be worth "
            "nothing. Give target samples with features, or choose by facility location; nothing was selected."
        )
    return Coverage(kernel, floor=np.zeros(len(kernel), np.float32), cap=cap)


def conditional_gain(
    kernel: Kernel, owned_best: np.ndarray, *, nu: float = 1.0, represented: np.ndarray | None = None
) -> Coverage:
    """Σ_{i∈V} max(max_{j∈A} s_ij − ν·p_i, 0) with `owned_best` p (n,); facility location where nothing is owned."""
    floor = _scaled(kernel, owned_best, nu, "nu")
    cap = None if represented is None else np.where(represented, np.float32(np.inf), floor)
    return Coverage(kernel, floor=floor, cap=cap)


class GraphCut:
    """λ Σ_{i∈V, j∈A} s_ij − Σ_{i,j∈A} s_ij; `cut` is λ ≥ 2, without which adding a row could make A worth less."""

    def __init__(self, kernel: Kernel, *, cut: float = 2.0, represented: np.ndarray | None = None) -> None:
        if not (np.isfinite(cut) and cut >= 2):
            raise EngineError(
                f"Graph cut got {cut} as its weight of coverage: expected at least 2, below which samples can be worth "
                "less than nothing and the greedy choice has no guarantee. Nothing was selected."
            )
        if not kernel.symmetric:
            raise EngineError("Graph cut needs similarities with s_ij = s_ji. Choose another strategy.")
        nothing = np.zeros(len(kernel), np.float32)
        cap = None if represented is None else np.where(represented, np.inf, 0).astype(np.float32)
        self.alone = cut * kernel.improvements(np.arange(len(kernel)), nothing, cap) - kernel.diagonal()
        self.kernel, self.shared, self._value = kernel, np.zeros(len(kernel), np.float64), 0.0

    @property
    def value(self) -> float:
        """f(A)."""
        return self._value

    def __len__(self) -> int:
        """Rows of the pool."""
        return len(self.kernel)

    def gains(self, rows: np.ndarray) -> np.ndarray:
        """λ Σ_{i∈V} s_ij − s_jj − 2 Σ_{a∈A} s_aj."""
        return self.alone[rows] - 2 * self.shared[rows]

    def add(self, row: int) -> None:
        """Count `row` against all that are similar to it."""
        self._value += float(self.gains(np.array([row]))[0])
        rows, values = self.kernel.column(row)
        self.shared[rows] += values


class Diverse:
    """(1−μ)·(1/k) Σ_{j∈A} q_j + μ·(facility location as a share of all that can be covered), for sets of k rows.

    `quality` q (n,) in [0, 1], NaN counting as 0; `tradeoff` μ in [0, 1].
    """

    def __init__(
        self,
        kernel: Kernel,
        quality: np.ndarray,
        k: int,
        *,
        tradeoff: float = 0.5,
        represented: np.ndarray | None = None,
    ) -> None:
        if not 0 <= tradeoff <= 1:
            raise EngineError(f"The tradeoff between score and coverage must be from 0 to 1, got {tradeoff}.")
        if np.shape(quality) != (len(kernel),):
            raise EngineError(f"One score per sample is needed ({len(kernel)}), got shape {np.shape(quality)}.")
        self.coverage = facility_location(kernel, represented=represented)
        most = float(kernel.strongest()[slice(None) if represented is None else represented].sum(dtype=np.float64))
        self.per_row = tradeoff / most if most > 0 else 0.0
        self.worth = (1 - tradeoff) / max(k, 1) * np.nan_to_num(quality, nan=0.0)
        self._chosen = 0.0

    @property
    def value(self) -> float:
        """f(A)."""
        return self._chosen + self.per_row * self.coverage.value

    def __len__(self) -> int:
        """Rows of the pool."""
        return len(self.coverage)

    def gains(self, rows: np.ndarray) -> np.ndarray:
        """(1−μ)·q_j/k + μ·(the share of coverage that j adds)."""
        return self.worth[rows] + self.per_row * self.coverage.gains(rows)

    def add(self, row: int) -> None:
        """Count the row's score and what it represents."""
        self._chosen += float(self.worth[row])
        self.coverage.add(row)


def quality_of(score: np.ndarray) -> np.ndarray:
    """Scores (n,) brought to [0, 1] by rank, the best 1 and the worst 0; ties share their mean rank; NaN stays NaN."""
    values = np.asarray(score, np.float64)
    known = ~np.isnan(values)
    quality = np.full(values.shape, np.nan)
    others = int(known.sum()) - 1
    quality[known] = (rankdata(values[known]) - 1) / others if others > 0 else 1.0
    return quality


def _scaled(kernel: Kernel, best: np.ndarray, factor: float, name: str) -> np.ndarray:
    """η·t or ν·p as float32 (n,)."""
    if not (np.isfinite(factor) and factor >= 0):
        raise EngineError(f"{name} must be a number of at least 0, got {factor}. Nothing was selected.")
    values = np.asarray(best, np.float64)
    if values.shape != (len(kernel),) or not np.isfinite(values).all() or values.min(initial=0) < 0:
        raise EngineError(
            f"One similarity per sample is needed ({len(kernel)}), finite and not negative; got shape {values.shape} "
            f"with values from {values.min(initial=np.inf)} to {values.max(initial=-np.inf)}. Nothing was selected."
        )
    return (factor * values).astype(np.float32)
