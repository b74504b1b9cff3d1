"""Explanations of a run's scores, and second-order weights from what a run kept."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from engine.__main__ import main
from engine.errors import EngineError
from engine.influence.quadratic import Quadratic
from engine.influence.weights import solve_weights
from engine.runs.choice import Choice
from engine.runs.choosing import choose
from engine.runs.config import ScoreConfig
from engine.runs.explaining import explain, explainer
from engine.runs.jobs import create_job
from engine.runs.scored import LANDMARK
from engine.runs.within import sentence, within
from engine.runs.work import work
from engine.store.artifacts import load_array
from engine.store.project import Project
from engine.store.records import RunRecord


def run_of(project: Project, config: ScoreConfig) -> RunRecord:
    folder = create_job(project, "score", config, run="it")
    work(project.path, folder.id)
    return project.run("it")


@pytest.fixture
def config(toy_model: Path) -> ScoreConfig:
    return ScoreConfig(model=str(toy_model), landmarks=16, audit=6, projection=4)


def test_contributions_add_up_to_the_plain_prediction(project: Project, config: ScoreConfig) -> None:
    run = run_of(project, replace(config, avoid=("colours",)))
    folder = project.artifacts / run.artifact
    status, score, roles = (load_array(folder, name) for name in ("status", "score", "roles"))
    made = explainer(project, run)
    propagated = np.flatnonzero(status == 2)[:5]
    for found in made(propagated.tolist()):
        assert all((roles[carrier.row] & LANDMARK) > 0 for carrier in found.carriers)
        assert all(np.isclose(c.contribution, c.coefficient * c.score, rtol=1e-4) for c in found.carriers)
        assert all(np.isclose(c.score, score[c.row], rtol=1e-4, atol=1e-7) for c in found.carriers)
        sizes = [abs(carrier.contribution) for carrier in found.carriers]
        assert sizes == sorted(sizes, reverse=True) and 0 < (found.share or 0) <= 1
    assert made.ridge is not None
    features = load_array(folder, "features")
    whole = made.ridge.coefficients(np.asarray(features[propagated])) @ made.landmark_scores
    plain = made.ridge.predict(np.asarray(features[propagated]))[:, 0]
    np.testing.assert_allclose(whole, plain, rtol=1e-3, atol=1e-6)


def test_exact_rows_are_carried_by_nothing_and_name_their_targets(project: Project, config: ScoreConfig) -> None:
    run = run_of(project, config)
    folder = project.artifacts / run.artifact
    status, matrix = load_array(folder, "status"), load_array(folder, "matrix")
    row = int(np.flatnonzero(status == 1)[0])
    (found,) = explain(project, run, [row])
    assert found.carriers == () and found.share is None and "Measured exactly" in found.note
    assert found.best[0][1] == pytest.approx(float(matrix[row].max()))
    assert found.worst[0][1] == pytest.approx(float(matrix[row].min()))
    names = [*(f"sums, item {i}" for i in range(1, 6)), *(f"colours, item {i}" for i in range(1, 4))]
    assert found.best[0][0] == names[int(matrix[row].argmax())]
    with pytest.raises(EngineError, match="covers 40 samples"):
        explain(project, run, [40])


def test_runs_that_propagate_nothing_are_explained_by_their_targets_alone(
    project: Project, config: ScoreConfig
) -> None:
    run = run_of(project, replace(config, method="random"))
    (found,) = explain(project, run, [3])
    assert found.carriers == () and found.best == () and found.worst == ()


def test_second_order_weights_take_the_curvature_that_the_run_kept(project: Project, config: ScoreConfig) -> None:
    settings = {"unit": "inner-product", "curvature": 6, "curvature_form": "gauss-newton"}
    run = run_of(project, replace(config, **settings))
    folder = project.artifacts / run.artifact
    p, core, factors = (load_array(folder, name) for name in ("score", "curvature", "coefficients"))
    chosen = choose(project, run, Choice(size="10", strategy="weights"))
    expected = solve_weights(p, k=10, curvature=Quadratic.low_rank(factors, core), eta=run.summary["curvature"]["eta"])
    np.testing.assert_array_equal(chosen.rows, np.sort(expected.rows))
    assert chosen.weights is not None
    ratio = chosen.weights / expected.weights[chosen.rows]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    assert chosen.weights.mean() == pytest.approx(1)


def test_curvature_needs_inner_products(config: ScoreConfig) -> None:
    with pytest.raises(EngineError, match="unit=inner-product"):
        replace(config, curvature=6)


def test_the_shell_reports_trust_cost_and_reasons(
    project: Project, config: ScoreConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(project, replace(config, landmarks=30, refine="5"))
    assert main(["report", str(project.path), "--run", "it"]) == 0
    told = capsys.readouterr().out
    assert "Refinement of the top 5:" in told and "Settings kept" in told
    assert "predicted" in told and "embeddings" in told
    assert "Within each source" in told
    assert len(told.splitlines()) == len(set(told.splitlines())), "something is said twice"
    status = load_array(project.artifacts / run.artifact, "status")
    rows = [int(np.flatnonzero(status == 2)[0]), int(np.flatnonzero(status == 1)[0])]
    assert main(["explain", str(project.path), *(f"row-{row}" for row in rows), "--run", "it"]) == 0
    told = capsys.readouterr().out
    assert "carried by the landmarks below" in told and "Measured exactly" in told and "helps most: " in told
    assert main(["explain", str(project.path), "row-1", "--run", "it", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["explanations"][0]["row"] == 1
    assert main(["report", str(project.path), "--run", "gone"]) == 1
    assert capsys.readouterr().err.startswith("Error: ")


def test_fidelity_within_a_field_is_that_of_the_audit_rows(project: Project, config: ScoreConfig) -> None:
    run = run_of(project, replace(config, audit=20, landmarks=16))
    folder = project.artifacts / run.artifact
    rows, exact, said = (load_array(folder, f"audit_{name}") for name in ("rows", "exact", "estimated"))
    found = within(project, run)
    assert found is not None and set(found.groups) <= {"s0", "s1", "s2"}
    sources = project.column("source")[rows]
    for name, measure in found.groups.items():
        inside = sources == name
        assert measure.n == inside.sum()
        if measure.value is not None:
            pair = exact[inside].mean(axis=1), said[inside].mean(axis=1)
            assert measure.value == pytest.approx(spearmanr(*pair).statistic, abs=1e-6)
    assert within(project, run, field="nothing") is None and sentence(None) == ""
