"""What a scoring run would cost before it is started: rows, tokens, FLOPs, bytes and predicted seconds per phase.

FLOPs are those of `costs`. Token counts come from a seeded sample of rows and are estimates unless the sample is the
whole set. Seconds come from a short measurement of the very operations on rows of this pool (`speeds`). Phases without
gradients (tuning, propagation) take seconds and are left out; adaptive rounds and the refinement are upper bounds.

Computes no score and writes nothing but the measured speeds.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from engine.models.sources import resolve
from engine.models.tokens import TokenTable, tokenize
from engine.runs.config import ScoreConfig
from engine.runs.costs import TARGET_PASSES, Speed, curvature_flops, embedding_flops, gradient_flops
from engine.runs.function_plan import function_phases, whole_seconds
from engine.runs.inputs import View, take_view
from engine.runs.methods import needs_model, needs_target
from engine.runs.phases import Phase
from engine.runs.speeds import known_speed, measure_encoding, measure_speed, remember_speed, speed_key
from engine.runs.tokenizers import Tokenizer, load_tokenizer
from engine.store.project import Project

SAMPLE_ROWS = 256


@dataclass(frozen=True)
class Plan:
    """The cost of one run. `bytes` are on disk, job folder and results together; `tokens` those of the pool.

    `exact_seconds` is what measuring every row would take, for comparison (None where that is the method); for the
    method `network` what its teacher would take, asked of every row and item. `compared` names it.
    """

    method: str
    model: str
    rows: int
    targets: dict[str, int]
    landmarks: int
    tokens: int
    tokens_are_estimated: bool
    parameters: int
    flops: float
    bytes: int
    seconds: float
    phases: tuple[Phase, ...]
    exact_seconds: float | None
    device: str
    notes: tuple[str, ...] = ()
    compared: str = "gradients of every sample"


@dataclass
class _Sizes:
    """Rows and tokens per set, estimated from samples."""

    rows: int
    tokens: int
    targets: dict[str, int]
    target_tokens: int
    estimated: bool
    sample: TokenTable
    notes: list[str] = field(default_factory=list)


def plan(project: Project, config: ScoreConfig) -> Plan:
    """The cost of scoring `project` by `config` on this machine.

    Raises `EngineError` as the run itself would: empty pool, unknown target or model, more landmarks than rows.
    """
    view = take_view(project, config.targets if needs_target(config.method, config.teacher) else None)
    landmarks = config.landmark_count(view.rows) if config.method == "landmark" else 0
    if config.method == "random":
        return Plan(config.method, "", view.rows, {}, 0, 0, False, 0, 0.0, 5 * view.rows, 0.0, (), None, "cpu")
    if not needs_model(config.method, config.teacher):
        return _plan_without_model(project, config, view)
    source = resolve(config.model)
    tokenizer = load_tokenizer(source, max_length=config.max_length)
    sizes = measure_sizes(project, view, tokenizer, seed=config.seed)
    key = speed_key(source.sha256, config)
    speed, fresh = known_speed(project, key), False
    if speed is None:
        speed, fresh = measure_speed(sizes.sample, config, source, sets=max(1, len(sizes.targets))), True
        if config.method == "network" and _may_encode(config):
            speed = replace(speed, encoding=_encoding(project, view, config))
        remember_speed(project, key, speed)
    if config.function is None:
        phases = phases_of(config, sizes, speed, warm=config.warms_up(source.kind))
    else:
        phases = function_phases(config, speed, **_shape(sizes), builtin=source.kind == "builtin")
    origin = "measured just now" if fresh else "measured earlier on this machine"
    compared = _compared(config, sizes, speed)
    return Plan(
        method=config.method,
        model=config.model,
        rows=view.rows,
        targets=sizes.targets,
        landmarks=landmarks,
        tokens=sizes.tokens,
        tokens_are_estimated=sizes.estimated,
        parameters=speed.parameters,
        flops=sum(p.flops for p in phases),
        bytes=disk_bytes(config, sizes),
        seconds=sum(p.seconds for p in phases),
        phases=phases,
        exact_seconds=compared,
        device=speed.device,
        notes=(*sizes.notes, *speed.notes, f"speed {origin}; times exclude waiting for other jobs"),
        compared=f"{config.teacher} of every sample and item" if config.method == "network" else Plan.compared,
    )


def _may_encode(config: ScoreConfig) -> bool:
    """Whether the network may read sentence embeddings."""
    return config.network_features == "auto" or "sentence" in config.network_features


def _shape(sizes: _Sizes) -> dict[str, int]:
    items = sum(sizes.targets.values())
    return {"rows": sizes.rows, "tokens": sizes.tokens, "items": items, "item_tokens": sizes.target_tokens}


def _compared(config: ScoreConfig, sizes: _Sizes, speed: Speed) -> float | None:
    """Seconds of what the run stands for, None where it does that very thing or something unlike it."""
    if config.method == "network":
        return whole_seconds(config, speed, **_shape(sizes))
    if config.method == "exact" or config.function is not None:
        return None
    return sum(p.seconds for p in _gradient_phases(sizes, speed, sizes.rows, "exact gradients"))


def _plan_without_model(project: Project, config: ScoreConfig, view: View) -> Plan:
    """Sentence embeddings alone, directly or as the network's teacher: the encoder's speed is all that matters."""
    key = speed_key("sentence", config)
    speed = known_speed(project, key)
    fresh = speed is None
    if speed is None:
        speed = Speed(0, "cpu", 0.0, 0.0, 0.0, encoding=_encoding(project, view, config))
        remember_speed(project, key, speed)
    targets = {t.name: t.rows for t in view.targets}
    shape = {"rows": view.rows, "tokens": 0, "items": sum(targets.values()), "item_tokens": 0}
    phases = function_phases(config, speed, **shape, builtin=False)
    network = config.method == "network"
    return Plan(
        method=config.method,
        model="",
        rows=view.rows,
        targets=targets,
        landmarks=0,
        tokens=0,
        tokens_are_estimated=False,
        parameters=0,
        flops=0.0,
        bytes=view.rows * 4 * (sum(targets.values()) + 3),
        seconds=sum(p.seconds for p in phases),
        phases=phases,
        exact_seconds=whole_seconds(config, speed, **shape) if network else None,
        device=speed.device,
        notes=(f"speed measured {'just now' if fresh else 'earlier'} on this machine; no language model is run",),
        compared=f"{config.teacher} of every sample and item" if network else Plan.compared,
    )


def _encoding(project: Project, view: View, config: ScoreConfig) -> float:
    return measure_encoding(project, rows=view.rows, seed=config.seed, device=config.device)


def phases_of(config: ScoreConfig, sizes: _Sizes, speed: Speed, *, warm: bool) -> tuple[Phase, ...]:
    """The phases of a run with their costs; the names are those the run itself reports."""
    found = [Phase("loading the model", 0, 0, 0.0, speed.loading)]
    if warm:
        share = config.warm_up_fraction * config.warm_up_epochs
        found.append(_gradient_phase("warm-up", round(share * sizes.rows), round(share * sizes.tokens), speed))
    found.append(
        _gradient_phase("target gradients", sum(sizes.targets.values()), TARGET_PASSES * sizes.target_tokens, speed)
    )
    if config.method != "landmark":
        name = "exact gradients" if config.method == "exact" else "directional scores"
        return (*found, *_gradient_phases(sizes, speed, sizes.rows, name))
    landmarks, audit, tuning = (
        count(sizes.rows) for count in (config.landmark_count, config.audit_count, config.tuning_count)
    )
    found += _gradient_phases(sizes, speed, audit, "audit gradients")
    if tuning:
        found += _gradient_phases(sizes, speed, tuning, "tuning gradients")
    seconds, flops = speed.embedding * sizes.tokens, embedding_flops(speed, config, sizes.tokens)
    found.append(Phase("embeddings", sizes.rows, sizes.tokens, flops, seconds))
    found += _gradient_phases(sizes, speed, landmarks - tuning, "landmark gradients")
    if config.fidelity is not None:
        more = min(config.max_landmarks or 2 * landmarks, sizes.rows) - landmarks
        found += _gradient_phases(sizes, speed, max(0, more), "more landmarks, at most")
    if config.curvature:
        products = config.curvature * sizes.target_tokens
        flops = curvature_flops(speed, config.curvature, sizes.target_tokens)
        found.append(Phase("curvature", config.curvature, products, flops, 2 * speed.gradients * products))
    if config.refine:
        most = min(math.floor(config.refine_budget * sizes.rows), sizes.rows - landmarks - audit)
        found += _gradient_phases(sizes, speed, max(0, most), "refinement, at most")
    return tuple(found)


def _gradient_phases(sizes: _Sizes, speed: Speed, rows: int, name: str) -> list[Phase]:
    return [_gradient_phase(name, rows, round(sizes.tokens * rows / max(1, sizes.rows)), speed)]


def _gradient_phase(name: str, rows: int, tokens: int, speed: Speed) -> Phase:
    return Phase(name, rows, tokens, gradient_flops(speed, tokens), speed.gradients * tokens)


def measure_sizes(project: Project, view: View, tokenizer: Tokenizer, *, seed: int) -> _Sizes:
    """Tokens of the pool and of the targets, from a seeded sample of at most `SAMPLE_ROWS` rows of each."""
    sample, pool_tokens = _tokens(project, "pool", "", view.rows, tokenizer, seed=seed)
    per_target = [_tokens(project, "target", t.name, t.rows, tokenizer, seed=seed)[1] for t in view.targets]
    estimated = max([view.rows, *(t.rows for t in view.targets)]) > SAMPLE_ROWS
    cut = int(sample.truncated.sum())
    notes = [f"tokens estimated from {len(sample)} samples"] if estimated else []
    if cut:
        notes.append(
            f"about {cut / len(sample):.0%} of the samples are longer than {tokenizer.max_length} tokens and are cut"
        )
    targets = {t.name: t.rows for t in view.targets}
    return _Sizes(view.rows, pool_tokens, targets, sum(per_target), estimated, sample, notes)


def _tokens(
    project: Project, role: str, name: str, rows: int, tokenizer: Tokenizer, *, seed: int
) -> tuple[TokenTable, int]:
    chosen = np.arange(rows)
    if rows > SAMPLE_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(rows, SAMPLE_ROWS, replace=False))
    messages = [row.messages for row in project.rows(chosen, role=role, set_name=name)]
    table = tokenize([messages], tokenizer.tokenizer, max_length=tokenizer.max_length)
    return table, round(float(table.lengths.mean()) * rows)


def disk_bytes(config: ScoreConfig, sizes: _Sizes) -> int:
    """Bytes of token tables, measured values and results: an estimate from the shapes that are written."""
    tokens = 5 * (sizes.tokens + sizes.target_tokens)
    columns = sum(sizes.targets.values())
    results = sizes.rows * (4 * (columns + len(sizes.targets) + 3) + 2)
    width = config.embedding_width if config.method == "landmark" else 0
    return tokens + 2 * results + 2 * 4 * sizes.rows * width


def describe_plan(made: Plan) -> list[str]:
    """The plan in lines a person reads."""
    about = "about " if made.tokens_are_estimated else ""
    lines = [
        f"method     {made.method}"
        + (f" with model {made.model} ({made.parameters:,} parameters)" if made.model else ""),
        f"samples    {made.rows:,} in the pool, targets "
        + (", ".join(f"{name} {rows:,}" for name, rows in made.targets.items()) or "none"),
        f"tokens     {about}{made.tokens:,} in the pool",
        f"work       {made.flops:.3g} FLOPs, {made.bytes / 1e6:,.1f} MB on disk",
        f"device     {made.device}",
    ]
    lines += [f"  {p.name:<22} {p.rows:>9,} samples  {p.flops:>9.3g} FLOPs  {p.seconds:>9.1f} s" for p in made.phases]
    lines.append(f"time       about {made.seconds:,.0f} s")
    if made.exact_seconds is not None and made.exact_seconds > 0:
        lines.append(f"           ({made.compared} would take about {made.exact_seconds:,.0f} s)")
    return lines + [f"note       {note}" for note in made.notes]
