"""The LoRA warm-up of LESS: adapters trained on a slice of the pool, with a checkpoint at the end of every epoch.

Notation. r and α are the adapters' rank and scale, A and B their weights (see `adapters`). A *checkpoint* is A and B of
every layer, Adam's moments m, v of them and η̄, the mean learning rate of the epoch that it ends (arXiv 2402.04333;
METHODS section 2). Saved as safetensors by parameter name; a loaded warm-up is the same bit for bit. Leaves the model
without adapters and as it was. Does not score.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import EngineError
from engine.models.adapters import Adapters, adapter_shapes
from engine.models.loading import LanguageModel
from engine.models.table import TokenTable
from engine.models.training import Moments, TrainReport, train
from engine.models.warmup import WarmUpConfig, warm_up_rows
from engine.progress import Reporter, Silent

FORMAT = 1
RECORD = "lora.json"  # written last: that it exists means that the folder is complete


@dataclass(frozen=True, kw_only=True)
class LoraConfig(WarmUpConfig):
    """How to warm up adapters: a `WarmUpConfig` with the adapters' `rank` r and `alpha` α.

    The defaults suit small models. LESS itself, for models of billions of parameters: rank 128, alpha 512,
    learning_rate 2e-5, 5 % of the pool (max_rows None), 4 epochs, linear decay; it adapts the attention alone, with a
    dropout of 0.1, where this adapts every linear layer of the blocks, without.
    """

    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        if self.rank < 1:
            raise EngineError(f"rank is {self.rank!r}; it must be at least 1.")
        if not 0 < self.alpha < float("inf"):
            raise EngineError(f"alpha is {self.alpha!r}; it must be a finite number above 0.")

    def adapters(self, lm: LanguageModel) -> Adapters:
        """Fresh adapters of a model, as a warm-up begins with."""
        return Adapters(lm, rank=self.rank, alpha=self.alpha, seed=self.seed)


@dataclass(frozen=True)
class LoraCheckpoint:
    """The end of an epoch: A and B by parameter name, their (m, v), and η̄ of the epoch; on the CPU, float32."""

    weights: Mapping[str, Tensor]
    moments: Moments
    mean_learning_rate: float


@dataclass(frozen=True)
class LoraWarmUp:
    """What a warm-up left: the `rows` it saw, int64 ascending, the loss of each step and a checkpoint of each epoch.

    `model` and `dtype` say which model it ran on, `notes` are sentences for the reader.
    """

    rows: NDArray[np.int64]
    losses: tuple[float, ...]
    checkpoints: tuple[LoraCheckpoint, ...]
    problems: dict[int, str]
    config: LoraConfig
    model: str
    dtype: str
    notes: tuple[str, ...]


def warm_up_lora(
    lm: LanguageModel, table: TokenTable, config: LoraConfig, *, reporter: Reporter | None = None
) -> LoraWarmUp:
    """Train adapters on a slice of the table and keep a checkpoint of every epoch; `lm.model` is left as it was.

    Equal inputs on equal hardware give equal checkpoints. Raises as `Adapters` and `train` do.
    """
    reporter = reporter or Silent()
    rows = warm_up_rows(table, config)
    adapters = config.adapters(lm)
    notes = (_slice_note(table, rows, config), *_adapter_notes(adapters, config))
    for note in notes:
        reporter.log(note)
    checkpoints: list[LoraCheckpoint] = []
    with adapters.attached():
        report = train(
            lm,
            table,
            rows,
            config.training(),
            trainable=adapters.names,
            after_epoch=lambda _, epoch: checkpoints.append(_taken(adapters, epoch)),
            reporter=reporter,
        )
    return LoraWarmUp(
        rows=rows,
        losses=report.losses,
        checkpoints=tuple(checkpoints),
        problems=report.problems,
        config=config,
        model=lm.name,
        dtype=str(lm.dtype),
        notes=notes,
    )


def check_same_base(lm: LanguageModel, warm: LoraWarmUp) -> None:
    """Raise `EngineError` unless the checkpoints are of adapters that this model would have, in its precision."""
    expected = adapter_shapes(lm, warm.config.rank)
    for checkpoint in warm.checkpoints:
        found = {name: tuple(weight.shape) for name, weight in checkpoint.weights.items()}
        if found != expected:
            name = next(n for n in sorted(expected.keys() | found.keys()) if expected.get(n) != found.get(n))
            raise EngineError(
                f"The LoRA warm-up is of another model ({warm.model}): {name} is {found.get(name)} there and "
                f"{expected.get(name)} in {lm.name}. The model is unchanged; run the warm-up again."
            )
    if warm.dtype != str(lm.dtype):
        raise EngineError(
            f"The LoRA warm-up ran in {warm.dtype}, and {lm.name} is loaded in {lm.dtype}. The model is unchanged; "
            "load it in the same precision, or run the warm-up again."
        )


def save_lora(folder: Path, warm: LoraWarmUp) -> None:
    """Write every checkpoint into `folder`, and the record last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    for number, checkpoint in enumerate(warm.checkpoints):
        save_file(_flat(checkpoint), _file(folder, number))
    record = {
        "format": FORMAT,
        "model": warm.model,
        "dtype": warm.dtype,
        "config": asdict(warm.config),
        "rows": warm.rows.tolist(),
        "losses": list(warm.losses),
        "mean_learning_rates": [checkpoint.mean_learning_rate for checkpoint in warm.checkpoints],
        "problems": {str(k): v for k, v in warm.problems.items()},
        "notes": list(warm.notes),
    }
    unfinished = folder / f"{RECORD}.new"
    unfinished.write_text(json.dumps(record), encoding="utf-8")
    unfinished.replace(folder / RECORD)


def load_lora(folder: Path, lm: LanguageModel) -> LoraWarmUp:
    """The warm-up saved in `folder`; `lm`, which is left as it is, must be of its model.

    Raises `EngineError` where files are missing, broken or of another model or precision.
    """
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
        found = record["format"]
        if found == FORMAT:
            rates = record["mean_learning_rates"]
            flats = [load_file(_file(folder, number)) for number in range(len(rates))]
            warm = _from_record(record, [_unflattened(*pair) for pair in zip(flats, rates, strict=True)])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise EngineError(f"The LoRA warm-up in {folder} cannot be read: {error}. Run the warm-up again.") from error
    if found != FORMAT:
        raise EngineError(f"The LoRA warm-up in {folder} has format {found}, expected {FORMAT}. Run the warm-up again.")
    check_same_base(lm, warm)
    return warm


def _taken(adapters: Adapters, report: TrainReport) -> LoraCheckpoint:
    """A checkpoint of the adapters as they are; the moments of one that no loss depended on are zero."""
    weights = adapters.weights()
    moments = {name: (torch.zeros_like(weight), torch.zeros_like(weight)) for name, weight in weights.items()}
    for name, (m, v) in report.moments.items():
        moments[name] = (m.to("cpu", copy=True), v.to("cpu", copy=True))
    return LoraCheckpoint(weights, moments, report.mean_learning_rate)


def _slice_note(table: TokenTable, rows: Sequence[int] | NDArray[np.int64], config: LoraConfig) -> str:
    usable = len(table.usable)
    return f"LoRA warm-up on {len(rows)} of {usable} usable samples ({len(rows) / usable:.1%}), {config.epochs} epochs."


def _adapter_notes(adapters: Adapters, config: LoraConfig) -> list[str]:
    layers = list(zip(adapters.sites[::2], adapters.sites[1::2], strict=True))
    count = sum(site.weight.numel() for site in adapters.sites)
    notes = [
        f"Adapters of rank {config.rank}, alpha {config.alpha:g}, at {len(layers)} layers: {count:,} parameters; "
        "every linear layer of the blocks is adapted, without dropout, the model's own weights stay as they are."
    ]
    narrow = [min(a.in_features, b.out_features) for a, b in layers if min(a.in_features, b.out_features) < config.rank]
    if narrow:
        notes.append(
            f"Rank {config.rank} is above what {len(narrow)} of {len(layers)} layers can have ({min(narrow)} at the "
            "least): their adapters say no more than at that rank, with more parameters."
        )
    return notes


def _file(folder: Path, number: int) -> Path:
    return folder / f"checkpoint-{number}.safetensors"


def _flat(checkpoint: LoraCheckpoint) -> dict[str, Tensor]:
    """Weights and moments by "w.", "m." or "v." and the parameter's name."""
    flat = {f"w.{name}": weight for name, weight in checkpoint.weights.items()}
    return flat | {f"{k}.{name}": t for name, pair in checkpoint.moments.items() for k, t in zip("mv", pair)}


def _unflattened(flat: Mapping[str, Tensor], rate: float) -> LoraCheckpoint:
    weights = {key[2:]: tensor for key, tensor in flat.items() if key.startswith("w.")}
    return LoraCheckpoint(weights, {name: (flat[f"m.{name}"], flat[f"v.{name}"]) for name in weights}, rate)


def _from_record(record: Mapping[str, Any], checkpoints: list[LoraCheckpoint]) -> LoraWarmUp:
    return LoraWarmUp(
        rows=np.array(record["rows"], dtype=np.int64),
        losses=tuple(record["losses"]),
        checkpoints=tuple(checkpoints),
        problems={int(k): v for k, v in record["problems"].items()},
        config=LoraConfig(**{**record["config"], "betas": tuple(record["config"]["betas"])}),
        model=record["model"],
        dtype=record["dtype"],
        notes=tuple(record["notes"]),
    )
