"""The phases of runs that go by an influence function, or by the network that learns one, with their costs.

The names are those the run itself reports, where loading and warming up are one. A network that still has to decide
what it reads is planned with the dearer of its choices, and the phase says so.
"""

import math
from collections.abc import Sequence

from engine.influence.functions.base import Passes
from engine.influence.functions.costs import predicted_passes
from engine.models.warmup import WarmUpConfig
from engine.runs.by_function import shape_of
from engine.runs.config import ScoreConfig
from engine.runs.costs import Speed, passes_flops, passes_seconds
from engine.runs.methods import POINTWISE
from engine.runs.phases import Phase
from engine.runs.pool_network import POOL_ITEMS

SECONDS_PER_LEXICAL_ROW = 0.001  # about, on one core of a server


def function_phases(
    config: ScoreConfig, speed: Speed, *, rows: int, tokens: int, items: int, item_tokens: int, builtin: bool
) -> tuple[Phase, ...]:
    """The phases of a run over `rows` of so many tokens and `items` target items."""
    name = str(config.function)
    found = [Phase("loading the model", 0, 0, 0.0, speed.loading)] if speed.parameters else []
    if speed.parameters and config.warms_up("builtin" if builtin else "folder"):
        found.append(_trained("warm-up", config, speed, rows, tokens, builtin))
    if name == "less":
        found.append(_trained("LoRA warm-up", config, speed, rows, tokens, builtin))
    if config.method != "network":
        whole = asked(config, rows=rows, tokens=tokens, items=items, item_tokens=item_tokens)
        return (*found, _phase(f"{name} scores", rows, whole, speed, encoded=_encoded(name, rows + items)))
    labelled = config.labelled_count(rows) + config.audit_count(rows)
    fitted, held = (0, 0) if name in POINTWISE else config.item_counts(items)
    share, per_item = labelled / max(1, rows), item_tokens / max(1, items)
    some = asked(
        config,
        rows=labelled,
        tokens=round(share * tokens),
        items=fitted + held,
        item_tokens=round(per_item * (fitted + held)),
    )
    found.append(_phase("teacher labels", labelled, some, speed, encoded=_encoded(name, labelled + fitted + held)))
    found += _input_phases(config, speed, rows, tokens)
    if config.pool_network:
        columns = min(POOL_ITEMS, labelled)
        of_pool = {"rows": labelled, "tokens": round(share * tokens), "items": columns}
        more = asked(config, **of_pool, item_tokens=round(tokens * columns / max(1, rows)))
        found.append(_phase("teacher labels, pool", labelled, more, speed, encoded=_encoded(name, labelled + columns)))
    return tuple(found)


def asked(config: ScoreConfig, *, rows: int, tokens: int, items: int, item_tokens: int) -> Passes:
    """Passes of the run's function over so many rows and items."""
    return predicted_passes(
        str(config.function), rows=rows, row_tokens=tokens, items=items, item_tokens=item_tokens, **shape_of(config)
    )


def whole_seconds(config: ScoreConfig, speed: Speed, *, rows: int, tokens: int, items: int, item_tokens: int) -> float:
    """What the network's teacher would take if it were asked of every row and item."""
    whole = asked(config, rows=rows, tokens=tokens, items=items, item_tokens=item_tokens)
    encoded = _encoded(str(config.function), rows + items)
    return passes_seconds(speed, whole) + speed.encoding * encoded


def _encoded(name: str, texts: int) -> int:
    return texts if name == "delift-se" else 0


def _phase(name: str, rows: int, passes: Passes, speed: Speed, *, encoded: int = 0) -> Phase:
    seconds = passes_seconds(speed, passes) + speed.encoding * encoded
    return Phase(name, rows, passes.tokens, passes_flops(speed, passes), seconds)


def _trained(name: str, config: ScoreConfig, speed: Speed, rows: int, tokens: int, builtin: bool) -> Phase:
    slice_ = max(1, math.floor(config.warm_up_fraction * rows))
    if builtin and WarmUpConfig.max_rows is not None:
        slice_ = min(slice_, WarmUpConfig.max_rows)
    seen = slice_ * config.warm_up_epochs
    passes = Passes(backward=seen, tokens=round(seen * tokens / max(1, rows)))
    return _phase(name, seen, passes, speed)


def _input_phases(config: ScoreConfig, speed: Speed, rows: int, tokens: int) -> Sequence[Phase]:
    asked_for = config.network_features
    found = []
    if "lexical" in asked_for or asked_for == "auto":
        found.append(Phase("network inputs, lexical", rows, 0, 0.0, SECONDS_PER_LEXICAL_ROW * rows))
    if "sentence" in asked_for or asked_for == "auto":
        said = ", at most" if asked_for == "auto" else ""
        found.append(Phase(f"network inputs, sentence{said}", rows, 0, 0.0, speed.encoding * rows))
    if "hidden" in asked_for:
        found.append(_phase("network inputs, hidden", rows, Passes(forward=rows, tokens=tokens), speed))
    return found
