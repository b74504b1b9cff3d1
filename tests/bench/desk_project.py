"""A project of one million synthetic rows, as the store would have it: rows, targets, runs, map, signals, decisions.

    python tests/bench/desk_project.py FOLDER      TOUCHSTONE_ROWS sets the number of rows

Rows go through the store's own intake, results are artifacts of the form the jobs write (`desk_results`), decisions and
selections are written by the project itself. A folder that holds such a project already is used, with the signals that
were not known when it was made; one that was left unfinished is refused. The scores, positions and neighbours are made
up: they cost nothing and mean nothing.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import desk_results as results  # noqa: E402
import desk_rows as rows  # noqa: E402
import desk_signals  # noqa: E402

from engine.data.samples import SourceInfo  # noqa: E402
from engine.store import artifacts, decisions  # noqa: E402
from engine.store.project import Project  # noqa: E402

ROWS = int(os.environ.get("TOUCHSTONE_ROWS", 1_000_000))
REVIEWERS = ("ada", "bert", "curator")
_DONE = "desk-project.json"


def build(path: Path, *, n: int = ROWS, seed: int = 0) -> Project:
    """The project at `path`, made where it is not there yet.

    Raises `SystemExit` where there is another one, or one that was not finished.
    """
    asked = {"rows": n, "seed": seed, "format": 1}
    if (path / _DONE).is_file():
        if artifacts.read_json(path / _DONE) != asked:
            raise SystemExit(
                f"{path} holds another desk project than the one asked for ({asked}). Choose a new folder."
            )
        found = Project.open(path)
        desk_signals.renew(found, seed=seed + 22)
        return found
    project = Project.create(path)
    drawn, texts = rows.drawn(n, seed=seed), rows.vocabularies(seed=seed)
    project.add_rows("pool", "", _source("pool", n, seed), rows.pool(drawn, texts))
    for number, name in enumerate(rows.TARGETS):
        project.add_rows("target", name, _source(name, number, seed), rows.target(number, texts))
    results.add_all(project, drawn, seed=seed)
    _decide(project, n, seed)
    _select(project, n)
    artifacts.write_json(path / _DONE, asked)
    return project


def _source(name: str, *parts: int) -> SourceInfo:
    mapping = {"schema": "chat", "fields": {"messages": "messages"}}
    key = artifacts.artifact_key(name=name, parts=list(parts)) * 4
    return SourceInfo(f"/data/{name.replace(' ', '-')}.jsonl", key, 1_000_000, "jsonl", mapping)


def _decide(project: Project, n: int, seed: int) -> None:
    """2 % of the rows (20,000 of a million): up to 2,000 one by one, as a reviewer does, the rest in big batches."""
    rng = np.random.default_rng(seed + 2)
    chosen = rng.permutation(n)[: n // 50]
    single, many = chosen[: min(2_000, len(chosen) // 2)], chosen[min(2_000, len(chosen) // 2) :]
    verdicts = rng.choice(["approve", "reject", "skip"], len(single), p=[0.7, 0.25, 0.05])
    with project.changing() as con:
        for at, (row, verdict) in enumerate(zip(single.tolist(), verdicts.tolist(), strict=True)):
            note = "reads like a template" if at % 20 == 0 else ""
            decisions.decide(con, [row], verdict, by=REVIEWERS[at % 3], note=note)
        for at, part in enumerate(np.array_split(many, 8)):
            decisions.decide(con, part, "reject" if at % 4 == 3 else "approve", by=REVIEWERS[at % 3], note="on the map")


def _select(project: Project, n: int) -> None:
    """Two saved selections: the best tenth (approved), and a version of another one with weights (a draft)."""
    record = project.run("landmark")
    score = np.asarray(artifacts.load_array(project.artifacts / record.artifact, "score"))
    codes = project.decisions()
    wanted = np.where(codes == decisions.APPROVE, np.inf, np.where(codes == decisions.REJECT, -np.inf, score))
    best = np.argsort(-np.nan_to_num(wanted, nan=-np.inf), kind="stable")
    spec = {"run": record.name, "strategy": "top", "size": "10%", "column": "score", "filters": []}
    top = best[: n // 10]
    project.save_selection(
        "best tenth", spec=spec, rows=top, by="ada", order=top, gains=np.nan_to_num(score[top]).astype(np.float64)
    )
    project.approve_selection("best tenth", by="bert", note="looks right")
    some = best[: n // 20]
    weights = np.linspace(1, 0.1, len(some), dtype=np.float32)
    project.save_selection("weighted", spec={**spec, "size": "5%"}, rows=some, weights=weights, by="ada")


if __name__ == "__main__":
    begun = time.perf_counter()
    made = build(Path(sys.argv[1]))
    print(f"{made.path}: {made.counts().pool:,} rows in {time.perf_counter() - begun:.0f} s")
