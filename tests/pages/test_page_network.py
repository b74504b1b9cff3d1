"""A finished run of a network on the Score page, and wherever else a run is shown; runs without targets or audits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.cli.trusting import described
from engine.runs.config import ScoreConfig
from engine.store import artifacts
from engine.store.project import Project
from engine.store.records import RunRecord
from pages.parts import network_view, provenance, trust
from pages.parts.words import plain
from tests.pages.conftest import SETS

SEEN = {"both": 0, "rows": 1, "items": 2, "neither": 3}


def measure(value: float | None, reason: str = "") -> dict[str, Any]:
    return {"value": value, "n": 12, "low": None, "high": None, "reason": reason}


def quadrant(name: str, spearman: float | None, *, reason: str = "") -> dict[str, Any]:
    own = {"mse": 0.02, "pairs": measure(spearman, reason), "rows": measure(0.5), "top": measure(0.3)}
    return {
        "name": name, "pairs": 40, "rows": 10, "items": 4, "mse_of_mean": 0.04, "mse_of_random": 0.08,
        "said": f"of {name}", "share_of_mean": 0.5,
        "estimates": {"network": own, "linear": {**own, "mse": 0.03}, "kernel": {**own, "mse": 0.01}},
    }  # fmt: skip


def network_summary(*names: str, teacher: str = "less", pointwise: bool = False) -> dict[str, Any]:
    labelled = {"rows": 10, "share": 0.17, "items": 6, "held_items": 2, "pairs": 57, "held_pairs": 3, "audit_rows": 5}
    return {
        "network": {
            "teacher": teacher, "pointwise": pointwise, "parameters": 1000, "ridges": [0.1, 0.1],
            "inputs": {"name": "lexical", "why": "words alone: enough", "dim": 778, "parts": [778], "tried": {}},
            "labelled": labelled, "quadrants": [quadrant(name, 0.62) for name in names],
            "fit": {"epochs": 3, "best": 2, "errors": [0.9, 0.4, 0.5], "error": 0.4, "constant": False},
            "sentence": "On samples and items never seen: Spearman of the samples 0.50.",
        },
        "passes": {"equivalents": 70, "full_equivalents": 1000, "saved": 0.93},
        "counts": {"exact": 10, "propagated": 49, "unscorable": 1},
        "sets": [] if pointwise else [{"name": s, "rows": 4, "items": [0, 1, 2, 3], "weight": 1.0} for s in SETS],
        "fidelity": {
            "spearman": 0.7, "interval": [0.62, 0.8], "level": 0.9, "n": 5, "left_out": 0, "top_overlap": 0.7,
            "r2": 0.5, "length_correlation": None, "reasons": {}, "per_set": {},
        },
    }  # fmt: skip


def add(project: Project, name: str, summary: dict[str, Any], *, method: str = "network", **config: Any) -> RunRecord:
    """A run of `method` with the arrays that such runs have; the last row has no score, row 11 is half labelled."""
    n, sets = project.counts().pool, [each["name"] for each in summary.get("sets", ())]
    columns = np.random.default_rng(3).normal(0, 1, (n, len(sets))).astype(np.float32)
    score = columns.mean(axis=1) if sets else np.random.default_rng(4).normal(0, 1, n).astype(np.float32)
    score[-1] = np.nan
    status = np.where(np.arange(n) < 10, 1, 2 if method == "network" else 1).astype(np.uint8)
    status[-1] = 0
    roles = np.zeros(n, np.uint8)
    roles[:12], roles[12:15], roles[-3:] = 64, 2, 128
    reported = [each["name"] for each in (summary.get("network") or {}).get("quadrants", ())]
    drawn = [[SEEN.get(name, 9), x, x / 2] for name in reported for x in range(6)]
    arrays = {
        "score": score, "columns": columns, "matrix": np.repeat(columns, 4, axis=1), "status": status, "roles": roles,
        "loss": np.full(n, np.nan, np.float32), "network_shown": np.array(drawn or np.zeros((0, 3)), np.float32),
    }  # fmt: skip
    key = artifacts.artifact_key(stage="scores", name=name)
    whole = {"method": method, "unit": "cosine", "notes": [], "problems": {}, **summary}
    with artifacts.create(project.artifacts, "scores", key, {"test": True}) as place:
        for array_name, array in arrays.items():
            np.save(Path(place) / f"{array_name}.npy", array)
        artifacts.write_json(Path(place) / "summary.json", whole)
    settings = ScoreConfig(method=method, **config).to_dict()
    record = RunRecord(
        name=name, method=method, model="builtin", config=settings, artifact=f"scores-{key}", rows=n,
        pool_hash=project.pool_hash(), targets=sets, state="done", summary=whole,
    )  # fmt: skip
    return project.add_run(record)


def opened(pages: Any, project: Project, page: str = "2_Score.py", **address: str) -> Any:
    test = pages.open(page, project, **address)
    for key in ("run_network_training", "score_why"):
        test.session_state[key] = True
    test.run()
    assert not test.exception
    return test


def told(test: Any) -> str:
    shown = [*test.success, *test.warning, *test.info, *test.error, *test.markdown, *test.caption]
    return " ".join(e.value.replace("\\", "").replace("\u2060", "") for e in shown)


def charts(test: Any) -> list[Any]:
    return list(test.get("plotly_chart"))


def test_a_network_is_shown_in_a_sentence_panels_and_a_table(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project(run=False)
    add(project, "net", {**network_summary(*SEEN), "extended": {"rows": 3}})
    test = opened(pages, project, run="net")
    said = told(test)
    assert "3 samples added after the run: estimated too, but none is judged below." in said
    assert "Of these: 3 audit, 12 labelled for the network, 3 added after the run." in said
    assert "On samples and items never seen: Spearman of the samples 0.50." in said
    assert "Label more samples for a finer cut" in said
    assert not any("landmark" in warning.value for warning in test.warning)
    assert "10 by the teacher, 49 by the network, 1 without a score" in said
    assert "LESS on 10 samples against 6 target samples. 5 more samples only judge it." in said
    assert "Words (778 numbers per text). Words alone: enough." in said
    assert "epoch 2 of 3" in said
    assert {m.label: m.value for m in test.metric}["Language-model passes saved"] == "93 %"
    lines = next(frame.value for frame in test.dataframe if "Judged on" in frame.value)
    assert lines["Judged on"].tolist() == list(network_view.QUADRANT_NAMES.values())
    assert lines["Spearman of pairs"].tolist() == ["0.62"] * 4
    assert lines.iloc[0][["Network's error", "Mean's error", "At random", "Linear model", "Kernel ridge"]].tolist() == [
        "0.02", "0.04", "0.08", "0.03", "0.01",
    ]  # fmt: skip
    assert "Remark" not in lines
    assert len(charts(test)) == 3  # histogram, panels, training


def test_panels_share_their_axes_and_hold_their_own_pairs() -> None:
    near, far = np.array([[0, 0], [1, 1]], np.float32), np.array([[2, 4]], np.float32)
    figure = network_view.picture([("one", near), ("two", far), ("three", near)])
    points = [trace for trace in figure.data if trace.mode == "markers"]
    assert [len(trace.x) for trace in points] == [2, 1, 2]
    assert all(trace.x.dtype == np.float32 and trace.text is None for trace in points)
    assert {tuple(axis.range) for axis in (*figure.select_xaxes(), *figure.select_yaxes())} == {(-0.2, 4.2)}
    diagonals = [trace for trace in figure.data if trace.mode == "lines"]
    assert all(list(trace.x) == list(trace.y) for trace in diagonals)
    assert len(diagonals) == 3


@pytest.mark.parametrize("points", [np.zeros((1, 2), np.float32), np.full((3, 2), 0.5, np.float32)])
def test_equal_values_still_have_axes(points: np.ndarray) -> None:
    low, high = network_view.bounds(points)
    assert low < points.min()
    assert high > points.max()


def test_an_undefined_figure_shows_its_reason(pages: Any, make_project: Callable[..., Project]) -> None:
    project, summary = make_project(run=False), network_summary("neither")
    summary["network"]["quadrants"] = [quadrant("neither", None, reason="2 pairs are too few")]
    summary["network"]["quadrants"][0]["share_of_mean"] = None
    summary["passes"] = {"equivalents": 0, "full_equivalents": 0, "saved": None}
    summary["network"]["fit"] = {"epochs": 100, "best": 100, "errors": [], "error": None, "constant": False}
    add(project, "net", summary)
    test = opened(pages, project, run="net")
    lines = next(frame.value for frame in test.dataframe if "Judged on" in frame.value)
    assert lines["Spearman of pairs"].tolist() == ["–"]
    assert lines["Remark"].tolist() == ["2 pairs are too few"]
    said = told(test)
    assert "runs no language model, so there were no passes to save" in said
    assert "too few labelled samples to keep some for validation" in said
    assert {m.label: m.value for m in test.metric}["Language-model passes saved"] == "–"
    assert "None" not in said
    assert "nan" not in network_view.heading(summary["network"]["quadrants"][0], summary["network"])


def test_a_network_of_ratings_has_one_panel_and_no_target(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project(targets=False, run=False)
    add(project, "net", network_summary("items", teacher="selectit", pointwise=True), teacher="selectit")
    test = opened(pages, project, run="net")
    lines = next(frame.value for frame in test.dataframe if "Judged on" in frame.value)
    assert lines["Judged on"].tolist() == ["New samples"]
    assert "Spearman of pairs" not in lines
    assert "SelectIT on 10 samples. 5 more" in told(test)


def test_nothing_kept_out_of_the_fit_is_said_and_nothing_is_drawn(
    pages: Any, make_project: Callable[..., Project]
) -> None:
    project, summary = make_project(run=False), network_summary()
    summary["counts"] = {"exact": 60, "propagated": 0, "unscorable": 0}
    add(project, "net", summary)
    test = opened(pages, project, run="net")
    assert "The teacher scored every sample itself" in told(test)
    assert "Nothing was kept out of the fit, so there is nothing to show" in told(test)
    assert not any("Judged on" in frame.value for frame in test.dataframe)


@pytest.mark.parametrize("method", ["less", "delift", "delift-se", "selectit", "rds"])
def test_a_function_asked_of_every_sample_needs_no_audit(
    pages: Any, make_project: Callable[..., Project], method: str
) -> None:
    project, summary = make_project(run=False), network_summary(pointwise=method == "selectit")
    kept = {"sets": summary["sets"], "counts": {"exact": 59, "propagated": 0, "unscorable": 1}}
    add(project, "run", kept, method=method)
    test = opened(pages, project, run="run")
    assert "asked of every sample, so nothing was propagated" in told(test)
    assert not test.error
    assert "How well the network estimates" not in told(test)


@pytest.mark.parametrize("pointwise", [False, True])
def test_every_page_shows_such_runs(
    pages: Any, make_project: Callable[..., Project], add_run: Callable[..., Any], pointwise: bool
) -> None:
    project = make_project(targets=not pointwise)
    summary = network_summary("items", teacher="selectit" if pointwise else "less", pointwise=pointwise)
    add(project, "net", summary, teacher="selectit" if pointwise else "less")
    add(project, "plain", {"sets": summary["sets"], "counts": {"exact": 59}}, method="selectit" if pointwise else "rds")
    for run in ("net", "plain"):
        for page in ("3_Map.py", "5_Compare.py"):
            opened(pages, project, page, run=run)
        test = opened(pages, project, "4_Review.py", run=run, sample="row-20")
        said = told(test)
        learnt = f"Estimated by a network that learnt {'SelectIT' if pointwise else 'LESS'}"
        assert (learnt if run == "net" else f"Scored by {'SelectIT' if pointwise else 'RDS+'} itself.") in said
        assert "landmark" not in said.replace("run landmark", "")
        assert ("Estimated by the network (teacher: less)" in said) == (run == "net" and not pointwise)
        assert ("helps most" in said) == (not pointwise)


def test_who_labelled_a_sample_is_said(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project(run=False)
    add(project, "net", network_summary("items"))
    for sample, words in (
        ("row-3", "Labelled by the network's teacher, LESS."),
        ("row-11", "Labelled by LESS for some target samples, estimated by the network for the others."),
        ("row-57", "Added after the run and estimated by its network, taught by LESS; no audit sample stands for it."),
        ("row-59", "It has no score."),
    ):
        assert words in told(opened(pages, project, "4_Review.py", run="net", sample=sample)), sample


def test_hostile_names_stay_text(pages: Any, make_project: Callable[..., Project], hostile: str) -> None:
    project, summary = make_project(run=False), network_summary("items")
    summary["network"] |= {"teacher": hostile, "sentence": hostile}
    summary["network"]["inputs"] |= {"name": hostile, "why": hostile}
    summary["network"]["quadrants"].append({"name": hostile})  # of no quadrant: not shown
    add(project, "net", summary)
    test = opened(pages, project, run="net")
    shown = [element.value for element in (*test.markdown, *test.caption)]
    assert sum(value.count(plain(hostile)) for value in shown) == 4  # sentence, teacher, inputs, why
    assert not any("evil" in value.replace(plain(hostile), "") for value in shown)


def test_the_verdict_on_a_network_goes_by_its_audit() -> None:
    counts = {"exact": 10, "propagated": 50}
    bad = {"spearman": 0.1, "interval": [-0.1, 0.3], "reasons": {}}
    kind, words = trust.of_run("network", {"counts": counts, "fidelity": bad})
    assert kind == "error"
    assert "landmark" not in words
    assert "teacher itself" in words
    assert "exact method" in trust.of_run("landmark", {"counts": counts, "fidelity": bad})[1]
    assert trust.of_run("network", {"counts": counts})[0] == "warning"


def test_a_run_without_a_network_tells_nothing_of_one() -> None:
    assert provenance._learnt({}) == {}
    assert described({"counts": {"exact": 3}})[-1] == "samples: 3 exact"


def test_the_shell_says_it_in_words() -> None:
    summary = network_summary("both", "neither")
    summary["network"]["quadrants"][0]["estimates"]["network"]["pairs"] = measure(None, "all are equal")
    lines = described(summary | {"pool_network": {"sentence": "On pairs held out: 0.4."}})
    whole = "\n".join(lines)
    assert summary["network"]["sentence"] in lines
    assert "The teacher less labelled 10 samples (17.0%) against 6 items to learn from, and 5 audit samples" in whole
    assert "of both (40 pairs): Spearman of pairs undefined (all are equal), of samples 0.50" in whole
    assert "errors: network 0.02, mean 0.04, random 0.08, linear 0.03, kernel 0.01" in whole
    assert "Language-model passes saved: 93% (70 of 1,000, backward as three)." in whole
    assert "Second network, of pool samples on pool samples: On pairs held out: 0.4." in lines
