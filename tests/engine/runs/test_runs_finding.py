"""Search by meaning and likeness: vectors against the model run by itself, the nearest against a sort of all."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.curation import texts
from engine.curation.facts import Facts
from engine.curation.filters import Filter, decode, describe, encode, mask
from engine.curation.search_filters import ranked
from engine.curation.search_meaning import likeness, nearest
from engine.data.samples import Message
from engine.errors import EngineError
from engine.maps import layout
from engine.models.loading import load
from engine.models.tokens import encode as tokens_of
from engine.progress import Silent
from engine.runs import finding, intake, jobs, search_jobs
from engine.runs.jobs import create_job, job
from engine.runs.map_config import MapConfig
from engine.runs.work import work
from engine.store.project import Project

QUESTION = "What is 3 plus 6?"


@pytest.fixture(scope="module")
def made(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the toy model and a project of 40 rows, with a map by it laid out without UMAP."""

    def fit(values: np.ndarray, *_: object, **__: object) -> tuple[np.ndarray, str]:
        return values[:, :2].astype(np.float32), "UMAP"

    place = tmp_path_factory.mktemp("finding")
    shutil.copytree(toy_model, place / "model")
    lines = [{"prompt": f"What is {i} plus {2 * i}?", "completion": f"The sum is {3 * i}."} for i in range(40)]
    (place / "pool.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    mapped = Project.create(place / "project")
    intake.add_pool(mapped, place / "pool.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "fit", fit)
        do(mapped, "map", MapConfig(features="hidden", model=str(place / "model")))
    return place


@pytest.fixture
def mapped(made: Path, tmp_path: Path) -> Project:
    """A copy of the project with the map; its model stays where it is."""
    shutil.copytree(made / "project", tmp_path / "mapped")
    return Project.open(tmp_path / "mapped")


def do(project: Project, kind: Any, config: Any) -> None:
    folder = create_job(project, kind, config)
    work(project.path, folder.id)
    assert job(project, folder.id).state == "done"


def by_itself(text: str, model: Path) -> np.ndarray:
    """Σ_t t·h_t / Σ_t t of a text that is prompt and response of one chat, without batch or padding."""
    lm = load(model, device="cpu")
    row = tokens_of((Message("user", text), Message("assistant", text)), lm.tokenizer, max_length=lm.max_length)
    with torch.no_grad():
        hidden = lm.model.model(input_ids=torch.tensor(row.ids[None].astype(np.int64))).last_hidden_state[0]
    weights = torch.arange(1, len(hidden) + 1, dtype=torch.float32)
    return ((weights[:, None] * hidden).sum(0) / weights.sum()).numpy()


def cosines(values: np.ndarray, vector: np.ndarray) -> np.ndarray:
    values, vector = np.asarray(values, np.float64), np.asarray(vector, np.float64)
    return values @ vector / np.linalg.norm(values, axis=1) / np.linalg.norm(vector)


def test_a_question_finds_the_rows_nearest_to_it_and_then_needs_no_model(mapped: Project, made: Path) -> None:
    by_meaning = Filter("similar", "query", (QUESTION, 7))
    with pytest.raises(EngineError, match="Search for it once"):
        mask(Facts(mapped), by_meaning)
    with pytest.raises(EngineError, match="too much to load"):
        finding.prepare_filters(mapped, [by_meaning], largest=10)
    finding.prepare_filters(mapped, [Filter("words", "", (1, None)), by_meaning])
    vector = np.load(finding.prepare_question(mapped, QUESTION) / "vector.npy")
    np.testing.assert_allclose(vector, by_itself(QUESTION, made / "model"), atol=1e-5)

    (made / "model").rename(made / "gone")  # what was asked once is kept
    facts = Facts(mapped)
    values = np.load(mapped.artifacts / str(facts.latest_map()) / "features.npy")
    slow = np.argsort(-cosines(values, vector), kind="stable")
    found = ranked(facts, "query", by_meaning.values)
    assert found.rows.tolist() == slow[:7].tolist() and np.flatnonzero(mask(facts, by_meaning)).tolist() == sorted(
        slow[:7].tolist()
    )
    np.testing.assert_allclose(found.likeness, cosines(values, vector)[slow[:7]], atol=1e-6)
    with pytest.raises(EngineError):  # but a new question needs it
        finding.prepare_question(mapped, "Another?")
    (made / "gone").rename(made / "model")

    own = mapped.rows([4])[0].id
    alike = Filter("similar", "sample", (own, None, 0.9))
    assert np.flatnonzero(mask(facts, alike)).tolist() == np.flatnonzero(cosines(values, values[4]) >= 0.9).tolist()
    assert ranked(facts, "sample", (own, 3)).rows[0] == 4


def test_a_side_by_itself_is_encoded_like_the_question(mapped: Project, made: Path, tmp_path: Path) -> None:
    assert finding.side_encoded(mapped, "sample") and not finding.side_encoded(mapped, "response")
    with pytest.raises(EngineError, match="not encoded by themselves"):
        finding.prepare_question(mapped, QUESTION, side="response")
    do(mapped, "search", {"what": "response"})
    assert finding.side_encoded(mapped, "response") and not finding.side_encoded(mapped, "prompt")
    folder = finding.encode_side(mapped, "response", work=tmp_path / "none", reporter=Silent())
    answer = mapped.rows([2])[0].messages[-1].content
    np.testing.assert_allclose(np.load(folder / "features.npy")[2], by_itself(answer, made / "model"), atol=1e-5)
    asked = Filter("similar", "query/response", (answer, 1))
    finding.prepare_filters(mapped, [asked])
    assert np.flatnonzero(mask(Facts(mapped), asked)).tolist() == [2]


def test_a_map_of_a_changed_model_is_not_searched(mapped: Project, made: Path) -> None:
    config = made / "model" / "config.json"
    before = config.read_text(encoding="utf-8")
    config.write_text(json.dumps(json.loads(before) | {"changed": 1}), encoding="utf-8")
    with pytest.raises(EngineError, match="has changed since the map was made"):
        finding.prepare_question(mapped, QUESTION)
    assert not list(mapped.artifacts.glob("query-*"))
    config.write_text(before, encoding="utf-8")


def test_likeness_is_the_same_in_blocks_and_ties_go_by_row() -> None:
    values = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float16)
    values[7], values[9], values[20] = np.nan, values[3], 0
    whole, blocks = likeness(values, values[3]), likeness(values, values[3], block=7)
    assert np.isnan(whole[7]) and whole[20] == 0
    np.testing.assert_allclose(whole, blocks, atol=1e-6)
    assert nearest(whole, k=2).tolist() == [3, 9] and nearest(whole, k=1).tolist() == [3]
    assert nearest(whole, k=1000).tolist() == nearest(whole).tolist() and 7 not in nearest(whole)
    assert nearest(whole, least=2.0).tolist() == []


def test_texts_are_prepared_by_a_job_and_fields_are_searched_by_a_part(project: Project) -> None:
    do(project, "search", {"what": "texts"})
    assert not texts.missing(project)
    facts = Facts(project)
    assert mask(facts, Filter("contains", "source", ("S1",))).tolist() == [i % 3 == 1 for i in range(40)]
    assert mask(facts, Filter("contains", "source", (".",))).sum() == 0  # no expression
    found = Filter("text", "phrase/prompt", ("what is 3 plus 6",))
    assert (
        np.flatnonzero(mask(facts, found)).tolist() == [3]
        and not mask(facts, Filter("text", "words/response", ("plus",))).any()
    )


def test_a_large_pool_is_prepared_by_one_job_and_then_by_none(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "submit", lambda *given: create_job(*given).id)  # starts nothing
    assert search_jobs.begin_if_large(project) is None and not jobs.jobs(project)
    monkeypatch.setattr(search_jobs, "LARGE", 40)
    begun = {search_jobs.begin_if_large(project), search_jobs.begin(project, "texts")}
    assert begun == {"search-1"} and search_jobs.begin(project, "prompt") == "search-2"
    work(project.path, "search-1")
    assert not texts.missing(project) and search_jobs.begin_if_large(project) is None


EVERY = (
    (Filter("text", "words/both", ('a "b c" -d',)), 'Words “a "b c" -d”'),
    (Filter("text", "regex/response", ("^x",)), "Expression “^x” in the response"),
    (Filter("similar", "query", ("Why?", 200)), "Meaning “Why?”: nearest 200"),
    (Filter("similar", "query/prompt", ("Why?", 5, 0.5)), "Meaning “Why?” of the prompt: nearest 5, likeness ≥ 0.5"),
    (Filter("similar", "sample", ("row-1", None, 0.25)), "Similar to row-1: likeness ≥ 0.25"),
    (Filter("contains", "url", ("example",)), "url contains “example”"),
)


@pytest.mark.parametrize(("part", "says"), EVERY)
def test_searches_survive_a_link_and_say_what_they_are(part: Filter, says: str) -> None:
    assert decode(encode([part])) == (part,) and describe(part) == says


@pytest.mark.parametrize(
    "entry",
    [
        ["text", "words/both"], ["text", "words/title", "a"], ["text", "fuzzy/both", "a"], ["text", "words/both", 3],
        ["text", "regex/both", "(a"], ["text", "words/both", "x" * 2000], ["text", "words/both", "a", "b"],
        ["similar", "query", "a"], ["similar", "query", "a", 0], ["similar", "query", "a", 2.5],
        ["similar", "rows", "a", 3], ["similar", "sample", "", 3], ["similar", "query", "a", None, 1.5],
        ["similar", "query", "a", None, None],
        ["similar", "query", "a", True], ["contains", "source", ""], ["contains", "", "a"], ["contains", "source", 4],
    ],
)  # fmt: skip
def test_what_no_search_would_make_is_refused(entry: list[Any]) -> None:
    with pytest.raises(EngineError, match=r"[Nn]othing was"):
        decode(json.dumps([entry]))
