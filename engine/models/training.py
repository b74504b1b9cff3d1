"""A plain, deterministic training loop: AdamW on the response loss, for warm-up, the built-in model and proofs.

Notation: a step takes `batch_rows` rows and lowers the mean of their losses ℓ (or of all their response tokens'),
so a step means the same on every device; memory only decides into how many micro-batches it is split
(`batch_tokens` padded tokens each). m and v are Adam's moments, s the steps taken, η the learning rate.
Dropout is off and every random choice comes from `seed`. Parameters in half precision are trained through float32
copies. This module does not choose rows, save anything or judge the result.
"""

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from engine.errors import EngineError
from engine.models.batches import Batch, plan_batches, run_within_memory, unrunnable
from engine.models.loading import LanguageModel
from engine.models.losses import response_sums
from engine.models.table import TokenTable
from engine.progress import Reporter, Silent

Schedule = Literal["linear", "cosine", "constant"]
Reduction = Literal["rows", "tokens"]
Moments = dict[str, tuple[torch.Tensor, torch.Tensor]]

SCHEDULES: dict[str, Callable[[float], float]] = {
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. `ramp` is the share of steps in which the rate rises to its peak; `clip` bounds the gradient norm.

    `reduction` "rows": a step's loss is the mean over rows of ℓ; "tokens": the mean over all its response tokens.
    `max_steps` ends the run early; the schedule then spans those steps.
    """

    epochs: int = 1
    learning_rate: float = 1e-3
    schedule: Schedule = "linear"
    ramp: float = 0.0
    batch_rows: int = 16
    batch_tokens: int = 4096
    reduction: Reduction = "rows"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float | None = 1.0
    max_steps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        for name in ("epochs", "batch_rows", "batch_tokens"):
            _at_least(name, getattr(self, name), 1)
        for name in ("learning_rate", "eps"):
            if not getattr(self, name) > 0:
                raise EngineError(f"{name} is {getattr(self, name)!r}; it must be above 0.")
        for name in ("weight_decay", "seed"):
            _at_least(name, getattr(self, name), 0)
        if self.max_steps is not None:
            _at_least("max_steps", self.max_steps, 1)
        if self.clip is not None and not self.clip > 0:
            raise EngineError(f"clip is {self.clip!r}; it must be above 0, or None for no clipping.")
        if not 0 <= self.ramp < 1:
            raise EngineError(f"ramp is {self.ramp!r}; it must be at least 0 and below 1.")
        if len(self.betas) != 2 or not all(0 <= b < 1 for b in self.betas):
            raise EngineError(f"betas are {self.betas!r}; both must be at least 0 and below 1.")
        for name, allowed in (("schedule", Schedule), ("reduction", Reduction)):
            if getattr(self, name) not in get_args(allowed):
                raise EngineError(f"{name} is {getattr(self, name)!r}; it must be one of {get_args(allowed)}.")


@dataclass(frozen=True)
class TrainReport:
    """The loss of every step, the steps taken, the mean η over them, the moments by parameter name, rows set aside."""

    losses: tuple[float, ...]
    steps: int
    mean_learning_rate: float
    moments: Moments
    problems: dict[int, str]


AfterEpoch = Callable[[int, TrainReport], None]


def train(
    lm: LanguageModel,
    table: TokenTable,
    rows: ArrayLike | None,
    config: TrainConfig,
    *,
    trainable: Collection[str] | None = None,
    after_epoch: AfterEpoch | None = None,
    reporter: Reporter | None = None,
) -> TrainReport:
    """Train `lm.model`, in place, on `rows` of the table (None: all usable ones).

    `trainable` names the parameters to train, None all of them; the others stay as they are. `after_epoch(epoch,
    report)` is called at the end of every epoch, from 0, the last one cut short by `max_steps` included: the report is
    of that epoch's steps alone, with the moments after it, which training goes on to change: copy what is to be kept.

    Equal inputs on equal hardware give equal weights. Rows that cannot be run are left out. Begins the phase
    "training", counted in rows. Afterwards the model is in evaluation mode without gradients, also when this raises:
    `EngineError` for no usable row, a name that the model does not have or a loss that is no longer finite, `Cancelled`
    between micro-batches; the weights are then those of the last whole step.
    """
    reporter = reporter or Silent()
    names = _known_names(lm, trainable)
    chosen = np.arange(len(table)) if rows is None else np.unique(np.asarray(rows, dtype=np.int64))
    problems = unrunnable(lm, table, chosen)
    chosen = chosen[~np.isin(chosen, list(problems))]
    if len(chosen) == 0:
        raise EngineError("There is no usable sample to train on. The model is unchanged.")
    total = planned_steps(len(chosen), config)
    reporter.phase("training", min(total * config.batch_rows, config.epochs * len(chosen)))
    an_epoch = math.ceil(len(chosen) / config.batch_rows)
    trainer = _Trainer(lm, table, config, names, problems, reporter)
    try:
        for step, part in zip(range(total), _steps(chosen, config)):
            trainer.step(part, learning_rate(step, total, config))
            if after_epoch is not None and (step + 1 == total or (step + 1) % an_epoch == 0):
                trainer.tell(step // an_epoch, after_epoch)
    finally:
        lm.model.requires_grad_(False)
        lm.model.zero_grad(set_to_none=True)
    return trainer.report()


def planned_steps(rows: int, config: TrainConfig) -> int:
    """How many optimiser steps a training on `rows` rows takes."""
    steps = config.epochs * math.ceil(rows / config.batch_rows)
    return steps if config.max_steps is None else min(steps, config.max_steps)


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """η of step 0 ≤ step < total: a linear rise over the ramp, then the schedule down from the peak."""
    ramp = int(config.ramp * total)
    if step < ramp:
        return config.learning_rate * (step + 1) / (ramp + 1)
    return config.learning_rate * SCHEDULES[config.schedule]((step - ramp) / (total - ramp))


def _known_names(lm: LanguageModel, trainable: Collection[str] | None) -> set[str]:
    """The parameters to train, by name; a tied weight goes by the first of its names."""
    own = {name for name, _ in lm.model.named_parameters()}
    if trainable is None:
        return own
    if not trainable:
        raise EngineError("No parameter was named to train. The model is unchanged.")
    if unknown := sorted(set(trainable) - own):
        raise EngineError(
            f"{len(unknown)} of {len(trainable)} parameters to train are not in {lm.name}: {unknown[0]} … "
            "Name parameters as the model does. The model is unchanged."
        )
    return set(trainable)


def _steps(rows: NDArray[np.int64], config: TrainConfig) -> Iterator[NDArray[np.int64]]:
    """The rows of each step: every epoch is a fresh random order, cut into `batch_rows`."""
    generator = np.random.default_rng(config.seed)
    for _ in range(config.epochs):
        order = generator.permutation(rows)
        yield from (order[i : i + config.batch_rows] for i in range(0, len(order), config.batch_rows))


class _Trainer:
    """One run's optimiser and what it has seen."""

    def __init__(
        self,
        lm: LanguageModel,
        table: TokenTable,
        config: TrainConfig,
        names: set[str],
        problems: dict[int, str],
        reporter: Reporter,
    ) -> None:
        self._lm, self._table, self._config, self._reporter = lm, table, config, reporter
        lm.model.eval().requires_grad_(False)
        named = lm.model.named_parameters()  # tied weights appear once
        self._parameters = {n: p.requires_grad_(True) for n, p in named if n in names}
        self._masters = {n: p if p.dtype == torch.float32 else p.detach().float() for n, p in self._parameters.items()}
        self._optimiser = torch.optim.AdamW(
            self._masters.values(), betas=config.betas, eps=config.eps, weight_decay=config.weight_decay, foreach=True
        )
        self._losses: list[float] = []
        self._rates: list[float] = []
        self._problems = problems
        self._told = 0

    def step(self, rows: NDArray[np.int64], rate: float) -> None:
        """One optimiser step on `rows`, less those that do not fit in memory."""
        fitting = rows[~np.isin(rows, list(self._problems))]
        loss = self._accumulate(fitting)
        self._reporter.advance(len(rows))
        if loss is None:
            return
        self._update(loss, rate)
        self._losses.append(loss)
        self._rates.append(rate)

    def tell(self, epoch: int, after_epoch: AfterEpoch) -> None:
        """Report the steps since the last call, unless no row of them fitted in memory."""
        since, self._told = self._told, len(self._losses)
        if self._told > since:
            after_epoch(epoch, self.report(since))

    def report(self, since: int = 0) -> TrainReport:
        """What happened from step `since` on; the moments stay on the model's device, in float32."""
        losses, rates = self._losses[since:], self._rates[since:]
        if not losses:
            raise EngineError(f"No sample fits in memory on {self._lm.device}, so nothing was trained.")
        moments = {}
        for name, master in self._masters.items():
            if state := self._optimiser.state.get(master):
                moments[name] = (state["exp_avg"].detach(), state["exp_avg_sq"].detach())
        return TrainReport(tuple(losses), len(losses), float(np.mean(rates)), moments, dict(self._problems))

    def _accumulate(self, rows: NDArray[np.int64]) -> float | None:
        """Sum the gradient of the step's loss over micro-batches into the copies; that loss, None if no row fits."""
        self._optimiser.zero_grad(set_to_none=True)
        plan = plan_batches(self._table.lengths, max_tokens=self._config.batch_tokens, rows=rows)
        total, weight = 0.0, 0.0
        for part, result in run_within_memory(self._lm, self._table, plan, self._gradients, reporter=self._reporter):
            if result is None:
                self._problems[int(part[0])] = f"out of memory: it does not fit on {self._lm.device} for training"
                continue
            total, weight = total + result[0], weight + self._weight(part)
            for master, gradient in zip(self._masters.values(), result[1]):
                if gradient is not None:
                    master.grad = gradient.float() if master.grad is None else master.grad.add_(gradient)
        if weight == 0:
            return None
        for master in self._masters.values():
            if master.grad is not None:
                master.grad /= weight
        return total / weight

    def _gradients(self, batch: Batch) -> tuple[float, tuple[torch.Tensor | None, ...]]:
        """The summed loss of a micro-batch and its gradient: all of it, or an exception that leaves no trace."""
        sums, counts = response_sums(self._lm.logits(batch), batch)
        loss = (sums / counts if self._config.reduction == "rows" else sums).sum()
        return loss.item(), torch.autograd.grad(loss, list(self._parameters.values()), allow_unused=True)

    def _weight(self, rows: NDArray[np.int64]) -> float:
        """What a set of rows counts in the step's mean: rows, or response tokens."""
        if self._config.reduction == "rows":
            return float(len(rows))
        return float(self._table.response_lengths[rows].sum())

    def _update(self, loss: float, rate: float) -> None:
        """Clip, take the step, and write float32 copies back into parameters of lower precision."""
        gradients = [m.grad for m in self._masters.values() if m.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not (math.isfinite(loss) and math.isfinite(float(norm))):
            raise EngineError(
                f"Training diverged at step {len(self._losses) + 1}: loss {loss:g}, gradient norm {float(norm):g}. "
                f"Lower the learning rate (it was {self._config.learning_rate:g}). Nothing was saved."
            )
        if self._config.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self._masters.values(), self._config.clip, norm)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        with torch.no_grad():
            for name, master in self._masters.items():
                if master is not self._parameters[name]:
                    self._parameters[name].copy_(master)


def _at_least(name: str, value: float, least: int) -> None:
    if value < least:
        raise EngineError(f"{name} is {value!r}; it must be at least {least}.")
