"""What a run is asked to do: frozen, validated at construction, saved with its results.

A configuration holds everything that changes the answer besides the data and the model files; two equal ones
over the same pool, targets and model give the same scores. It says nothing of where or how the work runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engine.errors import EngineError
from engine.runs.function_config import PAPER_NETWORK, FunctionConfig
from engine.runs.methods import GRADIENT_METHODS, POINTWISE, Method, function_of, needs_model
from engine.runs.validation import choice, number
from engine.selection.sizes import size_of

Embedding = Literal["gradient", "hidden", "last-layer", "jvp", "sentence", "auto"]
Unit = Literal["cosine", "inner-product"]
Aggregate = Literal["mean", "max"]
Kernel = Literal["rbf", "linear"]
LandmarkChoice = Literal["uniform", "k-means++", "farthest-point", "rp-cholesky"]
Conditioning = Literal["plain", "adam"]
Sites = Literal["all", "mlp", "down"]
Tangent = Literal["rank-one", "gaussian"]
Curvature = Literal["hessian", "gauss-newton"]
Switch = Literal["auto", "on", "off"]

LANDMARK_SHARE = 0.06
LANDMARK_FLOOR = 64
LANDMARK_CEILING = 4096  # of the default only: the paper's number for 200,000 rows; the kernel grows with its square
AUDIT_SHARE = 0.02
AUDIT_RANGE = (64, 256)
TUNING_SHARE = 0.02
TUNING_RANGE = (48, 256)
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "embedding": "jvp",
        "jvp_blocks": 4,
        "jvp_tangents": 2,
        "tangent": "gaussian",
        "embedding_width": 4096,
        "unit_rows": "off",
        "kernel": "rbf",
        "bandwidth_factor": 1.0,
        "ridge": 1e-2,
        "standardise": False,
        "tune": False,
        "landmark_choice": "uniform",
        **PAPER_NETWORK,
    },
}


def _known(name: str, names: Sequence[str], setting: str) -> None:
    if names and name not in names:
        raise EngineError(f"{setting} names {name!r}, which is no target of this run: {', '.join(names)}.")


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(FunctionConfig):
    """How a pool is scored; `FunctionConfig` holds what concerns influence functions and the network.

    What is measured: `targets` empty means all; `avoid` names those that count against, and `target_weights` gives
    weights other than 1 as "name=2". `unit` is the entry of the score matrix: the cosine of two gradients or their
    inner product; higher is better. `aggregate` joins the items of a set, `across` the sets (mean within and max
    across is LESS's). The parameter set: all linear weights of the last `blocks` blocks (None: all), narrowed to
    `parameters` (glob patterns of names) and to a random share `keep` of their entries; `with_embeddings` adds the
    token embedding and the head, `with_norms` the norms. `conditioning` "adam" scales
    gradients by the warm-up's Adam moments. `projection` is the width w of the two-sided projection (w x w per layer)
    behind the scores of single target items.

    How it is carried: `early_exit` is the number of first blocks that gradient embeddings run (None: all).
    `landmarks`, `audit` and `tuning` None mean the default share of the usable rows. `unit_rows` "auto" scales
    embeddings to length 1 where the unit is a cosine and the embedding is made of gradients. `tune` chooses kernel,
    bandwidth, ridge and scaling on the tuning slice. `fidelity` asks for adaptive rounds until the tuning slice
    reaches that Spearman or `max_landmarks` is spent. `refine` ("10%" or "500") measures the rows near that cut, at
    most the share `refine_budget` of the pool, until the chosen set is stable at `confidence`. `curvature` is the
    number of landmarks whose Hessian products are kept for second-order weights (0: none).

    `warm_up` "auto" trains first with the built-in model only. `batch_tokens` bounds the padded tokens of a batch: the
    default is the fastest on a CPU, a GPU wants more. `PRESETS` names sets of these values.
    """

    method: Method = "landmark"
    model: str = "builtin"
    targets: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    target_weights: tuple[str, ...] = ()
    landmarks: int | None = None
    audit: int | None = None
    tuning: int | None = None
    embedding: Embedding = "gradient"
    embedding_width: int = 4096
    gradient_blocks: int = 1
    gradient_side: int = 24
    gradient_sites: Sites = "all"
    early_exit: int | None = None
    jvp_blocks: int = 4
    jvp_tangents: int = 2
    tangent: Tangent = "rank-one"
    unit_rows: Switch = "auto"
    unit: Unit = "cosine"
    aggregate: Aggregate = "mean"
    across: Aggregate = "mean"
    projection: int = 48
    blocks: int | None = None
    parameters: tuple[str, ...] = ()
    keep: float = 1.0
    with_embeddings: bool = False
    with_norms: bool = False
    conditioning: Conditioning = "plain"
    kernel: Kernel = "rbf"
    bandwidth_factor: float = 1.0
    ridge: float = 1e-2
    standardise: bool = True
    tune: bool = True
    landmark_choice: LandmarkChoice = "uniform"
    fidelity: float | None = None
    max_landmarks: int | None = None
    refine: str = ""
    refine_budget: float = 0.15
    confidence: float = 0.95
    curvature: int = 0
    curvature_form: Curvature = "hessian"
    warm_up: Switch = "auto"
    warm_up_fraction: float = 0.05
    warm_up_epochs: int = 4
    warm_up_learning_rate: float = 1e-3
    max_length: int = 512
    batch_tokens: int = 1024
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
            ("across", Aggregate),
            ("kernel", Kernel),
            ("landmark_choice", LandmarkChoice),
            ("conditioning", Conditioning),
            ("gradient_sites", Sites),
            ("tangent", Tangent),
            ("curvature_form", Curvature),
            ("unit_rows", Switch),
            ("warm_up", Switch),
        ):
            choice(name, getattr(self, name), allowed)
        for name, least, most in (
            ("seed", 0, 2**32 - 1),
            ("embedding_width", 8, 16384),
            ("gradient_blocks", 1, 1024),
            ("gradient_side", 1, 512),
            ("curvature", 0, 4096),
            ("jvp_blocks", 1, 1024),
            ("jvp_tangents", 1, 64),
            ("projection", 1, 512),
            ("warm_up_epochs", 1, 100),
            ("max_length", 16, 1 << 20),
            ("batch_tokens", 16, 1 << 24),
        ):
            number(name, getattr(self, name), int, least, most)
        for name, least in (
            ("landmarks", 1),
            ("audit", 0),
            ("tuning", 0),
            ("blocks", 1),
            ("early_exit", 1),
            ("max_landmarks", 1),
        ):
            if getattr(self, name) is not None:
                number(name, getattr(self, name), int, least)
        number("ridge", self.ridge, (int, float), 0.0)
        number("warm_up_fraction", self.warm_up_fraction, (int, float), 0.0, 1.0)
        number("warm_up_learning_rate", self.warm_up_learning_rate, (int, float), 0.0)
        number("bandwidth_factor", self.bandwidth_factor, (int, float), 1e-3, 1e3)
        number("refine_budget", self.refine_budget, (int, float), 0.0, 1.0)
        number("confidence", self.confidence, (int, float), 0.5, 0.9999)
        number("keep", self.keep, (int, float), 1e-6, 1.0)
        if self.fidelity is not None:
            number("fidelity", self.fidelity, (int, float), 0.0, 1.0)
        for name in ("standardise", "tune", "with_embeddings", "with_norms"):
            if not isinstance(getattr(self, name), bool):
                raise EngineError(f"{name} is {getattr(self, name)!r}; it must be true or false.")
        if self.refine:
            size_of(self.refine, 1 << 62)
        self.set_weights(())
        self.check_functions()
        self._refuse_combinations()

    def _refuse_combinations(self) -> None:
        """Settings that are each in range and cannot go together."""
        if self.conditioning == "adam" and self.warm_up == "off":
            raise EngineError(
                "conditioning=adam takes its moments from the warm-up; set warm_up=on. Nothing was started."
            )
        plain = self.unit == "inner-product" and self.aggregate == "mean" and self.across == "mean"
        if self.curvature and not (plain and self.method == "landmark"):
            raise EngineError(
                "curvature is for second-order weights over inner products with the mean target gradient: it needs "
                "method=landmark, unit=inner-product, aggregate=mean and across=mean. Nothing was started."
            )
        if self.method == "directional" and self.aggregate == "max":
            raise EngineError("directional scores a mean target direction; aggregate=max needs the method exact.")
        if self.groups and self.function is None:
            raise EngineError(
                f"groups joins item scores, which the method {self.method} does not go by; it is for less, delift, "
                "delift-se, rds and network. Nothing was started."
            )
        if self.function in POINTWISE and (self.groups or self.avoid or self.target_weights):
            raise EngineError(
                f"{self.function} rates each sample by itself: no target set takes part, so groups, avoid and "
                "target_weights have no meaning. Leave them out. Nothing was started."
            )
        if self.method == "network" and "hidden" in self.network_features and not needs_model("network", self.teacher):
            raise EngineError(
                f"network_features={self.network_features} takes a language model, and the teacher {self.teacher} runs "
                "none; choose lexical, sentence or sentence+lexical. Nothing was started."
            )

    @property
    def function(self) -> str | None:
        """The influence function that the method asks: itself, the network's teacher, or none."""
        return function_of(self.method, self.teacher)

    def set_weights(self, names: Sequence[str]) -> dict[str, float]:
        """The weight of each target set of `names`: 1, that of `target_weights`, negative for `avoid`.

        Raises `EngineError` for a weight that cannot be read or that names no set of `names` (where any are given).
        """
        weights = dict.fromkeys(names, 1.0)
        for pair in self.target_weights:
            name, equals, text = pair.rpartition("=")
            try:
                weight = float(text)
            except ValueError:
                weight = float("nan")
            if not equals or not 0 < weight < 1e6:
                raise EngineError(
                    f"target_weights has {pair!r}; write name=weight with a weight above 0, as in code=2."
                )
            _known(name, names, "target_weights")
            weights[name] = weight
        for name in self.avoid:
            _known(name, names, "avoid")
            weights[name] = -weights.get(name, 1.0)
        return weights

    def warms_up(self, model_kind: str) -> bool:
        """Whether the run trains the model on a slice of the pool before scoring."""
        gradients = self.method in GRADIENT_METHODS or self.function == "exact"
        return self.warm_up == "on" or (self.warm_up == "auto" and model_kind == "builtin" and gradients)

    def settings_of(self, embedding: str) -> dict[str, Any]:
        """The keyword arguments of the named embedding beside the model."""
        shared = {"width": self.embedding_width, "seed": self.seed}
        gradient: dict[str, Any] = {
            "blocks": self.gradient_blocks,
            "side": self.gradient_side,
            "sites": self.gradient_sites,
        }
        gradient["early_exit"] = self.early_exit
        jvp = {"blocks": self.jvp_blocks, "tangents": self.jvp_tangents, "tangent": self.tangent}
        each: dict[str, dict[str, Any]] = {
            "hidden": {},
            "jvp": {**jvp, **shared},
            "gradient": {**gradient, **shared},
            "last-layer": shared,
        }
        return each[embedding]

    def scales_rows(self, embedding: str) -> bool:
        """Whether embeddings are scaled to length 1: cosines of gradients are carried by directions, not by sizes."""
        auto = self.unit == "cosine" and embedding in ("gradient", "last-layer")
        return self.unit_rows == "on" or (self.unit_rows == "auto" and auto)

    def landmark_count(self, usable: int) -> int:
        """Landmarks for a pool of `usable` rows: those asked for, or 6 % within 64 to 4,096, at most all.

        Raises `EngineError` if more were asked for than the pool has.
        """
        if self.landmarks is not None and self.landmarks > usable:
            raise EngineError(
                f"{self.landmarks} landmarks asked for, but the pool has {usable} usable samples. "
                f"Ask for at most {usable}. Nothing was started."
            )
        wanted = self.landmarks or min(LANDMARK_CEILING, max(LANDMARK_FLOOR, round(LANDMARK_SHARE * usable)))
        return min(wanted, usable)

    def audit_count(self, usable: int) -> int:
        """Audit rows beside landmarks or labelled rows: 2 % within 64 to 256, at most a quarter of what those leave."""
        low, high = AUDIT_RANGE
        fitted = self.labelled_count(usable) if self.method == "network" else self.landmark_count(usable)
        wanted = self.audit if self.audit is not None else min(high, max(low, round(AUDIT_SHARE * usable)))
        return min(wanted, (usable - fitted) // 4)

    def tuning_count(self, usable: int) -> int:
        """Tuning rows, where anything is tuned: 2 % within 48 to 256, within a third of the landmarks."""
        if not self.tune and self.fidelity is None and self.embedding != "auto":
            return 0
        low, high = TUNING_RANGE
        wanted = self.tuning if self.tuning is not None else min(high, max(low, round(TUNING_SHARE * usable)))
        return min(wanted, self.landmark_count(usable) // 3)


def preset_of(config: ScoreConfig) -> str:
    """The name of the preset whose values the configuration has, or an empty string."""
    network = config.method == "network"
    if not (network or config.method == "landmark"):
        return ""
    found = (
        name
        for name, values in PRESETS.items()
        if all(getattr(config, key) == value for key, value in values.items() if (key in PAPER_NETWORK) == network)
    )
    return next(found, "")
