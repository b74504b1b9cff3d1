"""The job that checks the pool: what is kept, when it is computed again, and nearness against a loop."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.curation.facts import Facts
from engine.curation.signals import outdated, signals_of
from engine.errors import EngineError
from engine.progress import Silent
from engine.runs import closeness, intake, signals_job
from engine.runs.features import RECIPE_FILE
from engine.runs.jobfolder import JobFolder
from engine.runs.jobs import create_job
from engine.runs.reporter import reporting
from engine.runs.sides import STAGE, side_key, side_of
from engine.runs.signals_config import SignalsConfig
from engine.store import artifacts
from engine.store.project import Project
from engine.store.records import MapRecord

LONG = "seven grey geese flew slowly south over the wide cold lake while the old ferryman counted them aloud and smiled"


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def asked(question: str, answer: str, **fields: object) -> dict[str, object]:
    return {"question": question, "answer": answer, **fields}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.create(tmp_path / "p")
    filler = [asked(f"What is {n} plus {n}?", f"It is {2 * n}.", license="mit", source="sums") for n in range(30)]
    special = [
        asked(f"Tell me of geese number one. {LONG}", "A fine tale."),
        asked("Write to her.", "Her address is marie.dupont@orange.fr, as you know."),
        asked("Help me with this.", "I'm sorry, but I cannot help with that request."),
        filler[3],
    ]
    intake.add_pool(made, write(tmp_path / "pool.jsonl", filler + special))
    intake.add_target(made, "t", write(tmp_path / "t.jsonl", [asked("Name a colour.", "Green.")]))
    return made


def check(project: Project, **config: Any) -> JobFolder:
    folder = create_job(project, "signals", SignalsConfig(**config))
    with reporting(folder) as reporter:
        signals_job.work_signals(project, folder, reporter)
    return folder


def test_the_pool_is_checked_without_map_or_model(project: Project, tmp_path: Path) -> None:
    intake.add_heldout(project, "geese / exam", write(tmp_path / "h.jsonl", [asked(f"Geese: {LONG}", "Yes.")]))
    intake.add_owned(project, write(tmp_path / "o.jsonl", [asked("What is 5 plus 5?", "It is 10.")]))
    folder = check(project)
    facts = Facts(project)
    found = signals_of(facts)
    assert np.flatnonzero(found.flags("held-out leak")).tolist() == [30]
    assert int(found.array("overlap with held-out geese / exam", "_item")[30]) == 0
    assert found.flags("owned already")[5]
    assert np.flatnonzero(found.flags("e-mail address")).tolist() == [31]
    assert np.flatnonzero(found.flags("refusal")).tolist() == [32]
    assert np.flatnonzero(found.flags("exact duplicate")).tolist() == [33]
    assert not found.flags("leak").any()
    licence = found.columns["licence"].categories
    assert [licence[code] for code in found.codes("licence")[[0, 30]]] == ["MIT", "(not stated)"]
    assert not any(name.startswith("closeness") for name in found.names)
    assert outdated(facts) == [] and folder.result["signals"] == facts.latest_signals()
    manifest = artifacts.read_manifest(project.artifacts / folder.result["signals"])
    assert [side["role"] for side in manifest["beside"]] == ["target", "heldout", "owned"]


def test_only_what_changes_the_answer_asks_for_it_again(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = check(project).result["signals"]
    monkeypatch.setattr(signals_job, "compute", None)
    assert check(project).result["signals"] == first  # nothing is computed
    monkeypatch.undo()
    intake.add_heldout(project, "h", write(tmp_path / "h.jsonl", [asked(f"Geese: {LONG}", "Yes.")]))
    assert outdated(Facts(project)) == ["held-out file h was added"]
    assert check(project).result["signals"] != first
    assert signals_of(Facts(project)).flags("held-out leak").any()


def test_countries_asked_for_hold_until_others_are(project: Project, tmp_path: Path) -> None:
    """The last check's countries are asked for again, by a map as well, and tell whose numbers were looked for."""
    intake.add_pool(project, write(tmp_path / "more.jsonl", [asked("Who?", "Any time under 030 901820.")]))
    last = len(Facts(project).decisions()) - 1
    first = check(project)
    assert not signals_of(Facts(project)).flags("phone number")[last]  # English, so it is none
    german = check(project, regions=("de",))
    found = signals_of(Facts(project))
    assert found.flags("phone number")[last] and "of DE write" in found.columns["phone number"].explanation
    assert artifacts.read_manifest(project.artifacts / german.result["signals"])["regions"] == ["DE"]
    assert check(project).result == german.result and check(project, regions=("auto",)).result == first.result
    with pytest.raises(EngineError, match="no country's code"):
        SignalsConfig(regions=("Germany",))


def test_held_out_files_are_named_once_and_never_scored(project: Project, tmp_path: Path) -> None:
    path = write(tmp_path / "h.jsonl", [asked("A?", "B.")])
    intake.add_heldout(project, "h", path)
    assert intake.add_heldout(project, "h", path).already
    with pytest.raises(EngineError, match="held-out file 'h' exists with other content"):
        intake.add_heldout(project, "h", write(tmp_path / "other.jsonl", [asked("C?", "D.")]))
    with pytest.raises(EngineError, match="cannot name a held-out file"):
        intake.add_heldout(project, "a,b", path)
    assert [t.name for t in project.targets()] == ["t"] and [h.name for h in project.heldout()] == ["h"]


@pytest.mark.parametrize("centred", [False, True])
def test_nearness_against_a_loop(centred: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closeness, "_BLOCK", 7)
    rng = np.random.default_rng(0)
    pool, items = rng.normal(1, 1, (23, 5)).astype(np.float32), rng.normal(1, 1, (6, 5)).astype(np.float32)
    pool[4], items[2] = np.nan, np.nan
    value, item = closeness.nearest(pool, items, centred=centred, reporter=Silent())
    middle = np.nanmean(pool, axis=0) if centred else 0
    for row in range(23):
        if row == 4:
            assert np.isnan(value[row]) and item[row] == -1
            continue
        f, others = pool[row] - middle, items - middle
        cosines = others @ f / np.linalg.norm(others, axis=1) / np.linalg.norm(f)
        assert item[row] == np.nanargmax(cosines)
        assert value[row] == pytest.approx(np.nanmax(cosines), abs=1e-5)


def test_nearness_is_measured_once_a_map_keeps_features(project: Project) -> None:
    rng, recipe, n = np.random.default_rng(1), {"features": "sentence", "model": "m"}, project.counts().pool
    features, item = rng.normal(size=(n, 4)).astype(np.float32), rng.normal(size=(1, 4)).astype(np.float32)
    with artifacts.create(project.artifacts, "map", "k", {"config": {}}) as plane:
        artifacts.save_array(plane, "features", features)
        artifacts.write_json(plane / RECIPE_FILE, recipe)
    with artifacts.create(project.artifacts, STAGE, side_key(recipe, side_of(project, "target", "t")), {}) as side:
        artifacts.save_array(side, "features", item)
    project.add_map(MapRecord("m", "map-k", n, project.pool_hash(), "sentence"))
    check(project)
    values = signals_of(Facts(project)).values("closeness to target t")
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(values, unit @ item[0] / np.linalg.norm(item), atol=1e-5)
