"""A selection by filters of every kind is chosen again as it was, whatever has become of what the filters look at.

Runs, maps, checks and nearness are made by a stand-in: numbers that follow from the rows of the pool, the sets beside
it and the configuration, so that anything made of another pool, too early or too late shows in the rows chosen.
"""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest

from engine.curation import filters
from engine.curation.facts import Facts
from engine.curation.filters import Filter
from engine.curation.signals import CLOSENESS, closeness_key
from engine.data.signal_columns import SignalColumn, write_columns
from engine.errors import EngineError
from engine.export import replaying
from engine.export.export import export
from engine.export.plan import Plan
from engine.export.reproduce import reproduce
from engine.runs.choice import Choice
from engine.runs.choosing import select
from engine.runs.config import ScoreConfig
from engine.runs.inputs import View
from engine.runs.intake import add_pool, add_target
from engine.runs.map_config import MapConfig
from engine.runs.sides import all_sides
from engine.selection.quotas import Quota
from engine.store import artifacts
from engine.store.project import Project
from engine.store.records import MapRecord, RunRecord, now
from tests.catalogues import loaded

ROLES = 1 | 8  # landmark, truncated for the model


def _draw(*seed):
    text = json.dumps(seed, default=str).encode()
    return np.random.default_rng(np.frombuffer(text + b"\0" * (-len(text) % 4), np.uint32))


def _keep(project, stage, key, manifest, arrays, **files):
    with artifacts.create(project.artifacts, stage, key, {**manifest, "created": now()}) as at:
        for name, values in arrays.items():
            artifacts.save_array(at, name, values)
        for name, value in files.items():
            artifacts.write_json(at / f"{name}.json", value)
        if "columns" in manifest:
            write_columns(at, manifest["columns"])
    return f"{stage}-{key}"


def _score(project, config, run):
    n, content = project.extent("pool", "")
    draw = _draw("score", config.seed, content)
    loss = np.where(draw.random(n) < 0.15, 9, draw.random(n)) if config.seed % 2 else np.full(n, np.nan)
    score = draw.normal(size=n).astype(np.float32)
    arrays = {"score": score, "columns": score[:, None], "matrix": score[:, None], "loss": loss.astype(np.float32)}
    arrays["status"] = draw.choice(3, n, p=[0.1, 0.4, 0.5]).astype(np.uint8)
    arrays["roles"] = (draw.integers(0, 16, n) & ROLES).astype(np.uint8)
    key = artifacts.artifact_key(stage="scores", content=content, config=config.to_dict())
    summary = {"sets": [{"name": "t", "rows": 1, "items": [0]}]}
    name = _keep(project, "scores", key, {}, arrays, summary=summary)
    project.add_run(RunRecord(run, config.method, "", config.to_dict(), name, n, content, ["t"], summary=summary))


def _map(project, config):
    n, content = project.extent("pool", "")
    draw = _draw("map", config.seed, content)
    arrays = {
        "xy": draw.random((n, 2)).astype(np.float32), "neighbours": draw.integers(0, n, (n, 5)).astype(np.int32),
        "distances": np.zeros((n, 5), np.float32), "cluster": draw.integers(0, 6, n).astype(np.int32),
        "centres": np.zeros((6, 2), np.float32), "features": draw.normal(size=(n, 3)).astype(np.float32),
    }  # fmt: skip
    key = artifacts.artifact_key(stage="map", content=content, seed=config.seed)
    manifest = {"config": config.to_dict(), "view": View(n, content, ()).to_dict(), "features": "sentence"}
    about = {"labels": [f"c{at}" for at in range(6)]}
    name = _keep(project, "map", key, manifest, arrays, map=about, recipe={"features": "sentence"})
    project.add_map(MapRecord(name, name, n, content, "sentence"))


def _check(project, config):
    n, content = project.extent("pool", "")
    sides = [asdict(side) for side in all_sides(project)]
    draw = _draw("signals", content, sides, config["regions"])
    arrays = {"flagged": draw.random(n) < 0.3, "looks_truncated": np.zeros(n, bool), "leak": np.zeros(n, np.float32)}
    arrays |= {"near_duplicate_of": np.full(n, -1), "leak_target": np.full(n, -1)}
    columns = [SignalColumn(name="flagged", title="F", kind="flag", array="flagged", explanation="", guard=True)]
    key = artifacts.artifact_key(stage="signals", content=content, sides=sides, regions=config["regions"])
    manifest = {"view": View(n, content, ()).to_dict(), "beside": sides, "columns": columns, **config}
    project.add_signals(_keep(project, "signals", key, manifest, arrays), n, content)


def _measure(project, plane, sides, *, reporter=None):
    for side in sides:
        n = len(artifacts.load_array(plane, "xy"))
        key = closeness_key(plane.name, side.role, side.name, side.hash)
        column = SignalColumn(name=f"closeness to target {side.name}", title="C", kind="number", array="closeness",
                              explanation="", threshold=0.9)  # fmt: skip
        values = _draw("near", plane.name, side.hash).random(n).astype(np.float32)
        _keep(project, CLOSENESS, key, {"side": asdict(side), "columns": [column]}, {"closeness": values})


def _work(project, kind, config, reporter=None, *, run=None, doing=""):
    {"score": lambda: _score(project, config, run), "map": lambda: _map(project, config),
     "signals": lambda: _check(project, config)}[kind]()  # fmt: skip


def _file(folder, name, n):
    rows = [
        {"id": f"{name}{i}", "prompt": f"Ask {name} {i}.", "completion": "granted" if i % 7 else "refused",
         "source": f"s{i % 6}", "note": "Kept" if i % 10 else "gone"}
        for i in range(n)
    ]  # fmt: skip
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / f"{name}.jsonl"


def _tagged(project):
    project.tag(range(0, 150, 8), "odd", by="Ada")
    project.tag(range(0, 150, 16), "dull", by="Ada")
    project.untag(range(0, 40, 16), "dull", by="Bo")


def _all_filters(project):
    """One of each kind, and of each kind of column, each of which most rows pass; and those that go by a state."""
    plane = project.latest_map().artifact
    of_states = [
        Filter("mark", "", ("landmark", "flagged", "truncated for the model")),
        Filter("value", "signal/flagged", ("no",)),
        Filter("value", "signal/surprising answer", ("no",)),
        Filter("number", "signal/closeness to target t", (None, 0.9)),
        Filter("cluster", "", (0, 1, 2, 3, 4)),
        Filter("value", "cluster", ("c1", "c2", "c3", "c4")),
        Filter("similar", "sample", ("a5", 180)),
        Filter("value", "tag", ("dull", "(none)")),
        Filter("decision", "", (0, 1)),
        Filter("value", "decision", ("undecided", "approved", "skipped")),
    ]
    fixed = [
        Filter("box", plane, (0.05, 0.0, 1.0, 0.97)),
        Filter("lasso", plane, (0.0, 0.0, 1.0, 0.05, 1.0, 1.0, 0.0, 1.0)),
        Filter("score", "early/score", (-1.5, None)),
        Filter("rank", "judge/score", (1, 180)),
        Filter("status", "guide", (1, 2)),
        Filter("value", "status/early", ("exact", "propagated")),
        Filter("value", "selection/2/before", ("no",)),
        Filter("field", "source", ("s0", "s1", "s2", "s3", "s4")),
        Filter("words", "", (1, 100)),
        Filter("text", "words/response", ("granted",)),
        Filter("contains", "note", ("kept",)),
        Filter("value", "file", ("a.jsonl",)),
    ]
    return of_states, fixed


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A project whose selection went by everything there is, and the folder of its inputs."""
    monkeypatch.setattr(replaying, "_work", _work)
    monkeypatch.setattr(replaying, "measure", _measure)
    (tmp_path / "in").mkdir()
    with loaded():
        project = Project.create(tmp_path / "p")
        add_pool(project, _file(tmp_path / "in", "a", 140))
        add_target(project, "t", _file(tmp_path / "in", "t", 2))
        _work(project, "score", ScoreConfig(seed=2), run="early")
        add_pool(project, _file(tmp_path / "in", "b", 60))
        _work(project, "map", MapConfig(seed=3))
        _work(project, "signals", {"regions": ["FR"]})
        side = all_sides(project)[0]
        _measure(project, project.artifacts / project.latest_map().artifact, [side])
        add_target(project, "u", _file(tmp_path / "in", "u", 3))  # the check does not know it
        for seed, run in ((5, "judge"), (6, "guide"), (8, "base")):
            method = "random" if run == "base" else "landmark"
            _work(project, "score", ScoreConfig(seed=seed, method=method), run=run)
        weights = np.linspace(0.1, 1, 9).astype(np.float32)
        for start in (1, 2):
            project.save_selection("before", spec={}, rows=range(start, 140, 16), weights=weights, by="Ada")
        _tagged(project)
        project.decide(range(3, 140, 23), "skip", by="Ada")
        project.decide([4, 199], "approve", by="Ada")
        project.decide([2, 60], "reject", by="Ada")  # 2 is in the selection before, which was saved earlier
        yield project, tmp_path / "in"


def _change_everything(project, folder):
    """All that a filter could look at moves on."""
    project.decide(range(0, 140, 3), "skip", by="Bo")
    project.undo(by="Ada")
    project.tag(range(0, 200, 3), "dull", by="Bo")
    project.untag(range(0, 200, 8), "odd", by="Bo")
    project.save_selection("before", spec={}, rows=[7, 8], by="Bo")
    add_pool(project, _file(folder, "c", 30))
    add_target(project, "v", _file(folder, "v", 4))
    _work(project, "map", MapConfig(seed=4))
    _work(project, "signals", {"regions": ["DE"]})
    _measure(project, project.artifacts / project.latest_map().artifact, all_sides(project))
    for seed, run in ((9, "odd"), (10, "later")):  # the latest with losses bears the name of a tag that filters name
        _work(project, "score", ScoreConfig(seed=seed), run=run)


@pytest.fixture
def exported(made, tmp_path):
    """The manifest of a selection by all of it, exported after everything had moved on; the project is gone, the inputs
    lie elsewhere under other names.
    """
    project, folder = made
    of_states, fixed = _all_filters(project)
    parts = (*of_states, *fixed)
    assert {part.kind for part in parts} == set(filters._MASKS), "a kind of filter is not tried"
    before = {part: filters.mask(Facts(project), part) for part in parts}
    cap = Quota("tag", "(none)", "at-most", "8")
    choice = Choice(size="10", within=parts, guards=("flagged",), quotas=(cap,))
    selection, _ = select(project, choice, run="base", name="s", by="Ada")
    assert len(selection.rows) == 10
    _change_everything(project, folder)
    for part in of_states:
        assert (filters.mask(Facts(project), part)[:200] != before[part]).any(), f"{part} means the same after all"
    export(project, selection, tmp_path / "o", plan=Plan(form="chat", added=("scores", "tags", "decision")))
    shutil.rmtree(project.path)
    moved = folder.rename(tmp_path / "moved")
    (moved / "a.jsonl").rename(moved / "other.jsonl")
    return tmp_path / "o.manifest.json", moved


def test_filters_of_every_kind_mean_what_they_meant(exported, tmp_path):
    manifest, inputs = exported
    again = reproduce(manifest, rescore=True, out=tmp_path / "again", inputs=inputs)
    assert (again.identical, again.differences, again.notes) == (True, (), ())
    assert (tmp_path / "again").read_bytes() == (tmp_path / "o").read_bytes()
    told = json.loads(manifest.read_text())
    kept = told["selection"]["spec"]["went_by"]
    verbs = [line.split()[3] for line in told["reproduce"]]
    assert verbs[verbs.index("map") :] == ["map", "signals", "select", "export"]
    assert "--set regions=FR" in told["reproduce"][-3]
    assert kept["runs"] == ["guide", "judge"]
    assert [run["name"] for run in told["other_runs"]] == ["early", "judge", "guide"], "a run made later is among them"
    for change, message in (
        (lambda m: m["artifacts"].pop(kept["map"]), f"went by {kept['map']}, which the manifest does not tell"),
        (lambda m: m["artifacts"].pop(kept["signals"]), kept["signals"]),
        (lambda m: m["artifacts"].pop(kept["near"][0]), kept["near"][0]),
        (lambda m: m["other_runs"].pop(), "went by run guide, which"),
        (lambda m: m["known"].pop("selections"), "selection before version 2"),
        (lambda m: m.pop("known"), "tags, which"),
        (lambda m: m["artifacts"][kept["map"]]["view"].update(rows=150), "the map covered 150 samples, and no number"),
    ):
        less = json.loads(manifest.read_text())
        change(less)
        (tmp_path / "less.manifest.json").write_text(json.dumps(less))
        with pytest.raises(EngineError, match=message):
            reproduce(tmp_path / "less.manifest.json", rescore=True, out=tmp_path / "none", inputs=inputs)
    assert not list(tmp_path.glob("none*"))
    assert reproduce(tmp_path / "less.manifest.json", inputs=inputs).identical  # the files need none of it
