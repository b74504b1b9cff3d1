"""The approver's sheet: what a selection holds, in figures of plain values, as they stand when it is asked for.

    sheet(Facts(project), project.selection("best"))

Every part stands for itself: where a run, its results or the map are gone, `missing` says so in words and the other
parts are told all the same. The sheet is kept with the approval and travels in the manifest. Notation: n pool rows, k
chosen ones; shares are of 1. Does not draw, judge or approve.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.curation import audit, columns, guards, marks, signals
from engine.curation.facts import AGGREGATE, ROLES, Facts, Scores
from engine.curation.risks import riskiest
from engine.errors import EngineError
from engine.store.artifacts import finite
from engine.store.decisions import DECISIONS
from engine.store.records import now
from engine.store.selections import Selection

FORMAT_VERSION = 1
RISKY = 20
VALUES = 12  # of a column that are told one by one
REASONS = 12
_ADDED = next(bit for bit, role in ROLES.items() if role == "added after the run")
_USUAL = ("cluster", "field/source", "file", "signal/language", "signal/licence")


def sheet(
    facts: Facts, selection: Selection, *, tokens: np.ndarray | None = None, tokens_by: str = ""
) -> dict[str, Any]:
    """All figures of a selection, as JSON values; NaN becomes None. `tokens` int (n,): where counted, and by what."""
    missing: list[str] = []
    scores = _scores(facts, selection, missing)
    flags = _flags(facts, missing)
    found = {
        "format_version": FORMAT_VERSION,
        "made": now(),
        "selection": {"name": selection.name, "version": selection.version, "run": selection.run},
        "size": size(facts, selection, tokens) | {"tokens_by": tokens_by},
        "people": people(facts, selection),
        "reasons": reasons(selection),
        "composition": [composition(facts, selection.rows, name) for name in _usual(facts, selection)],
        "guards": [_guard(flag, facts, name, selection.rows) for name, flag in flags.items()],
        "copies": copies(facts, selection.rows),
        "run": run(facts, selection, scores),
        "targets": targets(scores, selection),
        "audit": audited(facts),
        "riskiest": risky(facts, selection, scores, flags),
        "missing": missing,
    }
    return dict(finite(found))


def size(facts: Facts, selection: Selection, tokens: np.ndarray | None = None) -> dict[str, Any]:
    """Rows, words, characters and tokens of the subset and of the pool; what weights leave of its variety."""
    words, chars = (np.asarray(facts.column(name), np.int64) for name in ("words", "chars"))
    rows, weights = selection.rows, selection.weights
    effective = None if weights is None else float(weights.sum() ** 2 / max(float((weights**2).sum()), 1e-30))
    return {
        "rows": len(rows), "pool_rows": facts.n, "words": int(words[rows].sum()), "pool_words": int(words.sum()),
        "chars": int(chars[rows].sum()), "pool_chars": int(chars.sum()), "effective_rows": effective,
        "tokens": None if tokens is None else int(tokens[rows].sum()),
    }  # fmt: skip


def people(facts: Facts, selection: Selection) -> dict[str, int]:
    """How many of the chosen rows people approved, skipped, rejected since, or left undecided."""
    counts = np.bincount(facts.decisions()[selection.rows], minlength=len(DECISIONS))
    return {columns.DECISION_NAMES[name]: int(counts[code]) for name, code in DECISIONS.items()}


def reasons(selection: Selection) -> list[dict[str, Any]]:
    """The most frequent reasons why rows are in, where they were kept; numbers within them are told as "#"."""
    if selection.reasons is None:
        return []
    alike = pc.replace_substring_regex(pa.array(selection.reasons, pa.string()), r"\d+([.,]\d+)*", "#")
    counted = pc.value_counts(alike).to_pylist()
    counted.sort(key=lambda entry: (-entry["counts"], entry["values"]))
    return [{"reason": entry["values"], "rows": entry["counts"]} for entry in counted[:REASONS]]


def composition(facts: Facts, rows: np.ndarray, name: str, *, values: int = VALUES) -> dict[str, Any]:
    """The most frequent values of a column of categories, in the subset and in the pool; the rest as one."""
    found = columns.categories(facts, name)
    inside = np.bincount(found.codes[rows], minlength=len(found.names))
    pool = np.bincount(found.codes, minlength=len(found.names))
    order = np.lexsort((-pool, -inside))
    order = order[(pool[order] > 0)]
    told, rest = order[:values], order[values:]
    return {
        "column": name, "values": [_share(found.names[at], inside[at], pool[at], len(rows), facts.n) for at in told],
        "others": len(rest), "rest": _share("", inside[rest].sum(), pool[rest].sum(), len(rows), facts.n),
    }  # fmt: skip


def _share(name: str, inside: Any, pool: Any, k: int, n: int) -> dict[str, Any]:
    return {
        "name": name, "rows": int(inside), "pool_rows": int(pool), "share": int(inside) / max(k, 1),
        "pool_share": int(pool) / max(n, 1),
    }  # fmt: skip


def _usual(facts: Facts, selection: Selection) -> list[str]:
    """The columns told of: the usual ones that there are, and those that the selection has quotas on."""
    quotas: Sequence[Any] = selection.spec.get("quotas") or ()
    named = [entry["column"] for entry in quotas if isinstance(entry, dict) and isinstance(entry.get("column"), str)]
    known = {column.name for column in columns.listed(facts) if column.kind != "number"}
    found = [name for name in dict.fromkeys((*named, *_USUAL)) if name in known]
    return [name for name in found if _several(facts, name)]


def _several(facts: Facts, name: str) -> bool:
    """Whether the column has categories at all, more than one of them."""
    try:
        return len(columns.categories(facts, name).names) > 1
    except EngineError:  # a field of numbers, or a map that is gone
        return False


def _flags(facts: Facts, missing: list[str]) -> dict[str, np.ndarray]:
    """bool (n,) of every guard that flags single rows; copies are told by `copies`."""
    found = {}
    try:
        known = signals.signals_of(facts)
        if not known.guards:
            missing.append("The pool was not checked, so no signal is known of its samples.")
        found = {name: known.flags(name) for name in known.guards if name not in signals.COPIES}
        found |= {name: marks.whole(marks.marked(facts, name), facts.n) for name in guards.OF_RUNS}
    except EngineError as error:
        missing.append(f"Signals: {error}")
    return found


def _guard(flag: np.ndarray, facts: Facts, name: str, rows: np.ndarray) -> dict[str, Any]:
    described = signals.signals_of(facts).columns.get(name)
    title = described.title if described else name
    return {"name": name, "title": title, "rows": int(flag[rows].sum()), "pool_rows": int(flag.sum())}


def copies(facts: Facts, rows: np.ndarray) -> list[dict[str, Any]]:
    """How many chosen rows are copies of other chosen rows, beyond the first of each group."""
    try:
        known = signals.signals_of(facts)
        names = [name for name in signals.COPIES if name in known.columns]
        return [{"name": n, "rows": len(rows) - len(np.unique(signals.groups(known, n)[rows]))} for n in names]
    except EngineError:  # said by `_flags`
        return []


def _scores(facts: Facts, selection: Selection, missing: list[str]) -> Scores | None:
    """The scores the selection rests on; None, with the reason in `missing`, where they are gone."""
    if selection.run is None:
        missing.append("The selection names no run, so nothing is said of scores.")
        return None
    artifact = selection.spec.get("artifact")
    try:
        return facts.scores(artifact if isinstance(artifact, str) and artifact else facts.run(selection.run).artifact)
    except (EngineError, OSError) as error:
        missing.append(f"The scores of run {selection.run} are gone. {error}")
        return None


def run(facts: Facts, selection: Selection, scores: Scores | None) -> dict[str, Any] | None:
    """The run and how far it can be trusted, with the scores of the chosen rows; None without its scores."""
    if scores is None:
        return None
    summary = scores.summary
    record = next((r for r in facts.runs() if r.name == selection.run), None)
    values = _of_rows(_chosen_column(scores, selection), selection.rows)
    known = values[np.isfinite(values)]
    low, middle, high = np.quantile(known, [0, 0.5, 1]) if len(known) else (np.nan,) * 3
    return {
        "name": selection.run, "method": record.method if record else summary.get("method"),
        "model": record.model if record else None, "recorded": record is not None, "unit": summary.get("unit", ""),
        "column": selection.spec.get("column", AGGREGATE), "lowest": float(low), "median": float(middle),
        "highest": float(high), "unscored": len(values) - len(known), "counts": summary.get("counts", {}),
        "fidelity": summary.get("fidelity"), "uncertainty": summary.get("uncertainty"),
        "added": _added_later(scores, selection.rows),
    }  # fmt: skip


def _added_later(scores: Scores, rows: np.ndarray) -> int:
    """How many chosen rows joined the pool after the run and were estimated: its audit slice holds none of them."""
    return int(((np.asarray(scores.roles)[rows[rows < scores.covered]] & _ADDED) > 0).sum())


def _chosen_column(scores: Scores, selection: Selection) -> np.ndarray:
    return scores.column(str(selection.spec.get("column", AGGREGATE)))


def _of_rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float64 (k,): NaN for rows that the run does not cover."""
    found = np.full(len(rows), np.nan)
    covered = rows < len(values)
    found[covered] = values[rows[covered]]
    return found


def targets(scores: Scores | None, selection: Selection) -> list[dict[str, Any]]:
    """Per target set: the mean score of the chosen rows for it, and how much of the positive score the best k rows of
    this target alone would hold, the subset holds.
    """
    if scores is None:
        return []
    told = []
    for name in scores.sets:
        values = np.nan_to_num(np.asarray(scores.column(name), np.float64))
        k = min(len(selection.rows), len(values))
        gains = np.maximum(values, 0)
        best = float(np.partition(gains, len(gains) - k)[len(gains) - k :].sum()) if k else 0.0
        own = _of_rows(values, selection.rows)
        held = float(np.maximum(np.nan_to_num(own), 0).sum())
        mean = float(np.nanmean(own)) if np.isfinite(own).any() else None
        told.append({"name": name, "mean": mean, "held": held, "best": best, "share": held / best if best else None})
    return told


def audited(facts: Facts) -> dict[str, Any] | None:
    """What the latest random audit says; None where none was made."""
    found = audit.estimate(facts.project)
    return None if found is None else {**asdict(found), "sentence": found.sentence}


def risky(
    facts: Facts, selection: Selection, scores: Scores | None, flags: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """The chosen rows to look at first (`risks`), with their ids, scores and why."""
    rows, k = selection.rows, len(selection.rows)
    score = np.full(k, np.nan) if scores is None else _of_rows(_chosen_column(scores, selection), rows)
    sigma = None if scores is None or scores.sigma is None else _of_rows(scores.sigma, rows)
    approved = facts.decisions()[rows] == DECISIONS["approve"]
    own = {name: flag[rows] for name, flag in flags.items()}
    found = riskiest(own, score, sigma, approved, most=RISKY)
    ids = {row.row: row.id for row in facts.project.rows([int(rows[each.place]) for each in found])}
    return [
        {
            "row": int(rows[each.place]), "id": ids[int(rows[each.place])], "points": each.points,
            "score": float(score[each.place]), "why": list(each.why),
        }
        for each in found
    ]  # fmt: skip
