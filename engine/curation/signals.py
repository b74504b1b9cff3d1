"""The signals of a pool as columns: their names, values and flags, and what a selection leaves out by them.

    signals = signals_of(facts)
    signals.flags("refusal"), signals.values("overlap with target gsm8k")
    left_out(facts, ["leak", "near-duplicate"], keep="longest")

They come from the latest signals artifact (older ones too, which hold fewer) and, where the latest map knows them, from
the nearness to the sets beside the pool. Rows that a signal does not cover carry no flag and no value. A *guard* is a
signal that a selection may leave rows out by; of a group of copies a guard leaves one in, by `Keep`. Computes none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from engine.curation.facts import STATE, Array, Facts
from engine.data.signal_columns import REPEATED_SAMPLE, SignalColumn, read_columns
from engine.errors import EngineError
from engine.store import artifacts
from engine.store.decisions import DECISIONS

CLOSENESS = "closeness"
CLOSENESS_FORMAT = 1
Keep = Literal["first", "longest", "highest score", "approved first"]
KEEPS: tuple[Keep, ...] = get_args(Keep)
COPIES = ("exact duplicate", "near-duplicate", "repeated sample")
"""Guards over groups of copies, of which one row stays."""


def closeness_key(plane: str, role: str, name: str, content: str) -> str:
    """The key of the closeness of a map's rows (`plane`: its artifact) to one set, by its content's hash."""
    sides = [role, name, content]
    return artifacts.artifact_key(stage=CLOSENESS, closeness_format=CLOSENESS_FORMAT, map=plane, set=sides)


@dataclass(frozen=True)
class Signals:
    """All signals there are, by name; `folders` says which artifact holds each. `n` pool rows."""

    n: int
    columns: Mapping[str, SignalColumn]
    folders: Mapping[str, Path]

    @property
    def names(self) -> list[str]:
        """In the order in which they are listed."""
        return list(self.columns)

    @property
    def guards(self) -> list[str]:
        """Those a selection may leave rows out by."""
        return [name for name, column in self.columns.items() if column.guard]

    def column(self, name: str) -> SignalColumn:
        """The signal's description. Raises `EngineError` naming what there is."""
        if name not in self.columns:
            known = ", ".join(self.columns) or "none yet; check the pool first"
            raise EngineError(f"There is no signal {name!r}. There are: {known}. Nothing was changed.")
        return self.columns[name]

    def array(self, name: str, suffix: str = "") -> Array:
        """The signal's array as it is stored, over the covered rows; memory-mapped."""
        return artifacts.load_array(self.folders[self.column(name).name], self.columns[name].array + suffix)

    def has(self, name: str, suffix: str = "") -> bool:
        """Whether the signal has an array of this suffix beside its own, such as "_item"."""
        return (self.folders[name] / f"{self.columns[name].array}{suffix}.npy").is_file()

    def flags(self, name: str, threshold: float | None = None) -> Array:
        """bool (n,): the rows that carry the flag, or whose number is beyond the threshold (its own by default).

        Raises `EngineError` for a signal that has no threshold and is no flag.
        """
        column, stored = self.column(name), self.array(name)[: self.n]
        limit = column.threshold if threshold is None else threshold
        if limit is None and column.kind != "flag":
            raise EngineError(
                f"The signal {name!r} flags no samples: filter by its values instead. Nothing was changed."
            )
        with np.errstate(invalid="ignore"):
            found = stored if limit is None else stored >= limit if column.sense == "at least" else stored <= limit
        return _whole(np.asarray(found, bool), self.n)

    def values(self, name: str) -> Array:
        """float32 (n,): the numbers of a signal, 1 and 0 of a flag; NaN for rows that are not covered."""
        if self.column(name).kind == "flag":
            found = self.flags(name).astype(np.float32)
            found[len(self.array(name)) :] = np.nan
            return found
        stored = self.array(name)[: self.n]
        return np.concatenate([stored, np.full(self.n - len(stored), np.nan)]).astype(np.float32)

    def codes(self, name: str) -> Array:
        """int32 (n,): which of the column's `categories`; -1 for rows that are not covered."""
        stored = self.array(name)[: self.n]
        return np.concatenate([stored, np.full(self.n - len(stored), -1)]).astype(np.int32)


def signals_of(facts: Facts) -> Signals:
    """The signals of the latest artifact and of the latest map; none where the pool was never checked."""
    latest, plane = facts.latest_signals(), facts.latest_map()
    folders = [] if latest is None else [facts.artifact(latest)]
    folders += [] if plane is None else _closeness(facts, plane)
    found = [(folder, column) for folder in folders for column in _described(facts, folder)]
    found.sort(key=lambda entry: _GROUPS.index(entry[1].group) if entry[1].group in _GROUPS else len(_GROUPS))
    return Signals(
        facts.n, {column.name: column for _, column in found}, {column.name: folder for folder, column in found}
    )


def _described(facts: Facts, folder: Path) -> tuple[SignalColumn, ...]:
    return facts.remember(folder.name, "signal columns", lambda: read_columns(folder))


_GROUPS = ("Copies", "Overlap", "Answers", "Repetition", "Personal data", "Language and origin")


def version(facts: Facts) -> str:
    """What the signals depend on besides the pool."""
    plane = facts.latest_map()
    near = [] if plane is None else _closeness(facts, plane)
    return " ".join([str(facts.latest_signals()), *(folder.name for folder in near)])


def left_out(
    facts: Facts,
    names: Sequence[str],
    *,
    keep: Keep = "first",
    run: str = "",
    column: str = "score",
    thresholds: Mapping[str, float] | None = None,
) -> Array:
    """bool (n,): the rows that the guards `names` leave out; of each group of copies one row stays, by `keep`.

    `highest score` needs a `run` (its name) and reads its `column`. `thresholds` replace those of single guards.
    Raises `EngineError` for an unknown guard or policy.
    """
    signals, out = signals_of(facts), np.zeros(facts.n, bool)
    for name in names:
        if name in COPIES and name in signals.columns:
            out |= copies(facts, name, keep=keep, run=run, column=column)
        else:
            out |= signals.flags(name, (thresholds or {}).get(name))
    return out


def copies(
    facts: Facts,
    name: str,
    *,
    keep: Keep = "first",
    run: str = "",
    column: str = "score",
    unfit: Array | None = None,
) -> Array:
    """bool (n,): the rows of every group of copies but the one that stays.

    A row that a person rejected, or that is `unfit` (bool (n,)) to be chosen for another reason and not approved, stays
    only where all of its group are: it would stand for copies it keeps out.
    """
    group = groups(signals_of(facts), name)
    inside = np.flatnonzero(np.bincount(group, minlength=facts.n)[group] > 1)
    decided = np.asarray(facts.decisions())[inside]
    useless = decided == DECISIONS["reject"]
    if unfit is not None:
        useless |= unfit[inside] & (decided != DECISIONS["approve"])
    order = inside[np.lexsort((inside, -_preference(facts, keep, run, column)[inside], useless, group[inside]))]
    first = np.ones(len(order), bool)
    first[1:] = group[order][1:] != group[order][:-1]
    out = np.zeros(facts.n, bool)
    out[order[~first]] = True
    return out


def groups(signals: Signals, name: str) -> Array:
    """int64 (n,): the first row of each row's group of copies; a row that is no copy is a group of its own.

    Raises `EngineError` for a signal that is not about copies.
    """
    if name not in COPIES:
        raise EngineError(f"{name!r} has no groups; {', '.join(COPIES)} have. Nothing was changed.")
    stored = np.asarray(signals.array(name)[: signals.n], np.int64)
    found = np.arange(signals.n)
    found[: len(stored)] = np.where(stored >= 0, stored, found[: len(stored)])
    return found


def _preference(facts: Facts, keep: Keep, run: str, column: str) -> Array:
    """float64 (n,): the row of a group with the largest stays, the first on ties."""
    if keep == "first":
        return np.zeros(facts.n)
    if keep == "longest":
        return np.asarray(facts.column("words"), np.float64)
    if keep == "approved first":
        return (np.asarray(facts.decisions()) == DECISIONS["approve"]).astype(np.float64)
    if keep != "highest score":
        raise EngineError(f"{keep!r} is no way to keep one of several copies; there are: {', '.join(KEEPS)}.")
    if not run:
        raise EngineError("Keeping the copy with the highest score needs a run. Nothing was left out.")
    score = np.asarray(facts.scores(facts.run(run).artifact).column(column), np.float64)
    whole = np.concatenate([score[: facts.n], np.full(max(0, facts.n - len(score)), -np.inf)])
    return np.where(np.isfinite(whole), whole, -np.inf)


def summary(facts: Facts) -> list[tuple[SignalColumn, int, int]]:
    """Of each signal how many rows carry it and how many rows it covers; of a category, how many have a value named.

    Numbers without a threshold count the rows with a value.
    """
    signals = signals_of(facts)
    found = []
    for name, column in signals.columns.items():
        covered = min(facts.n, len(signals.array(name)))
        found.append((column, _count(facts, signals, column), covered))
    return found


def _count(facts: Facts, signals: Signals, column: SignalColumn) -> int:
    def compute() -> int:
        if column.kind == "flag" or column.threshold is not None:
            return int(signals.flags(column.name).sum())
        if column.kind == "category":
            return int((signals.array(column.name)[: signals.n] >= 0).sum())
        return int(np.isfinite(signals.array(column.name)[: signals.n]).sum())

    return facts.remember(signals.folders[column.name].name, "signal count", compute, column.name, signals.n)


def outdated(facts: Facts) -> list[str]:
    """What has changed since the signals were computed, in words; nothing where they are of the project as it is."""
    latest = facts.latest_signals()
    if latest is None:
        return []
    summary = artifacts.read_json(facts.artifact(latest) / "summary.json")
    before = {(e["role"], e["name"]): e["hash"] for e in summary.get("beside", ())}
    if "beside" not in summary or REPEATED_SAMPLE.array not in summary.get("columns", [REPEATED_SAMPLE.array]):
        return ["more signals have become known"]
    now = {(role, name): content for role, name, _, content in _beside(facts)}
    grown = facts.n - int(summary["rows"])
    said = [f"{grown:,} samples joined it"] if grown > 0 else []
    changed = [_set_title(*key) for key, content in now.items() if before.get(key) != content]
    return said + [f"{name} was added" for name in changed]


def _set_title(role: str, name: str) -> str:
    return {"target": f"target {name}", "heldout": f"held-out file {name}"}.get(role, "owned data")


def categories(signals: Signals, name: str) -> "pd.Series[int]":
    """How many rows each category of a signal has, most first; the one that says nothing last."""
    column = signals.column(name)
    codes = signals.codes(name)
    counts = np.bincount(codes[codes >= 0], minlength=len(column.categories))
    found = pd.Series(counts, index=list(column.categories)).sort_values(ascending=False, kind="stable")
    return found.sort_index(key=lambda names: names == column.nothing, kind="stable") if column.nothing else found


def _closeness(facts: Facts, plane: str) -> list[Path]:
    """The artifacts of nearness that the map has for the sets as they are now."""
    keys = [closeness_key(plane, role, name, content) for role, name, _, content in _beside(facts)]
    found = [artifacts.find(facts.project.artifacts, CLOSENESS, key) for key in keys]
    return [folder for folder in found if folder is not None]


def _beside(facts: Facts) -> list[tuple[str, str, int, str]]:
    return facts.remember(STATE, "beside", facts.project.beside)


def _whole(covered: Array, n: int) -> Array:
    return np.concatenate([covered[:n], np.zeros(max(0, n - len(covered)), bool)])
