"""From a run's scores to a saved selection: people first, then the strategy, with weights where it gives them."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.data.samples import Message, Row, SourceInfo
from engine.errors import EngineError
from engine.export.export import export
from engine.export.plan import Plan, named
from engine.runs.choice import Choice
from engine.runs.choosing import choose, select
from engine.store import artifacts
from engine.store.project import Project
from engine.store.records import RunRecord

SCORE = np.array([0.1, 0.9, np.nan, 0.5, 0.4, 0.2], np.float32)


@pytest.fixture
def project(tmp_path):
    """Seven rows, a run that covers six of them, row 0 approved and row 1 rejected."""
    made = Project.create(tmp_path / "project")
    rows = [
        Row(i + 1, json.dumps({"i": i}), f"s{i}", (Message("user", "q"), Message("assistant", f"a{i}")), {})
        for i in range(7)
    ]
    made.add_rows("pool", "", SourceInfo("/data/a.jsonl", "aa", 9, "jsonl", {"schema": "chat", "fields": {}}), rows)
    status = np.where(np.isnan(SCORE), 0, 1).astype(np.uint8)
    arrays = {"score": SCORE, "status": status, "matrix": np.stack([SCORE, -SCORE], axis=1)}
    with artifacts.create(made.artifacts, "scores", "k", {}) as folder:
        for name, array in arrays.items():
            artifacts.save_array(folder, name, array)
    summary = {"sets": [{"name": "maths", "items": [0, 1]}]}
    made.add_run(RunRecord("r", "exact", "builtin", {}, "scores-k", 6, made.pool_hash(), ["maths"], summary=summary))
    made.decide([0], "approve", by="Ada")
    made.decide([1], "reject", by="Ada")
    return made


def test_weights_are_chosen_saved_and_read_again(project):
    saved, chosen = select(project, Choice(size="3", strategy="weights"), run="r", name="best", by="Ada")
    assert chosen.rows.tolist() == [0, 3, 4]
    assert chosen.weights == pytest.approx([1, 1.2, 0.8], rel=1e-5)  # 0.5 − 0.2 and 0.4 − 0.2, the mean one
    assert saved.spec["strategy"] == "weights" and "notes" not in saved.spec
    kept = project.selection("best")
    assert kept.weights.dtype == np.float32 and kept.weights == pytest.approx(chosen.weights)


def test_strategies_without_weights_save_none(project):
    for strategy in ("top", "round-robin"):
        saved, chosen = select(project, Choice(size="3", strategy=strategy), run="r", name=strategy, by="Ada")
        assert saved.weights is None and chosen.weights is None and 0 in saved.rows and 1 not in saved.rows


def test_what_no_lambda_can_do_is_kept_with_the_selection(project):
    saved, chosen = select(project, Choice(size="4", strategy="weights"), run="r", name="all", by="Ada")
    assert chosen.rows.tolist() == [0, 3, 4, 5] and chosen.weights.tolist() == [1, 1, 1, 1]
    assert saved.spec["notes"] == list(chosen.notes) and "equal" in chosen.notes[0]


def test_unknown_strategies_and_settings_without_a_use_are_refused():
    with pytest.raises(EngineError, match="strategies: top, round-robin, weights, facility-location"):
        Choice(size="2", strategy="best")
    for setting in ({"among": "30%"}, {"tradeoff": 0.2}, {"targets": ("maths",)}, {"greedy": "lazy"}):
        with pytest.raises(EngineError, match=f"top has no use for {next(iter(setting))}; it matters to"):
            Choice(size="2", **setting)
    assert Choice(size="2", seed=4).said() == {"strategy": "top", "size": "2", "seed": 4}
    for among in ("30", "0%", "101%", "many"):
        with pytest.raises(EngineError, match="such as 30%"):
            Choice(size="2", strategy="diverse", among=among)
    with pytest.raises(EngineError, match=r"between 0\.0 and 1\.0"):
        Choice(size="2", strategy="diverse", tradeoff=1.5)


def test_scores_of_one_target_and_rows_left_out(project):
    score = np.array([0, 0, 5, 1, 2, 3], np.float32)
    barred = np.arange(7) == 5
    chosen = choose(project, project.run("r"), Choice(size="3"), score=score, barred=barred)
    assert chosen.rows.tolist() == [0, 2, 4]  # 0 approved, 1 rejected, 5 left out


@pytest.mark.parametrize("format", ["original", "chat", "alpaca", "parquet", "hf"])
def test_every_form_of_export_carries_the_weights(project, tmp_path, format):
    saved, chosen = select(project, Choice(size="3", strategy="weights"), run="r", name="best", by="Ada")
    out = tmp_path / "out"
    report = export(project, saved, out, plan=Plan(**named(format)))
    told = json.loads(report.manifest.read_text())
    assert told["weights"] == pytest.approx(chosen.weights) and np.mean(told["weights"]) == pytest.approx(1)
    if format == "original":
        assert out.read_bytes() == b'{"i": 0}\n{"i": 3}\n{"i": 4}\n'
        assert any("they stand in the manifest" in note for note in report.notes)
        return
    if format == "parquet":
        records = pq.read_table(out).to_pylist()
    elif format == "hf":
        import datasets

        records = datasets.load_from_disk(out).to_list()
    else:
        records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["id"] for r in records] == ["s0", "s3", "s4"]
    assert [r["weight"] for r in records] == pytest.approx(chosen.weights)
    assert told["output"]["columns"] == ["weight"]


@pytest.mark.parametrize("format", ["original", "chat", "parquet"])
def test_without_weights_no_form_names_them(project, tmp_path, format):
    saved, _ = select(project, Choice(size="3", strategy="top"), run="r", name="best", by="Ada")
    report = export(project, saved, tmp_path / "out", plan=Plan(**named(format)))
    assert json.loads(report.manifest.read_text())["weights"] is None
    assert b"weight" not in (tmp_path / "out").read_bytes()
