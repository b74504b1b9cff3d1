"""Exports: exactly the rows, every form readable again, whole or not at all."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.cli.settings import configured
from engine.data.samples import Message, Row, SourceInfo
from engine.errors import Cancelled, EngineError
from engine.export.commands import score_line
from engine.export.export import export
from engine.export.manifest import build_manifest, code_identity
from engine.export.plan import FORMATS
from engine.progress import Silent
from engine.runs.config import ScoreConfig
from engine.store import artifacts
from engine.store.records import RunRecord
from tests.catalogues import let_go

ROOT = Path(__file__).parents[3]


def _save(project, rows, weights=None, **spec):
    return project.save_selection("best", spec=spec, rows=rows, weights=weights, by="Ada")


def _lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def test_original_is_the_raw_bytes_and_nothing_else(project, tmp_path, raw):
    out = tmp_path / "o.jsonl"
    report = export(project, _save(project, [2, 0, 1]), out)
    assert out.read_bytes() == "".join(f"{line}\n" for line in raw).encode()
    assert (report.rows, report.bytes, report.out) == (3, out.stat().st_size, out)
    assert report.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    assert report.notes == ("The selection is a draft: nobody has approved it.",)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "o.jsonl", "o.jsonl.card.md", "o.jsonl.manifest.json", "project"
    ]  # fmt: skip


def test_chunks_do_not_show(project, tmp_path, monkeypatch, plan):
    selection = _save(project, range(5))
    export(project, selection, tmp_path / "one.jsonl", plan=plan("chat"))
    monkeypatch.setattr("engine.export.content.CHUNK", 2)
    export(project, selection, tmp_path / "many.jsonl", plan=plan("chat"))
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "many.jsonl").read_bytes()


def test_chat_carries_weights_scores_and_fields_where_asked(project, tmp_path, plan, add_scores):
    add_scores(project, [0.5, np.nan], [0.1, 0.2])
    selection = _save(project, [0, 1, 4], weights=[0.1, 1.9, 1.0], run="r")
    plain, full = tmp_path / "plain.jsonl", tmp_path / "full.jsonl"
    export(project, _save(project, [0, 1]), plain, plan=plan("chat"))
    assert [list(r) for r in _lines(plain)] == [["id", "messages"]] * 2
    project.decide([1], "approve", by="Ada", note="well said")
    asked = ("weights", "scores", "decision", "note")
    export(project, selection, full, plan=plan("chat", columns=("source", "n"), added=asked))
    first, second, last = _lines(full)
    assert first["messages"] == [{"role": "user", "content": "Add\n\n1, 2"}, {"role": "assistant", "content": "3"}]
    held = {name: [r[name] for r in (first, second, last)] for name in list(first)[2:]}
    assert held == {
        "weight": [0.1, 1.9, 1.0], "score": [0.5, None, None], "target:maths": [0.1, 0.2, None],
        "decision": ["none", "approve", "none"], "note": [None, "well said", None], "source": ["a", "b", None],
        "n": [0, 1, None],
    }  # fmt: skip
    assert (first["id"], last["id"]) == ("s0", project.rows([4])[0].engine_id)


def test_alpaca_parts_instruction_and_input_again_and_keeps_turns_as_history(project, tmp_path, plan, raw):
    out = tmp_path / "a.jsonl"
    export(project, _save(project, [0, 1, 2, 3]), out, plan=plan("alpaca"))
    records = _lines(out)
    assert [{k: r[k] for k in ("instruction", "input", "output")} for r in records[:3]] == [json.loads(r) for r in raw]
    assert records[3] == {
        "instruction": "Bye", "input": "", "output": "Ciao", "system": "Be brief", "history": [["Hi", "Hello"]],
        "id": project.rows([3])[0].id,
    }  # fmt: skip


def test_a_chat_without_alpaca_form_stops_the_whole_export(project, tmp_path, plan):
    with pytest.raises(EngineError, match=r"1 of the 2 chats have no Alpaca form .*Use chat for them"):
        export(project, _save(project, [0, 4]), tmp_path / "a.jsonl", plan=plan("alpaca"))
    assert [p.name for p in tmp_path.iterdir()] == ["project"]


def test_parquet_and_data_set_hold_the_same_rows(project, tmp_path, plan, add_scores):
    import datasets

    selection = _save(project, range(5), weights=[1, 2, 0, 1, 1], run="r")
    add_scores(project, [0.5, np.nan], [1, 2])
    asked = {"added": ("weights", "scores"), "columns": ("n", "source")}
    for format, name in (("parquet", "p.parquet"), ("hf", "folder")):
        export(project, selection, tmp_path / name, plan=plan(format, **asked))
    table = pq.read_table(tmp_path / "p.parquet")
    loaded = datasets.load_from_disk(tmp_path / "folder")
    assert table.to_pylist() == loaded.to_list()
    assert table.column_names == ["id", "messages", "weight", "score", "target:maths", "n", "source"]
    assert table.column("score").to_pylist() == [0.5, None, None, None, None]
    found = [tuple(Message(**m) for m in messages) for messages in table.column("messages").to_pylist()]
    assert found == [row.messages for row in project.rows(range(5))]
    assert {p.name for p in (tmp_path / "folder").iterdir()} == {
        "README.md", "data-00000-of-00001.arrow", "dataset_info.json", "state.json"
    }  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_export_again_gives_the_same_hash(project, tmp_path, format, plan):
    selection = _save(project, [0, 1, 2], weights=[1, 1, 1])
    first, second = (export(project, selection, tmp_path / n, plan=plan(format)) for n in "ab")
    assert first.sha256 == second.sha256
    assert artifacts.read_json(second.manifest)["output"]["sha256"] == second.sha256


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_overwritten_without_force(project, tmp_path, format, plan):
    small, large, out = _save(project, [0]), _save(project, [0, 1]), tmp_path / "out"
    first = export(project, small, out, plan=plan(format))
    before = {p: p.read_bytes() for p in tmp_path.rglob("out*") if p.is_file()}
    with pytest.raises(EngineError, match="exists already"):
        export(project, large, out, plan=plan(format))
    assert {p: p.read_bytes() for p in tmp_path.rglob("out*") if p.is_file()} == before
    again = export(project, large, out, plan=plan(format), force=True)
    assert (first.rows, again.rows) == (1, 2)
    assert artifacts.read_json(again.manifest)["output"]["rows"] == 2
    card = [] if format == "hf" else ["out.card.md"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", *card, "out.manifest.json", "project"]


def test_a_manifest_in_the_way_is_not_overwritten(project, tmp_path):
    (tmp_path / "out.manifest.json").write_text("mine")
    with pytest.raises(EngineError, match="exists already"):
        export(project, _save(project, [0]), tmp_path / "out")
    assert (tmp_path / "out.manifest.json").read_text() == "mine"
    assert not (tmp_path / "out").exists()


def test_force_never_takes_what_is_no_export(project, tmp_path, plan):
    selection, home = _save(project, [0]), tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    with pytest.raises(EngineError, match="no data set folder"):
        export(project, selection, home, plan=plan("hf"), force=True)
    with pytest.raises(EngineError, match="not a plain file"):
        export(project, selection, home, force=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(EngineError, match="no data set folder"):
        export(project, selection, tmp_path / "file", plan=plan("hf"), force=True)
    assert (home / "thesis.txt").read_text() == "years of work"


def test_the_project_and_its_sources_are_out_of_bounds(project, tmp_path):
    source = tmp_path / "pool.jsonl"
    source.write_text("{}\n")
    row = Row(1, "{}", None, (Message("user", "q"), Message("assistant", "a")), {})
    project.add_rows("pool", "", SourceInfo(str(source), "cc", 3, "jsonl", {}), [row])
    selection = _save(project, [0])
    for place in (project.catalogue, project.path, project.path.parent, project.artifacts / "x", source):
        with pytest.raises(EngineError, match=r"belongs to the project|made from"):
            export(project, selection, place, force=True)
    assert source.read_text() == "{}\n"
    assert export(project, selection, project.exports / "x.jsonl").rows == 1


def test_places_that_cannot_be_written_are_one_clear_error(project, tmp_path):
    selection = _save(project, [0])
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "no" / "x.jsonl", tmp_path / "file" / "x.jsonl"):
        with pytest.raises(EngineError, match="does not exist"):
            export(project, selection, place)
    with pytest.raises(EngineError, match=r"Could not write .*too long"):
        export(project, selection, tmp_path / ("x" * 300))
    with pytest.raises(EngineError, match="is no name"):
        export(project, selection, "/")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "project"]


def test_a_folder_without_permission_is_one_clear_error(project, tmp_path, monkeypatch, plan):
    monkeypatch.setattr(os, "access", lambda *_args, **_kwargs: False)
    with pytest.raises(EngineError, match="not writable"):
        export(project, _save(project, [0]), tmp_path / "x")


FULL = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from engine.errors import EngineError
from engine.cli.settings import configured
from engine.export import manifest
from engine.export.export import export
from engine.export.plan import FORMATS, Plan, named
from engine.store.project import Project
project = Project.open(sys.argv[2])
selection = project.selection("best")
import datasets
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
for format in FORMATS:
    try:
        export(project, selection, sys.argv[3], plan=Plan(**named(format)), force=True)
    except EngineError as error:
        print(str(error).split(":")[0])
"""


def test_a_full_disk_leaves_what_was_there(project, tmp_path):
    _save(project, [0, 1, 2])
    out = tmp_path / "out"
    out.write_text("earlier")
    arguments = [sys.executable, "-c", FULL, str(ROOT), str(project.path), str(out)]
    let_go()
    found = subprocess.run(arguments, capture_output=True, text=True, check=False)
    told = found.stdout.splitlines()
    assert told[:7] == [f"Could not write {out}"] * 7, found.stderr
    assert told[7].endswith("Choose another name; it is intact.") or "no data set folder" in told[7]
    assert out.read_text() == "earlier"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "project"]


class _Cancelling(Silent):
    def check(self) -> None:
        raise Cancelled("stopped")


@pytest.mark.parametrize("format", FORMATS)
def test_a_cancelled_export_leaves_nothing(project, tmp_path, format, plan):
    with pytest.raises(Cancelled):
        export(project, _save(project, [0]), tmp_path / "x", plan=plan(format), reporter=_Cancelling())
    assert [p.name for p in tmp_path.iterdir()] == ["project"]


def test_impossible_requests_are_refused(project, tmp_path, plan):
    selection = _save(project, [0], weights=[1.0])
    for settings in (
        {"format": "csv"},
        {"format": "original", "columns": ("source",)},
        {"format": "original", "added": ("scores",)},
        {"format": "original", "container": "parquet"},
        {"format": "parquet", "container": "hf"},
        {"format": "chat", "added": ("weight",)},
        {"format": "chat", "columns": ("absent",)},
        {"format": "chat", "columns": ("source", "source")},
        {"format": "chat", "validation": 0.6},
        {"format": "chat", "shard_rows": 1, "shard_mb": 1.0},
        {"format": "chat", "validation": 0.5, "group": "moon"},
        {"format": "chat", "validation": 0.5, "group": "cluster"},
        {"format": "chat", "validation": 0.5, "group": "exact-duplicates"},  # one row cannot be split
    ):
        with pytest.raises(EngineError):
            export(project, selection, tmp_path / "x", plan=plan(**settings))
    assert [p.name for p in tmp_path.iterdir()] == ["project"]


def test_the_manifest_tells_everything(project, tmp_path):
    with artifacts.create(
        project.artifacts, "scores", "k", {"model": {"name": "builtin", "kind": "builtin", "sha256": "m" * 64}}
    ):
        pass
    config = {"seed": 7, "landmarks": None, "standardise": True, "kernel": "rbf"}
    project.add_run(RunRecord("r", "landmark", "builtin", config, "scores-k", 5, project.pool_hash(), ["maths"]))
    project.decide([1], "approve", by="Ada")
    project.decide([4], "reject", by="Ada")
    _save(project, [0, 1], weights=[0.5, 1.5], run="r", size="2", strategy="round-robin", seed=3)
    project.approve_selection("best", by="Bo", note="fine")
    project.decide([3], "approve", by="Ada")
    selection = project.selection("best")
    report = export(
        project, selection, tmp_path / "o.jsonl", command="python -m engine export 'my project' best o.jsonl"
    )
    told = artifacts.read_json(report.manifest)
    assert told["approved"] is True
    assert (told["selection"]["approved_by"], told["selection"]["note"], told["selection"]["version"]) == (
        "Bo",
        "fine",
        1,
    )
    assert [(f["name"], f["sha256"], f["mapping"]["schema"]) for f in told["inputs"]] == [
        ("a.jsonl", "aa", "alpaca"), ("b.jsonl", "bb", "chat")
    ]  # fmt: skip
    assert told["model"] == {"name": "builtin", "kind": "builtin", "sha256": "m" * 64}
    assert told["seeds"] == {"run": 7, "selection": 3, "split": None}
    assert told["run"]["config"] == config
    hashes = [row.engine_id.partition("-")[0] for row in project.rows([0, 1])]
    assert (told["rows"]["id"], told["rows"]["row"]) == (["s0", "s1"], [0, 1])
    assert [value[:16] for value in told["rows"]["hash"]] == hashes
    assert told["decisions"]["known_rows"] == {"approve": [1], "reject": [4], "skip": []}
    assert told["weights"] == [0.5, 1.5]
    assert told["pool"]["hash"] == project.pool_hash()
    ids = project.column("id").tolist()
    assert (told["decisions"]["approved"], told["decisions"]["rejected"]) == (["s1", ids[3]], [ids[4]])
    assert told["decisions"]["approved_but_not_selected"] == [ids[3]]
    assert told["command"] == "python -m engine export 'my project' best o.jsonl"
    assert told["code"]["sha256"] == code_identity()["sha256"]
    assert told["output"]["sha256"] == hashlib.sha256((tmp_path / "o.jsonl").read_bytes()).hexdigest()
    assert [line.split()[3] for line in told["reproduce"]] == [
        "add-pool", "add-pool", "score", "select", "approve", "export"
    ]  # fmt: skip
    score = next(line for line in told["reproduce"] if " score " in line)
    assert "--targets maths --seed 7 --run r --set kernel=rbf --set standardise=true" in score
    assert "--size 2 --strategy round-robin --seed 3" in told["reproduce"][3]


def test_a_draft_without_a_run_says_so(project):
    told = build_manifest(project, _save(project, [0]))
    assert (told["approved"], told["run"], told["model"], told["command"]) == (False, None, None, None)
    assert told["selection"]["state"] == "draft"


@pytest.mark.parametrize(
    "config",
    [
        ScoreConfig(),
        ScoreConfig(avoid=("b",), target_weights=("a=2", "c=0.5"), parameters=("*down_proj", "*up_proj"), refine="10%"),
        ScoreConfig(fidelity=0.9, max_landmarks=99, tune=False, unit="inner-product", curvature=4, blocks=2, keep=0.5),
    ],
)
def test_the_score_line_of_a_manifest_reads_back_as_the_very_configuration(config):
    record = RunRecord(
        name="it",
        method=config.method,
        model=config.model,
        config=json.loads(json.dumps(config.to_dict())),
        artifact="scores-x",
        rows=1,
        pool_hash="",
        targets=[],
        state="done",
        created="",
        summary={},
    )
    words = shlex.split(score_line("project", record))
    pairs = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
    assert configured(ScoreConfig, pairs, method=config.method, seed=config.seed) == config
