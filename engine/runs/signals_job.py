"""The catalogue side of the signals: what is compared, what the catalogue knows already, and recording them.

Signals are an artifact named by what changes them: the pool and every set beside it. They need no map and no model; a
map job computes them as one of its parts (`mapping_job`), and a job of the kind `signals` does by itself. Where there
is a map, the nearness of the pool to the sets beside it is measured as well (`closeness`).
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine.curation.facts import coded
from engine.data.origins import MISSING, Role, recognised, spelt
from engine.data.signal_columns import AUTO, SignalColumn, regions_at, write_columns
from engine.progress import Reporter
from engine.runs.closeness import measure
from engine.runs.inputs import View, complete_inputs, frozen_view, write_pairs
from engine.runs.jobfolder import JobFolder
from engine.runs.reporter import FileReporter
from engine.runs.results import clear, keep
from engine.runs.runjob import compute
from engine.runs.sides import Side, all_sides
from engine.store.artifacts import artifact_key, find
from engine.store.project import Project
from engine.store.records import now

STAGE = "signals"
SIGNALS_FORMAT = 5  # part of the key; from 2 on the columns are described beside the arrays


def work_signals(project: Project, folder: JobFolder, reporter: FileReporter) -> None:
    """Compute the signals of the pool as it is, record them, and measure nearness where there is a map."""
    reporter.phase("preparing", 0)
    view = frozen_view(project, folder)
    key = signals_key(project, folder, view)
    folder.update_spec(keys={STAGE: key})
    if find(project.artifacts, STAGE, key) is None:
        write_signal_inputs(project, folder, view, reporter=reporter)
        if not folder.input_complete:
            complete_inputs(folder, view)
        compute(folder, reporter)
    else:
        reporter.log("signals: exist already, nothing is computed again")
    latest = project.latest_map()
    plane = None if latest is None else project.artifacts / latest.artifact
    kept = keep_signals(project, folder, key, view, plane=plane, reporter=reporter)
    folder.write_result(signals=kept.name)
    clear(folder)


def signals_key(project: Project, folder: JobFolder, view: View) -> str:
    """The key of the signals of `view`; sets beside the pool and regions are frozen when the job first asks."""
    if "beside" not in folder.spec:
        folder.update_spec(beside=[asdict(side) for side in all_sides(project)], regions=_regions(project, folder))
    sets = [[side.role, side.name, side.hash] for side in sides_of(folder)]
    parts: dict[str, Any] = {"pool": view.pool_hash, "rows": view.rows, "beside": sets}
    parts["regions"] = folder.spec.get("regions", [AUTO])
    return artifact_key(stage=STAGE, signals_format=SIGNALS_FORMAT, **parts)


def _regions(project: Project, folder: JobFolder) -> list[str]:
    """The countries the job was asked for, else those of the last check, at first `AUTO`; a map is asked for none."""
    asked, latest = folder.spec.get("config", {}).get("regions"), project.latest_signals()
    return list(asked) if asked else [AUTO] if latest is None else list(regions_at(latest))


def sides_of(folder: JobFolder) -> tuple[Side, ...]:
    """The sets beside the pool that the job compares with."""
    return tuple(Side(**entry) for entry in folder.spec["beside"])


def write_signal_inputs(project: Project, folder: JobFolder, view: View, *, reporter: Reporter) -> None:
    """Write the texts and what the catalogue knows; what is there already is kept."""
    write_pairs(project, "pool", "", view.rows, folder.input / "pool.jsonl", reporter=reporter)
    (folder.input / "beside").mkdir(exist_ok=True)
    for at, side in enumerate(sides_of(folder)):
        place = folder.input / "beside" / f"{at}.jsonl"
        write_pairs(project, side.role, side.name, side.rows, place, reporter=reporter)
    known = folder.input / "known"
    if not (known / "columns.json").is_file():
        known.mkdir(exist_ok=True)
        write_columns(known, known_columns(project, known, view.rows))  # last: its presence means complete


def known_columns(project: Project, place: Path, rows: int) -> list[SignalColumn]:
    """What the catalogue knows of the first `rows` rows, as columns whose arrays are written into `place`."""
    return [_copies(project, place, rows), *_origins(project, place, rows)]


def keep_signals(
    project: Project, folder: JobFolder, key: str, view: View, *, plane: Path | None, reporter: Reporter
) -> Path:
    """Keep the signals as an artifact, measure nearness on the map in `plane`, and record the signals as the latest.

    Recorded last, and again if they were there before: what was found is then read anew. Returns the artifact's folder.
    """
    spec = folder.spec
    manifest = {name: spec.get(name) for name in ("kind", "view", "beside", "regions")}
    manifest |= {"version": engine.__version__, "created": now()}
    kept = keep(project, folder, STAGE, key, manifest, part=STAGE)
    if plane is not None:
        measure(project, plane, sides_of(folder), reporter=reporter)
    project.add_signals(kept.name, view.rows, view.pool_hash)
    return kept


def _copies(project: Project, place: Path, rows: int) -> SignalColumn:
    """Exact duplicates, which the intake has marked."""
    np.save(place / "duplicate_of.npy", np.asarray(project.column("duplicate_of"), np.int64)[:rows], allow_pickle=False)
    return SignalColumn(
        name="exact duplicate",
        title="Exact duplicate",
        kind="flag",
        array="duplicate_of",
        threshold=0,
        guard=True,
        group="Copies",
        explanation="The messages are those of an earlier sample of the pool, character for character.",
    )


def _origins(project: Project, place: Path, rows: int) -> list[SignalColumn]:
    """Licence and origin of each row, where the pool has a field for it; of several the one that most rows fill."""
    fields, found = project.columns(), []
    roles: tuple[Role, ...] = ("licence", "origin")
    for role in roles:
        named = [(name, _spelt(project, name, role, rows)) for name in recognised(fields, role)]
        stated = [(name, values) for name, values in named if (values != MISSING).any()]
        if not stated:
            continue
        name, values = max(stated, key=lambda entry: int((entry[1] != MISSING).sum()))
        categories = coded(values)
        np.save(place / f"{role}.npy", categories.codes, allow_pickle=False)
        found.append(_origin(role, name, tuple(categories.names)))
    return found


def _spelt(project: Project, name: str, role: Role, rows: int) -> np.ndarray:
    categories = coded(project.column(name)[:rows])
    names = np.array([MISSING if text == "(none)" else spelt(text, role) for text in categories.names], dtype=object)
    return names[categories.codes] if len(names) else np.full(rows, MISSING, dtype=object)


def _origin(role: Role, field: str, names: tuple[str, ...]) -> SignalColumn:
    said = {
        "licence": "Under what terms the sample may be used, in the usual spelling",
        "origin": "Where the sample comes from; of an address, the host",
    }[role]
    return SignalColumn(
        name=role,
        title=role.capitalize(),
        kind="category",
        array=role,
        categories=names,
        group="Language and origin",
        explanation=f"{said}; from the field “{field}”. Samples that do not say are counted as {MISSING}.",
    )
