"""What a run is asked to do: frozen, validated at construction, saved with its results.

A configuration holds everything that changes the answer besides the data and the model files; two equal ones
over the same pool, targets and model give the same scores. It says nothing of where or how the work runs.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

from engine.errors import EngineError

Method = Literal["landmark", "exact", "random"]
Embedding = Literal["hidden", "jvp", "gradient"]
Unit = Literal["cosine", "inner-product"]
Aggregate = Literal["mean", "max"]
Kernel = Literal["rbf", "linear"]
Switch = Literal["auto", "on", "off"]
Features = Literal["auto", "hidden", "sentence"]

METHODS: dict[str, str] = {
    "landmark": "Influence Distillation: exact gradients for a few landmark rows, propagated to the whole pool.",
    "exact": "A projected gradient for every row: the reference, and the most expensive.",
    "random": "Seeded random scores: the baseline every method must beat. Needs no model and no target.",
}
NEEDS_TARGET = frozenset({"landmark", "exact"})
LANDMARK_SHARE = 0.06
LANDMARK_FLOOR = 64
LANDMARK_CEILING = 4096  # of the default only: the paper's number for 200,000 rows; the kernel grows with its square
AUDIT_SHARE = 0.02
AUDIT_RANGE = (64, 256)


class _Config:
    """Dictionary round trip shared by the configurations."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The configuration of `values`; an unknown key or a wrong type is an `EngineError` naming what is valid."""
        known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise EngineError(f"Unknown setting {', '.join(unknown)}. Valid settings: {', '.join(known)}.")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _choice(name: str, value: object, allowed: object) -> None:
    if value not in get_args(allowed):
        raise EngineError(f"{name} is {value!r}; it must be one of: {', '.join(get_args(allowed))}.")


def _number(name: str, value: object, kind: type | tuple[type, ...], least: float, most: float | None = None) -> None:
    bounds = f"at least {least}" if most is None else f"between {least} and {most}"
    good = isinstance(value, kind) and not isinstance(value, bool)
    if not good or value < least or (most is not None and value > most):  # type: ignore[operator]
        noun = "a whole number" if kind is int else "a number"
        raise EngineError(f"{name} is {value!r}; it must be {noun} {bounds}.")


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(_Config):
    """How a pool is scored.

    `targets` empty means all; `landmarks` and `audit` None mean the default share of the usable rows. `projection`
    is the width w of the two-sided projection (w x w per linear layer) that every gradient goes through. `unit`
    is the entry of the score matrix: the cosine of two gradients or their inner product; higher is better.
    `warm_up` "auto" trains first with the built-in model only. `batch_tokens` bounds the padded tokens of a batch:
    the default is the fastest on a CPU, a GPU wants more.
    """

    method: Method = "landmark"
    model: str = "builtin"
    targets: tuple[str, ...] = ()
    landmarks: int | None = None
    audit: int | None = None
    seed: int = 0
    embedding: Embedding = "hidden"
    embedding_width: int = 1024
    gradient_blocks: int = 2
    jvp_blocks: int = 4
    jvp_tangents: int = 2
    unit: Unit = "cosine"
    aggregate: Aggregate = "mean"
    projection: int = 48
    kernel: Kernel = "rbf"
    ridge: float = 1e-2
    standardise: bool = True
    warm_up: Switch = "auto"
    warm_up_fraction: float = 0.05
    warm_up_epochs: int = 4
    warm_up_learning_rate: float = 1e-3
    max_length: int = 512
    batch_tokens: int = 2048
    device: str = "auto"
    dtype: str = "auto"
    attention: str = "auto"

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        for name, allowed in (
            ("method", Method),
            ("embedding", Embedding),
            ("unit", Unit),
            ("aggregate", Aggregate),
            ("kernel", Kernel),
            ("warm_up", Switch),
        ):
            _choice(name, getattr(self, name), allowed)
        for name, least, most in (
            ("seed", 0, 2**32 - 1),
            ("embedding_width", 8, 16384),
            ("gradient_blocks", 1, 1024),
            ("jvp_blocks", 1, 1024),
            ("jvp_tangents", 1, 64),
            ("projection", 1, 512),
            ("warm_up_epochs", 1, 100),
            ("max_length", 16, 1 << 20),
            ("batch_tokens", 16, 1 << 24),
        ):
            _number(name, getattr(self, name), int, least, most)
        for name, least in (("landmarks", 1), ("audit", 0)):
            if getattr(self, name) is not None:
                _number(name, getattr(self, name), int, least)
        _number("ridge", self.ridge, (int, float), 0.0)
        _number("warm_up_fraction", self.warm_up_fraction, (int, float), 0.0, 1.0)
        _number("warm_up_learning_rate", self.warm_up_learning_rate, (int, float), 0.0)
        if not isinstance(self.standardise, bool):
            raise EngineError(f"standardise is {self.standardise!r}; it must be true or false.")

    def warms_up(self, model_kind: str) -> bool:
        """Whether the run trains the model on a slice of the pool before scoring."""
        return self.warm_up == "on" or (self.warm_up == "auto" and model_kind == "builtin")

    def embedding_settings(self) -> dict[str, Any]:
        """The keyword arguments of the configured embedding beside the model."""
        shared = {"width": self.embedding_width, "seed": self.seed}
        each: dict[str, dict[str, Any]] = {
            "hidden": {},
            "jvp": {"blocks": self.jvp_blocks, "tangents": self.jvp_tangents, **shared},
            "gradient": {"blocks": self.gradient_blocks, "side": self.projection, **shared},
        }
        return each[self.embedding]

    def landmark_count(self, usable: int) -> int:
        """Landmarks for a pool of `usable` rows: those asked for, or 6 % within 64 to 4,096, at most all.

        Raises `EngineError` if more were asked for than the pool has.
        """
        if self.landmarks is not None and self.landmarks > usable:
            raise EngineError(
                f"{self.landmarks} landmarks asked for, but the pool has {usable} usable rows. "
                f"Ask for at most {usable}. Nothing was started."
            )
        wanted = self.landmarks or min(LANDMARK_CEILING, max(LANDMARK_FLOOR, round(LANDMARK_SHARE * usable)))
        return min(wanted, usable)

    def audit_count(self, usable: int) -> int:
        """Audit rows beside the landmarks: 2 % within 64 to 256, at most a quarter of what the landmarks leave."""
        low, high = AUDIT_RANGE
        wanted = self.audit if self.audit is not None else min(high, max(low, round(AUDIT_SHARE * usable)))
        return min(wanted, (usable - self.landmark_count(usable)) // 4)


@dataclass(frozen=True, kw_only=True)
class MapConfig(_Config):
    """How the pool is laid out: which features describe a row and how neighbours become a plane."""

    features: Features = "auto"
    model: str = "builtin"
    neighbours: int = 15
    min_dist: float = 0.1
    seed: int = 0
    max_length: int = 512
    batch_tokens: int = 2048
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        _choice("features", self.features, Features)
        _number("neighbours", self.neighbours, int, 2, 200)
        _number("min_dist", self.min_dist, (int, float), 0.0, 1.0)
        _number("seed", self.seed, int, 0, 2**32 - 1)
        _number("max_length", self.max_length, int, 16, 1 << 20)
        _number("batch_tokens", self.batch_tokens, int, 16, 1 << 24)
