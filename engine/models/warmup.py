"""Warm-up: a short training on a random slice of the pool before scoring (arXiv 2505.19051, Appendix A).

It moves the model into the regime in which the pool would train it, and yields Adam's moments m, v and step count s
for the conditioning (METHODS, section 1). The rows are remembered, because the model has seen them. Saved as
safetensors by parameter name; a loaded warm-up gives the same model bit for bit.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from engine.errors import EngineError
from engine.models.loading import LanguageModel
from engine.models.table import TokenTable
from engine.models.training import Moments, Schedule, TrainConfig, train
from engine.progress import Reporter, Silent

FORMAT = 1
FILES = ("weights.safetensors", "moments.safetensors", "warmup.json")


@dataclass(frozen=True, kw_only=True)
class WarmUpConfig:
    """How to warm up: `fraction` of the usable rows, at most `max_rows`, drawn at random by `seed`.

    The defaults suit the built-in model on a CPU; for a pretrained model of billions of parameters LESS takes
    learning_rate 2e-5. `batch_rows` rows make a step, `batch_tokens` bound a micro-batch in memory.
    """

    fraction: float = 0.05
    max_rows: int | None = 128
    epochs: int = 4
    learning_rate: float = 1e-3
    schedule: Schedule = "linear"
    batch_rows: int = 16
    batch_tokens: int = 2048
    seed: int = 0
    optimizer: Literal["adamw"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not 0 < self.fraction <= 1:
            raise EngineError(f"fraction is {self.fraction!r}; it must be above 0 and at most 1.")
        if self.max_rows is not None and self.max_rows < 1:
            raise EngineError(f"max_rows is {self.max_rows!r}; it must be at least 1, or None for no limit.")
        if self.optimizer != "adamw":
            raise EngineError(f"optimizer is {self.optimizer!r}; only adamw has the moments that scoring needs.")
        self.training()

    def training(self) -> TrainConfig:
        """The training that this warm-up runs."""
        return TrainConfig(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            batch_rows=self.batch_rows,
            batch_tokens=self.batch_tokens,
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.weight_decay,
            clip=self.clip,
            seed=self.seed,
        )


@dataclass(frozen=True)
class WarmUp:
    """What a warm-up did: `rows` int64 ascending, the loss of each step, s, the mean η, and name → (m, v) float32."""

    rows: NDArray[np.int64]
    losses: tuple[float, ...]
    steps: int
    mean_learning_rate: float
    moments: Moments
    problems: dict[int, str]
    config: WarmUpConfig


def warm_up_rows(table: TokenTable, config: WarmUpConfig) -> NDArray[np.int64]:
    """The rows that a warm-up trains on, ascending: a uniform draw from the usable ones, at least one."""
    usable = table.usable
    if len(usable) == 0:
        raise EngineError("The pool has no usable sample to warm up on. The model is unchanged.")
    wanted = max(1, math.floor(config.fraction * len(usable)))
    count = wanted if config.max_rows is None else min(wanted, config.max_rows)
    drawn = np.random.default_rng(config.seed).choice(len(usable), size=count, replace=False)
    return np.sort(usable[drawn])


def warm_up(lm: LanguageModel, table: TokenTable, config: WarmUpConfig, *, reporter: Reporter | None = None) -> WarmUp:
    """Train `lm.model` in place on a slice of the table; raises as `train` does."""
    reporter = reporter or Silent()
    rows = warm_up_rows(table, config)
    share = len(rows) / len(table.usable)
    reporter.log(f"Warm-up on {len(rows)} of {len(table.usable)} usable samples ({share:.1%}), {config.epochs} epochs.")
    report = train(lm, table, rows, config.training(), reporter=reporter)
    return WarmUp(
        rows=rows,
        losses=report.losses,
        steps=report.steps,
        mean_learning_rate=report.mean_learning_rate,
        moments=report.moments,
        problems=report.problems,
        config=config,
    )


def save_warm_up(folder: Path, lm: LanguageModel, warm: WarmUp) -> None:
    """Write the trained weights, the moments and the record into `folder`; the record comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {n: p.detach().cpu().contiguous() for n, p in lm.model.named_parameters()}
    save_file(weights, folder / FILES[0])
    flat = {f"{k}.{n}": t.cpu().contiguous() for n, pair in warm.moments.items() for k, t in zip("mv", pair)}
    save_file(flat, folder / FILES[1])
    record = {
        "format": FORMAT,
        "model": lm.name,
        "config": asdict(warm.config),
        "rows": warm.rows.tolist(),
        "losses": list(warm.losses),
        "steps": warm.steps,
        "mean_learning_rate": warm.mean_learning_rate,
        "problems": {str(k): v for k, v in warm.problems.items()},
    }
    (folder / FILES[2]).write_text(json.dumps(record), encoding="utf-8")


def load_warm_up(folder: Path, lm: LanguageModel) -> WarmUp:
    """Put the saved weights into `lm.model`, in place, and return the record with its moments on the model's device.

    Raises `EngineError`, with the model untouched, where files are missing, broken or of another model.
    """
    record = _record(folder)
    try:
        weights = load_file(folder / FILES[0], device="cpu")
        flat = load_file(folder / FILES[1], device=str(lm.device))
    except (OSError, SafetensorError) as error:
        raise EngineError(f"The warm-up in {folder} cannot be read: {error}. Run the warm-up again.") from error
    own = dict(lm.model.named_parameters())
    _check_same(folder, own, weights)
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])
    names = [key[2:] for key in flat if key.startswith("m.")]
    return WarmUp(
        rows=np.array(record["rows"], dtype=np.int64),
        losses=tuple(record["losses"]),
        steps=record["steps"],
        mean_learning_rate=record["mean_learning_rate"],
        moments={n: (flat[f"m.{n}"], flat[f"v.{n}"]) for n in names},
        problems={int(k): v for k, v in record["problems"].items()},
        config=WarmUpConfig(**{**record["config"], "betas": tuple(record["config"]["betas"])}),
    )


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / FILES[2]).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError(f"The warm-up in {folder} cannot be read: {error}. Run the warm-up again.") from error
    if record.get("format") != FORMAT:
        raise EngineError(
            f"The warm-up in {folder} has format {record.get('format')}, expected {FORMAT}. Run the warm-up again."
        )
    return record


def _check_same(folder: Path, own: dict[str, torch.nn.Parameter], weights: dict[str, torch.Tensor]) -> None:
    """The saved weights must be those of this model: same names, shapes and precision."""
    expected = {n: (tuple(p.shape), p.dtype) for n, p in own.items()}
    found = {n: (tuple(t.shape), t.dtype) for n, t in weights.items()}
    if expected == found:
        return
    name = next(n for n in sorted(expected.keys() | found.keys()) if expected.get(n) != found.get(n))
    raise EngineError(
        f"The warm-up in {folder} is of another model or precision: {name} is {found.get(name)} there and "
        f"{expected.get(name)} here. The model is unchanged; run the warm-up again."
    )
