"""Runs, maps and signals: a name stands for one configuration."""

from dataclasses import replace

import pytest

from engine.errors import EngineError
from engine.store import artifacts
from engine.store.records import MapRecord, RunRecord

RUN = RunRecord("r", "landmark", "builtin", {"seed": 0, "targets": ("a", "b")}, "scores-1", 10, "hash", ["a", "b"])


def test_the_same_run_again_is_reused_and_another_is_refused(project):
    first = project.add_run(RUN)
    assert first.config == {"seed": 0, "targets": ["a", "b"]}
    assert project.add_run(replace(RUN, summary={"new": 1})) == first
    with pytest.raises(EngineError, match="exists with another config"):
        project.add_run(replace(RUN, config={"seed": 1}))
    with pytest.raises(EngineError, match="another model, pool_hash"):
        project.add_run(replace(RUN, model="gpt2", pool_hash="other"))
    assert project.runs() == [first]
    assert project.run("r") == first
    with pytest.raises(EngineError, match="There are: r"):
        project.run("absent")


@pytest.mark.parametrize("name", ["", " r", "a/b", "a\nb"])
def test_bad_run_names_are_refused(project, name):
    with pytest.raises(EngineError, match="cannot name a run"):
        project.add_run(replace(RUN, name=name))


def test_summaries_with_nan_are_kept_as_null(project):
    assert project.add_run(replace(RUN, summary={"rho": float("nan")})).summary == {"rho": None}


def test_the_latest_map_is_the_one_added_last(project):
    assert project.latest_map() is None
    first = project.add_map(MapRecord("m1", "map-1", 10, "h", "hidden"))
    second = project.add_map(MapRecord("m2", "map-2", 10, "h", "sentence", summary={"k": 15}))
    assert project.add_map(MapRecord("m1", "map-1", 10, "h", "hidden")) == first
    assert project.latest_map() == second
    with pytest.raises(EngineError, match="exists with another artifact"):
        project.add_map(MapRecord("m1", "map-9", 10, "h", "hidden"))
    assert project.maps() == [first, second]


def test_the_latest_signals_are_those_added_last_that_are_complete(project):
    assert project.latest_signals() is None
    for key in ("a", "b"):
        with artifacts.create(project.artifacts, "signals", key, {}):
            pass
        project.add_signals(f"signals-{key}", 10, "h")
    project.add_signals("signals-gone", 10, "h")
    assert project.latest_signals() == project.artifacts / "signals-b"
    project.add_signals("signals-a", 10, "h")
    assert project.latest_signals() == project.artifacts / "signals-a"
