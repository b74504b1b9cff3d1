"""Features kept by the map job, and those of targets and owned data on the same scale."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.data.samples import Message
from engine.errors import Cancelled, EngineError
from engine.gradients import embeddings
from engine.maps import build, layout, sentence
from engine.models.loading import load
from engine.models.tokens import encode
from engine.progress import Silent
from engine.runs import features, intake, sides
from engine.runs.jobfolder import JobFolder, held
from engine.runs.jobs import create_job, job
from engine.runs.map_config import MapConfig
from engine.runs.sides import STAGE, all_sides, side_key, side_of
from engine.runs.similarity import selection_features
from engine.runs.work import work
from engine.store import artifacts
from engine.store.doctor import doctor
from engine.store.project import Project
from engine.store.records import MapRecord

Counted = list[int]


@pytest.fixture(autouse=True)
def quick_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two features in place of UMAP, whose first fit compiles for half a minute."""

    def fit(values: np.ndarray, *_: object, **__: object) -> tuple[np.ndarray, str]:
        return values[:, :2].astype(np.float32), "UMAP"

    monkeypatch.setattr(layout, "fit", fit)


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """The number of rows of every batch that is run through the language model."""
    counted: Counted = []
    run = embeddings.HiddenStates.__call__

    def call(self: Any, batch: Any) -> torch.Tensor:
        counted.append(len(batch.rows))
        return run(self, batch)

    monkeypatch.setattr(embeddings.HiddenStates, "__call__", call)
    return counted


def make_map(project: Project, model: Path | str, **changes: Any) -> JobFolder:
    folder = create_job(project, "map", MapConfig(**{"features": "hidden", "model": str(model), **changes}))
    work(project.path, folder.id)
    assert job(project, folder.id).state == "done"
    return folder


def add(project: Project, role: str, name: str, lines: list[str], path: Path) -> None:
    path.write_text("".join(lines), encoding="utf-8")
    if role == "owned":
        intake.add_owned(project, path)
    else:
        intake.add_target(project, name, path)


def pool_lines(tmp_path: Path) -> list[str]:
    return (tmp_path / "pool.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)


def kept_sides(project: Project) -> dict[str, float]:
    return {p.name: p.stat().st_mtime for p in project.artifacts.glob(f"{STAGE}-*")}


def direct(messages: tuple[Message, ...], folder: Path, max_length: int) -> np.ndarray:
    """Σ_t t·h_t / Σ_t t of one row by itself, without a batch."""
    lm = load(folder, device="cpu")
    row = encode(messages, lm.tokenizer, max_length=min(max_length, lm.max_length))
    with torch.no_grad():
        hidden = lm.model.model(input_ids=torch.tensor(row.ids[None].astype(np.int64))).last_hidden_state[0]  # (T, H)
    weights = torch.arange(1, len(hidden) + 1, dtype=torch.float32)  # (T,)
    return ((weights[:, None] * hidden).sum(0) / weights.sum()).numpy()


def test_kept_features_equal_those_computed_row_by_row(project: Project, toy_model: Path, tmp_path: Path) -> None:
    add(project, "owned", "", pool_lines(tmp_path)[:2], tmp_path / "owned.jsonl")
    make_map(project, toy_model, max_length=48)
    found = selection_features(project)
    assert (len(found), found.pool.dtype, found.pool.shape) == (40, np.float32, (40, 16))
    assert isinstance(found.pool, np.memmap)
    assert found.recipe["precision"] == "float32"
    for role, name, values in (
        ("pool", "", found.pool),
        ("target", "colours", found.side("target", "colours")),
        ("owned", "", found.side("owned")),
    ):
        rows = project.rows(range(len(values)), role=role, set_name=name)
        slow = np.stack([direct(row.messages, toy_model, 48) for row in rows])
        np.testing.assert_allclose(values, slow, rtol=1e-4, atol=1e-5)


def test_neighbours_are_those_of_the_kept_features(project: Project, toy_model: Path) -> None:
    make_map(project, toy_model, neighbours=4)
    found = selection_features(project)
    assert found.neighbours.shape == found.distances.shape == (40, 4)
    unit = found.pool / np.linalg.norm(found.pool, axis=1, keepdims=True)
    cosine = 1 - unit @ unit.T
    np.fill_diagonal(cosine, np.inf)
    np.testing.assert_allclose(found.distances, np.sort(cosine, axis=1)[:, :4], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(cosine, found.neighbours, axis=1), found.distances, atol=1e-5)


def test_the_same_text_has_the_same_features_in_every_role(project: Project, toy_model: Path, tmp_path: Path) -> None:
    lines = pool_lines(tmp_path)
    add(project, "target", "repeated", [lines[31], lines[7]], tmp_path / "repeated.jsonl")
    make_map(project, toy_model)
    add(project, "owned", "", lines[10:14], tmp_path / "owned.jsonl")  # after the map: on demand
    found = selection_features(project)
    np.testing.assert_allclose(found.side("target", "repeated"), found.pool[[31, 7]], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.side("owned"), found.pool[10:14], rtol=1e-4, atol=1e-6)
    assert not np.allclose(found.side("target", "sums")[:2], found.pool[:2], atol=1e-3)


def test_a_new_target_changes_no_map_and_asks_only_for_its_own_features(
    project: Project, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: Counted
) -> None:
    first = make_map(project, toy_model)
    assert sum(embedded) == 40 + 5 + 3
    before = kept_sides(project)
    assert len(before) == 2
    add(project, "target", "late", pool_lines(tmp_path)[:6], tmp_path / "late.jsonl")
    monkeypatch.setattr(build, "build_map", None)
    embedded.clear()
    second = make_map(project, toy_model)
    assert second.result["map"] == first.result["map"]
    assert sum(embedded) == 6
    after = kept_sides(project)
    assert len(after) == 3
    assert before.items() <= after.items()
    embedded.clear()
    make_map(project, toy_model)
    assert (embedded, kept_sides(project)) == ([], after)
    assert len(project.maps()) == 1


def test_on_demand_equals_job_made(project: Project, toy_model: Path, tmp_path: Path, embedded: Counted) -> None:
    make_map(project, toy_model)
    found = selection_features(project)
    for role, name, first in (("target", "late", 20), ("owned", "", 14)):
        add(project, role, name, pool_lines(tmp_path)[first:][:26], tmp_path / f"{role}.jsonl")
        embedded.clear()
        asked = np.array(found.side(role, name))
        assert sum(embedded) == len(asked)
        np.testing.assert_array_equal(found.side(role, name), asked)
        assert sum(embedded) == len(asked), "kept features were computed again"
        artifact = project.artifacts / f"{STAGE}-{side_key(found.recipe, side_of(project, role, name))}"
        shutil.rmtree(artifact)
        make_map(project, toy_model)
        assert artifact.is_dir()
        np.testing.assert_array_equal(found.side(role, name), asked)
    assert list(project.temp.glob(f"{STAGE}*")) == []
    assert doctor(project) == []


def test_owned_data_that_grew_is_another_set(project: Project, toy_model: Path, tmp_path: Path) -> None:
    lines = pool_lines(tmp_path)
    add(project, "owned", "", lines[:3], tmp_path / "a.jsonl")
    make_map(project, toy_model)
    found = selection_features(project)
    before = np.array(found.side("owned"))
    add(project, "owned", "", lines[3:5], tmp_path / "b.jsonl")
    after = found.side("owned")
    assert (before.shape, after.shape) == ((3, 16), (5, 16))
    np.testing.assert_allclose(after[:3], before, rtol=1e-4, atol=1e-6)
    assert [side.role for side in all_sides(project)] == ["target", "target", "owned"]


class _Stopping(Silent):
    """Cancels at the given check."""

    def __init__(self, at: int) -> None:
        self.left = at

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cancelled("stopped")


@pytest.mark.parametrize("at", [1, 4, 9, 16])
def test_a_killed_computation_goes_on_from_its_shards(
    project: Project, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: Counted, at: int
) -> None:
    make_map(project, toy_model)
    add(project, "owned", "", pool_lines(tmp_path), tmp_path / "owned.jsonl")
    found = selection_features(project)
    whole = np.array(found.side("owned"))
    shutil.rmtree(project.artifacts / f"{STAGE}-{side_key(found.recipe, side_of(project, 'owned'))}")
    monkeypatch.setattr(features, "SHARD_ROWS", 5)
    embedded.clear()
    with pytest.raises(Cancelled):
        found.side("owned", reporter=_Stopping(at))
    assert len(kept_sides(project)) == 2
    done = sum(len(np.load(p)["array:values"]) for p in project.temp.rglob("*.npz"))
    assert done in {0, 5, 10, 15, 20, 25, 30, 35}
    ran, again = sum(embedded), found.side("owned")
    np.testing.assert_allclose(again, whole, rtol=1e-4, atol=1e-6)
    assert sum(embedded) - ran == 40 - done
    assert list(project.temp.glob(f"{STAGE}*")) == []


def test_a_map_job_killed_in_its_features_goes_on_from_its_shards(
    project: Project, toy_model: Path, monkeypatch: pytest.MonkeyPatch, embedded: Counted
) -> None:
    monkeypatch.setattr(features, "SHARD_ROWS", 8)
    folder = create_job(project, "map", MapConfig(features="hidden", model=str(toy_model)))
    run = features.HiddenFeatures._shard

    def shard(self: Any, table: Any, rows: np.ndarray) -> Any:
        if len(table) < 40:
            raise KeyboardInterrupt  # as if killed once the pool is done and the first target begins
        return run(self, table, rows)

    monkeypatch.setattr(features.HiddenFeatures, "_shard", shard)
    with pytest.raises(KeyboardInterrupt):
        work(project.path, folder.id)
    assert (sum(embedded), kept_sides(project), project.maps()) == (40, {}, [])
    monkeypatch.setattr(features.HiddenFeatures, "_shard", run)
    work(project.path, folder.id)
    assert job(project, folder.id).state == "done"
    assert sum(embedded) == 48
    assert selection_features(project).side("target", "sums").shape == (5, 16)


def test_a_map_job_killed_while_it_records_goes_on(
    project: Project, toy_model: Path, monkeypatch: pytest.MonkeyPatch, embedded: Counted
) -> None:
    folder = create_job(project, "map", MapConfig(features="hidden", model=str(toy_model)))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("engine.runs.mapping_job.keep_sides", killed)
        with pytest.raises(KeyboardInterrupt):
            work(project.path, folder.id)
    assert (kept_sides(project), project.maps()) == ({}, [])
    work(project.path, folder.id)
    assert sum(embedded) == 48, "features were computed again"
    assert len(kept_sides(project)) == 2
    assert folder.result["map"] == project.maps()[0].name


def test_no_map_and_no_set_say_what_to_do(project: Project, toy_model: Path) -> None:
    with pytest.raises(EngineError, match=r"no map yet.*Run map first"):
        selection_features(project)
    make_map(project, toy_model)
    found = selection_features(project)
    with pytest.raises(EngineError, match="no target set 'none'; target sets: sums, colours"):
        found.side("target", "none")
    with pytest.raises(EngineError, match=r"no owned data.*add-owned"):
        found.side("owned")
    with pytest.raises(EngineError, match="expected target, heldout, owned"):
        found.side("pool")
    assert len(kept_sides(project)) == 2


def test_rows_added_later_have_no_features(
    project: Project, toy_model: Path, more_rows: Callable[[Project, int], None]
) -> None:
    make_map(project, toy_model)
    more_rows(project, 5)
    with pytest.raises(EngineError, match=r"first 40 samples.*45 are needed: 5 samples that were added later"):
        selection_features(project)
    assert len(selection_features(project, rows=40)) == 40
    make_map(project, toy_model)
    assert len(selection_features(project)) == 45
    assert len(kept_sides(project)) == 2, "the targets are the same, and so is the recipe"


def test_a_map_without_features_is_made_again_by_the_same_settings(project: Project, toy_model: Path) -> None:
    with artifacts.create(project.artifacts, "map", "0123456789abcdef", {"config": {}}) as place:
        np.save(place / "xy.npy", np.zeros((40, 2), np.float32))
    old = MapRecord("map-old", "map-0123456789abcdef", 40, project.pool_hash(), "hidden")
    project.add_map(old)
    with pytest.raises(EngineError, match=r"before maps kept their features. Run map again"):
        selection_features(project)
    make_map(project, toy_model)
    assert len(selection_features(project)) == 40
    assert (project.artifacts / old.artifact / "xy.npy").is_file()


def test_the_key_of_a_map_of_the_first_format_is_another(project: Project, toy_model: Path) -> None:
    folder = make_map(project, toy_model)
    spec = folder.spec
    config = {name: value for name, value in spec["config"].items() if name not in ("model", "features")}
    first = artifacts.artifact_key(
        stage="map",
        pool=project.pool_hash(),
        rows=40,
        features="hidden",
        model=spec["model"]["sha256"],
        config=config,
    )
    assert spec["keys"]["map"] != first


def test_results_of_an_earlier_version_are_not_recorded_as_a_map(project: Project, toy_model: Path) -> None:
    folder = create_job(project, "map", MapConfig(features="hidden", model=str(toy_model)))
    for part in ("map", "signals"):  # as left by a version that kept no features
        (folder.output / part).mkdir()
        artifacts.write_json(folder.output / part / "summary.json", {})
    artifacts.write_json(folder.output / "summary.json", {"parts": ["map", "signals"]})
    with pytest.raises(EngineError, match="lack the map's features"):
        work(project.path, folder.id)
    assert (project.maps(), list(project.artifacts.glob("map-*"))) == ([], [])
    make_map(project, toy_model)
    assert len(selection_features(project)) == 40


def test_a_changed_model_is_refused(project: Project, toy_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(toy_model, tmp_path / "model"))
    make_map(project, model)
    add(project, "owned", "", pool_lines(tmp_path)[:3], tmp_path / "owned.jsonl")
    (model / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    with pytest.raises(EngineError, match=r"has changed since the map was made.*Run map again"):
        selection_features(project).side("owned")
    assert len(kept_sides(project)) == 2


def test_one_process_computes_at_a_time(
    project: Project, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: Counted
) -> None:
    make_map(project, toy_model)
    add(project, "owned", "", pool_lines(tmp_path)[:3], tmp_path / "owned.jsonl")
    found = selection_features(project)
    monkeypatch.setattr(sides, "WAIT_S", 0.1)
    embedded.clear()
    with held(project.temp / f".{STAGE}.lock"):
        with pytest.raises(EngineError, match="Another process computes"):
            found.side("owned")
        assert found.side("target", "sums").shape == (5, 16)  # what is kept needs no turn
    assert embedded == []
    assert found.side("owned").shape == (3, 16)


def test_features_of_another_recipe_are_never_kept(
    project: Project, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_map(project, toy_model)
    add(project, "owned", "", pool_lines(tmp_path)[:3], tmp_path / "owned.jsonl")
    made = features.HiddenFeatures.__init__

    def other(self: Any, spec: dict[str, Any], reporter: Any) -> None:
        made(self, {**spec, "precision": "bfloat16"}, reporter)

    monkeypatch.setattr(features.HiddenFeatures, "__init__", other)
    with pytest.raises(EngineError, match="cannot be compared"):
        selection_features(project).side("owned")
    assert len(kept_sides(project)) == 2


def test_sides_are_computed_in_the_precision_of_their_map(
    project: Project, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.models import loading

    choose = loading.choose_dtype
    with monkeypatch.context() as patch:  # a machine that prefers half precision
        patch.setattr(loading, "choose_dtype", lambda dtype, **how: choose("bfloat16", **how))
        make_map(project, toy_model)
    found = selection_features(project)
    assert found.recipe["precision"] == "bfloat16"
    lines = pool_lines(tmp_path)
    add(project, "owned", "", lines[:4], tmp_path / "owned.jsonl")
    np.testing.assert_allclose(found.side("owned"), found.pool[:4], rtol=0.05, atol=0.05)
    add(project, "target", "late", lines[:4], tmp_path / "late.jsonl")
    assert make_map(project, toy_model).spec["precision"] == "bfloat16"
    np.testing.assert_array_equal(found.side("target", "late"), found.side("owned"))


def test_rows_without_features_are_nan(
    project: Project, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = embeddings.HiddenStates.__call__

    def call(self: Any, batch: Any) -> torch.Tensor:
        out = run(self, batch)
        out[torch.from_numpy(batch.rows == 1)] = torch.nan
        return out

    monkeypatch.setattr(embeddings.HiddenStates, "__call__", call)
    make_map(project, toy_model)
    found = selection_features(project)
    lost = np.isnan(found.pool).all(axis=1)
    assert np.flatnonzero(lost).tolist() == [1]
    assert (found.neighbours[1] == -1).all()
    assert np.isnan(found.side("target", "sums")).all(axis=1).tolist() == [False, True, False, False, False]


class _Words:
    """An encoder without weights: counts of letters, of unit length."""

    device, sha256 = torch.device("cpu"), "letters"

    def encode(self, texts: list[str], *, reporter: Any = None, **_: object) -> np.ndarray:
        counts = np.array([[text.count(c) + 0.01 for c in "abcdefghij0123456789"] for text in texts], np.float32)
        if reporter is not None:
            reporter.advance(len(texts))
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_sentence_features_take_the_same_way(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence, "load_encoder", lambda **_: _Words())
    lines = pool_lines(tmp_path)
    add(project, "owned", "", lines[:3], tmp_path / "owned.jsonl")
    make_map(project, "builtin", features="sentence")
    add(project, "target", "late", lines[3:5], tmp_path / "late.jsonl")
    found = selection_features(project)
    assert found.recipe == {"features": "sentence", "model": "letters"}
    np.testing.assert_array_equal(found.side("owned"), found.pool[:3])
    np.testing.assert_array_equal(found.side("target", "late"), found.pool[3:5])
    joined = [f"{row.messages[0].content} {row.messages[1].content}" for row in project.rows(range(40))]
    np.testing.assert_array_equal(found.pool, _Words().encode(joined))


@pytest.mark.parametrize(("largest", "kept"), [(60_000.0, "float16"), (70_000.0, "float32")])
def test_a_large_table_is_kept_in_half_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, largest: float, kept: str
) -> None:
    values = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    values[2], values[3, 1] = np.nan, largest
    assert features.write_features(values, tmp_path / "whole.npy").startswith("float32: ")
    np.testing.assert_array_equal(np.load(tmp_path / "whole.npy"), values)
    monkeypatch.setattr(features, "FLOAT32_UP_TO", 4 * values.size - 1)
    monkeypatch.setattr(features, "_BLOCK_ROWS", 3)
    assert features.write_features(values, tmp_path / "small.npy").startswith(f"{kept}: ")
    small = np.load(tmp_path / "small.npy")
    assert small.dtype == kept
    np.testing.assert_allclose(small, values, rtol=1e-3, atol=1e-4)
    assert np.isnan(small[2]).all()


def test_a_map_of_features_in_half_precision_says_so(
    project: Project, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "FLOAT32_UP_TO", 0)
    folder = make_map(project, toy_model)
    found = selection_features(project)
    assert found.pool.dtype == np.float16
    assert any("kept as float16" in line for line in folder.log_tail())
    assert found.map.summary["kept"] == "float16 (40, 16)"
