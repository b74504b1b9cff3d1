"""Runs by an influence function: its own values, joined as told, through a job and across kills."""

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from engine.errors import EngineError
from engine.influence.functions.costs import predicted_passes
from engine.influence.functions.selectit import SelectIt, parameter_count
from engine.models.loading import load
from engine.models.sources import ModelSource
from engine.models.table import Encoded, TokenTable
from engine.progress import Silent
from engine.runs import by_function, intake, scoring_job
from engine.runs.config import ScoreConfig
from engine.runs.function_config import FunctionConfig
from engine.runs.functions import Materials, make_function
from engine.runs.inputs import TargetView, View
from engine.runs.jobfolder import JobFolder
from engine.runs.jobs import create_job, job
from engine.runs.runjob import compute
from engine.runs.scored import WARM_UP
from engine.runs.scoring_job import score_key
from engine.runs.work import work
from engine.store.project import Project
from tests.engine.runs.conftest import POOL_ROWS, write_chats

DIRECT = ("rds", "delift", "less", "selectit", "delift-se")


class Letters:
    """Counts letters instead of running a sentence model."""

    dim, name, sha256, device = 4, "letters", "ab" * 32, "cpu"

    def encode(self, given: list[str], **_: Any) -> np.ndarray:
        """Shares of four letters, unit length."""
        found = np.array([[text.count(letter) + 1 for letter in "aeio"] for text in given], np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def _encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence model that needs no files."""
    from engine.maps import sentence

    monkeypatch.setattr(sentence, "load_encoder", lambda **_: Letters())


@pytest.fixture
def config(roomy_model: Path) -> ScoreConfig:
    return ScoreConfig(method="rds", model=str(roomy_model), warm_up_epochs=2, lora_rank=2, less_width=64)


def prepared(project: Project, config: ScoreConfig) -> JobFolder:
    """A job whose inputs are written."""
    folder = create_job(project, "score", config)
    scoring_job.prepare_score(project, folder, Silent())
    return folder


def results(folder: JobFolder) -> dict[str, Any]:
    """Every array and the summary."""
    found: dict[str, Any] = {path.stem: np.load(path) for path in folder.output.glob("*.npy")}
    return found | {"summary": json.loads((folder.output / "summary.json").read_text(encoding="utf-8"))}


def computed(project: Project, config: ScoreConfig) -> dict[str, Any]:
    """The results of a fresh job, apart from the project's artifacts."""
    folder = prepared(project, config)
    compute(folder, Silent())
    return results(folder)


@pytest.mark.parametrize("method", DIRECT)
def test_the_matrix_is_the_function_called_by_itself(project: Project, config: ScoreConfig, method: Any) -> None:
    config = replace(config, method=method)
    folder = create_job(project, "score", config)
    work(project.path, folder.id)
    run = project.run(job(project, folder.id).result["run"])
    place = project.artifacts / run.artifact
    matrix, score, status, roles = (np.load(place / f"{n}.npy") for n in ("matrix", "score", "status", "roles"))
    again = prepared(project, replace(config, seed=config.seed, batch_tokens=config.batch_tokens + 1))
    function = make_function(method, Materials(again, config, Silent()))
    expected = function(np.arange(POOL_ROWS)).matrix
    if function.pointwise:
        np.testing.assert_allclose(score, expected[:, 0], rtol=1e-4)
        assert matrix.shape == (POOL_ROWS, 0)
        assert (run.targets, run.summary["sets"]) == ([], [])
    else:
        np.testing.assert_allclose(matrix, expected, rtol=1e-3, atol=1e-5)
        columns = np.stack([matrix[:, :5].mean(axis=1), matrix[:, 5:].mean(axis=1)], axis=1)
        np.testing.assert_allclose(score, columns.mean(axis=1), rtol=1e-4, atol=1e-6)
    assert (status == 1).all()
    assert ((roles & WARM_UP) > 0).sum() == (2 if method == "less" else 0)
    assert run.summary["passes"]["equivalents"] == function.passes.equivalents
    assert (run.model == "") == (method == "delift-se")


@pytest.mark.parametrize("aggregate", ["mean", "max"])
@pytest.mark.parametrize("across", ["mean", "max"])
@pytest.mark.parametrize("groups", ["", "source"])
def test_items_and_sets_join_as_loops_say(
    project: Project, config: ScoreConfig, aggregate: Any, across: Any, groups: str
) -> None:
    """With a set that counts against a row, a weight, and the best group of a set."""
    config = replace(
        config, aggregate=aggregate, across=across, groups=groups, avoid=("colours",), target_weights=("sums=3",)
    )
    found = computed(project, config)
    join = {"mean": np.mean, "max": np.max}[aggregate]
    sources = [[f"s{i % 3}" for i in range(1000, 1005)], [f"s{i % 3}" for i in range(2000, 2003)]]
    for row in range(POOL_ROWS):
        columns = []
        for start, named in zip((0, 5), sources):
            values = found["matrix"][row, start : start + len(named)]
            parts = {name: [v for v, other in zip(values, named) if other == name] for name in set(named)}
            columns.append(max(join(part) for part in parts.values()) if groups else join(values))
        np.testing.assert_allclose(found["columns"][row], columns, rtol=1e-5)
        expected = 3 * columns[0] - columns[1]
        np.testing.assert_allclose(found["score"][row], expected / 4 if across == "mean" else expected, rtol=1e-4)
    assert [each["weight"] for each in found["summary"]["sets"]] == [3.0, -1.0]


def test_the_order_of_the_sets_is_the_one_asked_for(project: Project, config: ScoreConfig) -> None:
    both, turned = computed(project, config), computed(project, replace(config, targets=("colours", "sums")))
    one = computed(project, replace(config, targets=("colours",)))
    np.testing.assert_allclose(turned["columns"], both["columns"][:, ::-1], rtol=1e-5)
    np.testing.assert_allclose(one["matrix"], both["matrix"][:, 5:], rtol=1e-5)
    np.testing.assert_allclose(one["score"], both["columns"][:, 1], rtol=1e-5)


def test_an_unknown_group_field_is_refused(project: Project, config: ScoreConfig) -> None:
    with pytest.raises(EngineError, match="No target sample has a field 'task' to group by"):
        computed(project, replace(config, groups="task"))


@pytest.mark.parametrize("change", [{"groups": "source"}, {"avoid": ("sums",)}, {"target_weights": ("sums=2",)}])
def test_a_pointwise_function_refuses_what_concerns_target_sets(config: ScoreConfig, change: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="rates each sample by itself"):
        replace(config, method="selectit", **change)
    with pytest.raises(EngineError, match="rates each sample by itself"):
        replace(config, method="network", teacher="selectit", **change)


class Stop(Exception):
    """The process is killed here."""


class Killed(Silent):
    """Dies at the nth advance."""

    def __init__(self, after: int) -> None:
        self.left = after

    def advance(self, n: int) -> None:
        """Count it."""
        self.left -= 1
        if self.left < 0:
            raise Stop


@pytest.mark.parametrize("method", ["rds", "less", "delift"])
def test_a_killed_run_goes_on_and_tells_the_same_passes(
    project: Project, config: ScoreConfig, monkeypatch: pytest.MonkeyPatch, method: Any
) -> None:
    monkeypatch.setattr(by_function, "SHARD", 9)
    config = replace(config, method=method)
    whole = computed(project, config)
    folder = prepared(project, config)
    for after in (3, 5):
        with pytest.raises(Stop):
            compute(folder, Killed(after))
    assert list(folder.work.glob("*.shards/*.npz")), "no shard was kept"
    compute(folder, Silent())
    found = results(folder)
    for name in whole.keys() - {"summary"}:
        np.testing.assert_array_equal(found[name], whole[name], err_msg=name)
    assert found["summary"]["passes"] == whole["summary"]["passes"]


def test_shards_of_other_rows_are_refused(project: Project, config: ScoreConfig) -> None:
    folder = prepared(project, config)
    with pytest.raises(Stop):
        compute(folder, Killed(1))
    table = TokenTable.load(folder.input / "pool")
    shorter = [Encoded(*map(np.array, table.row(i)), False) for i in range(POOL_ROWS - 1)]
    TokenTable.of([*shorter, "no response"]).save(folder.input / "pool2")
    shutil.rmtree(folder.input / "pool")
    (folder.input / "pool2").rename(folder.input / "pool")
    with pytest.raises(EngineError, match=r"for other samples \(40 then, 39 now\)"):
        compute(folder, Silent())


@pytest.mark.parametrize("method", ["rds", "network"])
def test_rows_without_a_response_have_no_score_and_their_reason(
    project: Project, config: ScoreConfig, method: Any
) -> None:
    quick = {"network_epochs": 2, "network_members": 1, "network_features": "hidden", "labelled": 0.4, "audit": 3}
    folder = prepared(project, replace(config, method=method, teacher="rds", **quick))
    table = TokenTable.load(folder.input / "pool")
    rows: list[Encoded | str] = [Encoded(*map(np.array, table.row(i)), False) for i in range(POOL_ROWS)]
    rows[4] = "a broken template"
    rows[9] = Encoded(rows[9].ids, np.zeros_like(rows[9].mask), False)  # type: ignore[union-attr]
    shutil.rmtree(folder.input / "pool")
    TokenTable.of(rows).save(folder.input / "pool")
    compute(folder, Silent())
    found = results(folder)
    np.testing.assert_array_equal(np.flatnonzero(found["status"] == 0), [4, 9])
    np.testing.assert_array_equal(np.flatnonzero(~np.isfinite(found["score"])), [4, 9])
    assert found["summary"]["problems"] == {"4": "a broken template", "9": "it has no response token"}
    assert not np.isfinite(found["matrix"][[4, 9]]).any()
    assert not found["roles"][[4, 9]].any()


def test_an_unusable_item_is_left_out_and_told(project: Project, config: ScoreConfig) -> None:
    folder = prepared(project, replace(config, method="delift"))
    place = folder.input / "targets" / "1"
    table = TokenTable.load(place)
    rows: list[Encoded | str] = [Encoded(*map(np.array, table.row(i)), False) for i in range(3)]
    shutil.rmtree(place)
    TokenTable.of([rows[0], "a broken template", rows[2]]).save(place)
    compute(folder, Silent())
    found = results(folder)
    assert [each["items"] for each in found["summary"]["sets"]] == [[0, 1, 2, 3, 4], [0, 2]]
    assert found["matrix"].shape == (POOL_ROWS, 7)
    assert (found["status"] == 1).all()
    assert any("1 target items could not be used: colours, item 2" in note for note in found["summary"]["notes"])


def test_two_models_rate_together_by_their_sizes(project: Project, config: ScoreConfig, tmp_path: Path) -> None:
    second = tmp_path / "second"
    shutil.copytree(config.model, second)
    settings = json.loads((second / "config.json").read_text(encoding="utf-8"))
    (second / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 0.5}), encoding="utf-8")
    config = replace(config, method="selectit", models=(str(second),))
    few = Project.create(tmp_path / "few")
    intake.add_pool(few, write_chats(tmp_path / "few.jsonl", 6))
    folder = prepared(few, config)
    compute(folder, Silent())
    found, texts = results(folder), Materials(folder, config, Silent()).texts
    loaded = [load(Path(path)) for path in (config.model, second)]
    rated = [SelectIt(lm, texts.pairs, max_length=512)(np.arange(6)).matrix[:, 0] for lm in loaded]
    weights = np.array([parameter_count(lm) for lm in loaded], float)
    np.testing.assert_allclose(found["score"], weights @ rated / weights.sum(), rtol=1e-4)
    assert not np.allclose(rated[0], rated[1])
    assert found["summary"]["passes"]["forward"] == 2 * 5 * 6
    assert any("2 models, weighted by their sizes" in note for note in found["summary"]["notes"])


def test_a_tokenizer_without_digits_cannot_rate(project: Project, config: ScoreConfig, tmp_path: Path) -> None:
    mute = tmp_path / "mute"
    shutil.copytree(config.model, mute)
    words = Tokenizer(models.WordLevel({"<unk>": 0, "<pad>": 1, "<s>": 2, "</s>": 3, "What": 4}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    own = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **own).save_pretrained(mute)
    with pytest.raises(EngineError, match="digit"):
        computed(project, replace(config, method="selectit", model=str(mute)))


def test_a_model_without_layers_for_lora_cannot_be_scored_by_less(
    project: Project, config: ScoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.models import adapters

    def none(*_: Any) -> None:
        raise EngineError("no transformer block with linear layers")

    monkeypatch.setattr(adapters, "block_linears", none)
    folder = prepared(project, replace(config, method="less"))
    with pytest.raises(EngineError, match="There is no layer that LoRA could adapt"):
        compute(folder, Silent())
    assert not folder.output_complete
    assert not (folder.work / "lora" / "done").exists()


def view() -> View:
    """A pool and a target."""
    return View(10, "p" * 64, (TargetView("t", 2, "h" * 64),))


SOURCE = ModelSource("m", "folder", Path("/m"), "s" * 64)


@pytest.mark.parametrize("method", ["landmark", "exact", "directional"])
def test_settings_of_functions_do_not_rename_scores_by_gradients(method: Any) -> None:
    plain = ScoreConfig(method=method)
    other = replace(plain, teacher="delift", lora_rank=3, network_hidden=7, labelled=0.2, rating_levels=7)
    assert score_key(view(), plain, SOURCE) == score_key(view(), other, SOURCE)
    assert score_key(view(), plain, SOURCE) != score_key(view(), replace(plain, seed=1), SOURCE)


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("less", {"lora_rank": 3}),
        ("less", {"less_width": 16}),
        ("selectit", {"rating_alpha": 0.3}),
        ("rds", {"groups": "source"}),
        ("network", {"teacher": "rds"}),
        ("network", {"network_hidden": 7}),
        ("network", {"labelled": 0.2}),
    ],
)
def test_settings_of_functions_name_their_scores(method: Any, change: dict[str, Any]) -> None:
    plain = ScoreConfig(method=method)
    assert score_key(view(), plain, SOURCE) != score_key(view(), replace(plain, **change), SOURCE)
    assert score_key(view(), plain, SOURCE) != score_key(view(), plain, SOURCE, [SOURCE])


def test_configurations_of_older_runs_are_read() -> None:
    known = {field.name for field in fields(FunctionConfig)} - {"seed"}
    older = {name: value for name, value in ScoreConfig(landmarks=70).to_dict().items() if name not in known}
    assert ScoreConfig.from_dict(older) == ScoreConfig(landmarks=70)
    assert score_key(view(), ScoreConfig.from_dict(older), SOURCE) == score_key(
        view(), ScoreConfig(landmarks=70), SOURCE
    )


@pytest.mark.parametrize("method", ["rds", "delift", "less", "selectit"])
def test_predicted_passes_are_those_run(project: Project, config: ScoreConfig, method: Any) -> None:
    passes = computed(project, replace(config, method=method))["summary"]["passes"]
    shape = {"rows": POOL_ROWS, "row_tokens": 0, "items": 8, "item_tokens": 0}
    predicted = predicted_passes(method, **shape, checkpoints=2)
    assert (passes["forward"], passes["backward"]) == (predicted.forward, predicted.backward)
