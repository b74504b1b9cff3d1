"""Counting tokens as a job: against one row at a time, killed and resumed, of a pool that grew, and from the shell."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

from engine.__main__ import main
from engine.data.samples import Message, Row, SourceInfo
from engine.errors import Cancelled
from engine.models.sources import resolve
from engine.models.templates import ChatRenderer
from engine.runs import jobs, token_counts, token_counts_job
from engine.runs.jobfolder import JobFolder
from engine.runs.tokenizers import load_tokenizer
from engine.runs.work import work
from engine.store import artifacts
from engine.store.project import Project
from engine.store.records import RunRecord

ROWS, SHARD, CHUNK, PIECE = 23, 6, 4, 60


def add(project: Project, first: int, count: int) -> None:
    """Rows of growing length; every fifth has no answer, which no template can mark."""
    rows = [
        Row(
            at + 1, "{}", f"s{at}", (Message("user", "why? " * (at + 1)), Message("assistant", "So." if at % 5 else ""))
        )
        for at in range(first, first + count)
    ]
    mapping = {"schema": "chat", "fields": {}}
    project.add_rows("pool", "", SourceInfo(f"/data/{first}.jsonl", f"{first:02}", 9, "jsonl", mapping), rows)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a run of the built-in model, whose jobs run in this process, in several shards."""
    monkeypatch.setattr(jobs, "_spawn", lambda place, folder: _worked(place, folder))
    for name, value in (("SHARD_ROWS", SHARD), ("CHUNK", CHUNK), ("PIECE_CHARS", PIECE)):
        monkeypatch.setattr(token_counts, name, value)
    made = Project.create(tmp_path / "p")
    add(made, 0, ROWS)
    arrays = {"score": np.linspace(1, 0, ROWS, dtype=np.float32), "status": np.ones(ROWS, np.uint8)}
    with artifacts.create(made.artifacts, "scores", "k", {}) as folder:
        for name, array in arrays.items():
            artifacts.save_array(folder, name, array)
        artifacts.write_json(folder / "summary.json", {"sets": []})
    made.add_run(RunRecord("r", "exact", "builtin", {}, "scores-k", ROWS, made.pool_hash(), []))
    return made


def _worked(place: jobs.HasJobs, folder: JobFolder) -> None:
    with contextlib.suppress(Cancelled, RuntimeError):
        work(place.path, folder.id)


def one_by_one(project: Project) -> list[int]:
    tokenizer = load_tokenizer(resolve("builtin"), max_length=1 << 30).tokenizer
    renderer, found = ChatRenderer(tokenizer), []
    for row in project.rows(range(project.counts().pool)):
        answered = bool(row.messages[-1].content)
        text = renderer.render(row.messages).text if answered else "\n".join(m.content for m in row.messages)
        found.append(max(1, len(tokenizer.encode(text, add_special_tokens=False))))
    return found


def test_a_killed_job_goes_on_and_a_pool_that_grew_is_counted_from_where_it_grew(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, counted, lengths = project.run("r"), list[int](), token_counts._lengths

    def dying(tokenizer: object, texts: list[str]) -> list[int]:
        counted.extend(len(text) for text in texts)
        if len(counted) > 2 * SHARD and len(counted) < 100:
            counted.extend([0] * 100)  # once
            raise RuntimeError("killed")
        return lengths(tokenizer, texts)

    monkeypatch.setattr(token_counts, "_lengths", dying)
    name = token_counts_job.ask(project, run)
    assert (name, jobs.job(project, name).state) == ("token-counts-1", "failed")
    assert token_counts.kept_counts(project, run) is None
    add(project, ROWS, 4)  # meanwhile
    counted.clear()
    counted.extend([0] * 100)
    assert token_counts_job.ask(project, run) == name, "what was begun is resumed, not begun again"
    found = jobs.job(project, name)
    assert found.state == "done" and not any(found.folder.work.iterdir())
    assert len(counted) - 100 == ROWS - 2 * SHARD + 4, "whole shards are not counted again"
    kept = token_counts.kept_counts(project, run)
    assert kept is not None and kept.counts.tolist() == one_by_one(project)
    assert kept.record["artifact"] == found.result["tokens"]

    add(project, ROWS + 4, 3)
    assert token_counts.kept_counts(project, run) is None
    counted.clear()
    counted.extend([0] * 100)
    assert token_counts.count_tokens(project, run).counts.tolist() == one_by_one(project)
    assert len(counted) - 100 == 3, "of a pool that grew only the new rows are counted"


def test_the_job_at_work_is_not_started_twice_and_another_model_has_its_own(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_spawn", lambda place, folder: None)
    other = RunRecord("o", "exact", str(resolve("builtin").path), {}, "scores-k", ROWS, "", [])
    names = [token_counts_job.ask(project, run) for run in (project.run("r"), project.run("r"), other)]
    assert names == ["token-counts-1", "token-counts-1", "token-counts-2"]


def test_the_shell_counts_once_and_a_budget_in_tokens_has_it_done(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(project.path)
    monkeypatch.setattr(token_counts_job, "AT_ONCE_ROWS", 5)
    assert main(["select", place, "--run", "r", "--size", "40t", "--name", "s"]) == 0
    assert [job.id for job in jobs.jobs(project)] == ["token-counts-1"]
    capsys.readouterr()
    assert main(["count-tokens", place, "--run", "r"]) == 0
    assert main(["count-tokens", place, "--run", "r", "--json"]) == 0
    total, _, told = capsys.readouterr().out.partition("\n")
    assert int(total) == sum(one_by_one(project)) == json.loads(told)["tokens"]
    assert len(jobs.jobs(project)) == 1
