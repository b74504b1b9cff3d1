"""Scores of the whole pool by an influence function asked of every row.

Item scores (n, t) are computed in shards that survive a kill; each target set's column joins its items (by groups where
there are any), and the columns join into the score as everywhere. A row that lacks the score of a usable item has none.

The passes of a run are those of its results, each row and item once: every shard keeps its own, so that a resumed run
tells the same number. What a killed process did in vain is not among them.
"""

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.influence.functions.base import InfluenceFunction, Passes
from engine.influence.functions.costs import predicted_passes
from engine.influence.scores import Combination, column_of, status_of
from engine.runs.config import ScoreConfig
from engine.runs.costs import passes_flops, passes_seconds
from engine.runs.functions import ItemSet, Materials, make_function
from engine.runs.ledger import Ledger
from engine.runs.methods import POINTWISE, needs_model
from engine.runs.scored import Scored, reasons, spread
from engine.runs.shards import Table, compute_table
from engine.store.artifacts import read_json, write_json

SHARD = 512
NOT_SCORED = "no score: a target item has none for this sample"
NO_RESPONSE = "it has no response token"


@dataclass(frozen=True)
class Asked:
    """What a function said of rows and items.

    `values` (m, u) float32; why rows have none, by row number, and items, by item number; the passes of both.
    """

    values: np.ndarray
    problems: dict[int, str]
    unusable: dict[int, str]
    passes: Passes


def score_by_function(job: Materials, ledger: Ledger) -> Scored:
    """Ask the configured function of every usable row. Raises `EngineError` where a target set has no usable item."""
    name = str(job.config.function)
    function = make_function(name, job)
    asked = ask(job, ledger, function, job.usable, None, phase=f"{name} scores")
    n = job.rows
    matrix = spread(asked.values, job.usable, n)
    if function.pointwise:
        score = matrix[:, 0].copy()
        columns, items = np.zeros((n, 0), np.float32), np.zeros((n, 0), np.float32)
        sets: tuple[ItemSet, ...] = ()
    else:
        sets = usable_sets(job.sets, asked.unusable)
        kept = np.array([item for each in sets for item in each.items], np.int64)
        items = np.ascontiguousarray(matrix[:, kept])
        columns = columns_of(matrix, sets, job.config)
        score = combination(job.config, sets)(columns)
    arrays = {
        "score": score,
        "columns": columns,
        "matrix": items,
        "status": status_of(score, job.usable),
        "roles": np.zeros(n, np.uint8),
        "loss": np.full(n, np.nan, np.float32),
    }
    scored = Scored(arrays, notes=list(function.notes), problems=unscored(job, score, asked.problems))
    scored.summary |= {"sets": described(job, sets), "passes": cost_of(asked.passes, asked.passes)}
    scored.notes += unusable_notes(job, asked.unusable)
    return scored


def ask(
    job: Materials,
    ledger: Ledger,
    function: InfluenceFunction,
    rows: np.ndarray,
    items: np.ndarray | None,
    *,
    phase: str,
    lengths: np.ndarray | None = None,
) -> Asked:
    """What `function` says of `rows` against `items`, in shards of the job that survive a kill.

    `lengths` are the tokens of the items where those are not the targets'. The items are asked about first, without a
    row: what they took and which are unusable is kept beside the shards, so that nothing complete is run again.
    """
    reporter, name = job.reporter, phase.replace(" ", "-").replace(",", "")
    expected = expected_passes(job, function.name, rows, items, lengths=lengths)
    reporter.phase(phase, len(rows))
    with ledger.part(phase, **priced(ledger, expected, rows=len(rows))):
        kept = job.folder.work / f"{name}-items.json"
        if not kept.exists():
            unusable = function(rows[:0], items).item_problems
            write_json(kept, {"unusable": unusable, "passes": asdict(function.passes)})

        def compute(part: np.ndarray) -> Table:
            function(part[:0], items)  # a resumed process has yet to run the items, which are counted already
            before = function.passes
            found = function(part, items, reporter=reporter)
            passes = np.zeros((len(part), len(astuple(before))), np.int64)
            passes[:1] = np.subtract(astuple(function.passes), astuple(before))
            return Table({"values": np.asarray(found.matrix, np.float32), "passes": passes}, found.problems)

        table = compute_table(job.folder.work, name, rows, SHARD, compute, reporter)
    told = read_json(kept)
    ran = Passes(**told["passes"]) + Passes(*(int(count) for count in table.arrays["passes"].sum(axis=0)))
    unusable = {int(item): reason for item, reason in told["unusable"].items()}
    return Asked(table.arrays["values"], dict(table.problems), unusable, ran)


def expected_passes(
    job: Materials, name: str, rows: np.ndarray, items: np.ndarray | None, *, lengths: np.ndarray | None = None
) -> Passes:
    """What asking the function of these rows and items will run; `lengths` as in `ask`."""
    if not needs_model(job.config.method, job.config.teacher):
        return Passes()
    counts = {"items": 0, "item_tokens": 0}
    if name not in POINTWISE:
        known = job.items.lengths if lengths is None else lengths
        asked = known if items is None else known[items]
        counts = {"items": len(asked), "item_tokens": int(asked.sum())}
    tokens = int(job.pool.lengths[rows].sum())
    return predicted_passes(name, rows=len(rows), row_tokens=tokens, **counts, **shape_of(job.config))


def shape_of(config: ScoreConfig) -> dict[str, int]:
    """What the number of passes depends on beside rows and items."""
    return {"checkpoints": config.warm_up_epochs, "models": 1 + len(config.models)}


def priced(ledger: Ledger, passes: Passes, *, rows: int) -> dict[str, Any]:
    """Rows, tokens, FLOPs and predicted seconds of passes, as the ledger keeps them."""
    if not passes.tokens or ledger.speed is None:
        return {"rows": rows}
    return {
        "rows": rows,
        "tokens": passes.tokens,
        "flops": passes_flops(ledger.speed, passes),
        "predicted": round(passes_seconds(ledger.speed, passes), 3),
    }


def unscored(job: Materials, score: np.ndarray, problems: dict[int, str], *, why: str = NOT_SCORED) -> dict[str, str]:
    """Why rows have no score, as the summary tells it; `why` where the function itself gave no reason."""
    without = {int(row): NO_RESPONSE for row in np.setdiff1d(np.arange(job.rows), job.usable)}
    lacking = {int(row): why for row in job.usable[~np.isfinite(score[job.usable])]}
    return reasons({**without, **lacking, **problems})


def usable_sets(sets: Sequence[ItemSet], unusable: dict[int, str]) -> tuple[ItemSet, ...]:
    """The sets without their unusable items. Raises `EngineError` where nothing is left of one."""
    found = tuple(each.without(set(unusable)) for each in sets)
    for whole, left in zip(sets, found):
        if not left.items:
            said = "; ".join(sorted({unusable[item] for item in whole.items})[:3]) or "it is empty"
            raise EngineError(f"The target set {whole.name!r} has no usable item ({said}). Nothing was scored.")
    return found


def columns_of(matrix: np.ndarray, sets: Sequence[ItemSet], config: ScoreConfig) -> np.ndarray:
    """One column per target set (n, s) float32 from item scores (n, t) over all items."""
    columns = [column_of(matrix, each.items, aggregate=config.aggregate, groups=each.groups) for each in sets]
    return np.stack(columns, axis=1) if columns else np.zeros((len(matrix), 0), np.float32)


def combination(config: ScoreConfig, sets: Sequence[ItemSet]) -> Combination:
    """How the columns of the sets join into the score."""
    return Combination(tuple(config.set_weights([each.name for each in sets]).values()), config.across)


def described(job: Materials, sets: Sequence[ItemSet]) -> list[dict[str, Any]]:
    """The sets as the summary tells them: name, rows, usable items by their number within the set, and weight."""
    weights = job.config.set_weights([each.name for each in job.sets])
    found = []
    for whole, left in zip(job.sets, sets):
        items = [item - whole.items[0] for item in left.items]
        found.append({"name": whole.name, "rows": len(whole.items), "items": items, "weight": weights[whole.name]})
    return found


def unusable_notes(job: Materials, unusable: dict[int, str]) -> list[str]:
    """A sentence on target items that could not be used."""
    if not unusable:
        return []
    places = {item: f"{each.name}, item {at + 1}" for each in job.sets for at, item in enumerate(each.items)}
    shown = "; ".join(f"{places[item]} ({why})" for item, why in list(unusable.items())[:3])
    return [f"{len(unusable)} target items could not be used: {shown}{', …' if len(unusable) > 3 else ''}."]


def cost_of(done: Passes, whole: Passes) -> dict[str, Any]:
    """Passes done and those of the function asked of everything, and the share saved, as JSON values."""
    saved = 1 - done.equivalents / whole.equivalents if whole.equivalents else None
    return {
        "forward": done.forward,
        "backward": done.backward,
        "tokens": done.tokens,
        "equivalents": done.equivalents,
        "full_forward": whole.forward,
        "full_backward": whole.backward,
        "full_tokens": whole.tokens,
        "full_equivalents": whole.equivalents,
        "saved": saved,
    }
