"""How scores are propagated: the settings of the kernel ridge regression, checked when made and saved with the run."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from engine.errors import EngineError
from engine.influence.kernels import KernelName

Precision = Literal["auto", "float64", "float32"]


@dataclass(frozen=True, kw_only=True)
class RidgeConfig:
    """How scores are propagated; saved with the run.

    `bandwidth` None takes the median distance; the RBF kernel's σ is either of them times `bandwidth_factor`. `ridge`
    is δ. `standardise` scales every coordinate of the embeddings by the landmarks' spread first.
    """

    kernel: KernelName = "rbf"
    bandwidth: float | None = None
    ridge: float = 1e-2
    standardise: bool = False
    precision: Precision = "auto"
    seed: int = 0
    bandwidth_factor: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        for name, allowed in (("kernel", KernelName), ("precision", Precision)):
            if getattr(self, name) not in get_args(allowed):
                value = getattr(self, name)
                raise EngineError(f"{name} is {value!r}; it must be one of: {', '.join(get_args(allowed))}.")
        if not (np.isfinite(self.ridge) and self.ridge >= 0):
            raise EngineError(f"ridge is {self.ridge!r}; it must be a number of at least 0.")
        if self.bandwidth is not None and not (np.isfinite(self.bandwidth) and self.bandwidth > 0):
            raise EngineError(f"bandwidth is {self.bandwidth!r}; it must be a number above 0.")
        if not (np.isfinite(self.bandwidth_factor) and self.bandwidth_factor > 0):
            raise EngineError(f"bandwidth_factor is {self.bandwidth_factor!r}; it must be a number above 0.")
