"""`reproduce`: the same bytes from manifest and inputs alone, and a plain word where they cannot be had."""

import json
import shutil
from functools import partial

import numpy as np
import pytest

from engine.__main__ import main
from engine.errors import EngineError
from engine.export.export import export
from engine.export.plan import Plan, named
from engine.export.reproduce import reproduce
from engine.runs.intake import add_pool, add_target
from engine.store.project import Project
from tests.catalogues import loaded

ROWS = 40


@pytest.fixture(autouse=True)
def _loaded():
    with loaded():
        yield


@pytest.fixture
def made(tmp_path):
    """A project of two files with decisions, tags and a weighted, approved selection; and the folder of its inputs."""
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    alpaca = [
        {"instruction": f"Add {i}", "input": "1" * (i % 3), "output": f"{i}", "topic": i % 4} for i in range(ROWS)
    ]
    turns = [[("user", f"Hi {i // 2}"), ("assistant", "Yo")] for i in range(ROWS)]
    chats = [
        {"id": f"c{i}", "messages": [{"role": role, "content": text} for role, text in turn]}
        for i, turn in enumerate(turns)
    ]
    for name, rows in (("a.jsonl", alpaca), ("b.jsonl", chats)):
        (inputs / name).write_text("".join(json.dumps(row) + "\n" for row in rows) + "no json\n")
    project = Project.create(tmp_path / "project")
    add_pool(project, inputs / "a.jsonl")
    add_target(project, "t", inputs / "b.jsonl")
    add_pool(project, inputs / "b.jsonl")
    project.decide([1, 50], "approve", by="Ada", note="yes")
    project.tag([1, 3], "odd", by="Ada")
    rows = [*range(0, ROWS, 3), *range(ROWS, 2 * ROWS, 5)]
    reasons = ["by score"] * len(rows)
    weights = [0.1 + i / 7 for i in range(len(rows))]
    project.save_selection("best", spec={"seed": 1}, rows=rows, weights=weights, reasons=reasons, by="Ada")
    project.approve_selection("best", by="Bo")
    return project, inputs


PLANS = [
    {"format": "original"},
    {"format": "alpaca", "columns": ("topic",), "added": ("weights", "decision", "reason", "tags", "note")},
    {"format": "sharegpt", "container": "parquet", "validation": 0.3, "group": "field/topic", "shard_rows": 9},
    {"format": "hf", "validation": 0.2, "group": "exact-duplicates"},
]


def test_every_kind_of_export_comes_out_identical_where_the_project_is_gone(made, tmp_path):
    project, inputs = made
    reports = []
    for at, settings in enumerate(PLANS):
        chosen = dict(settings)
        kinds = named(chosen.pop("format"), chosen.pop("container", ""))
        plan = Plan(**kinds, **chosen)
        reports.append(export(project, project.selection("best"), tmp_path / f"o{at}", plan=plan))
    shutil.rmtree(project.path)
    inputs.rename(tmp_path / "moved")
    (tmp_path / "moved" / "a.jsonl").rename(tmp_path / "moved" / "renamed.jsonl")
    for at, report in enumerate(reports):
        with pytest.raises(EngineError, match=r"2 of the inputs .*a\.jsonl.*missing.*--inputs"):
            reproduce(report.manifest)
        again = reproduce(report.manifest, out=tmp_path / f"again{at}", inputs=tmp_path / "moved")
        assert (again.identical, again.differences) == (True, ())
        assert report.sha256 in again.sentence
    assert reproduce(tmp_path / "again2.manifest.json", inputs=tmp_path / "moved").identical  # and so on
    before = (tmp_path / "o1").read_bytes()
    assert (tmp_path / "again1").read_bytes() == before
    assert {"weight", "decision", "reason", "tags", "note", "topic"} <= set(json.loads(before.splitlines()[0]))


def test_what_changed_is_named_and_nothing_is_written(made, tmp_path):
    project, inputs = made
    report = export(project, project.selection("best"), tmp_path / "o")
    told = json.loads(report.manifest.read_text())

    def edited(name, **changed):
        path = tmp_path / f"{name}.manifest.json"
        path.write_text(json.dumps({**told, **changed}))
        return path

    wrong_rows = {**told["rows"], "hash": ["0" * 32, *told["rows"]["hash"][1:]]}
    other = {**told["output"], "sha256": "0" * 64, "files": [{**told["output"]["files"][0], "sha256": "0" * 64}]}
    for path, message in (
        (edited("newer", format_version=3), "reads up to 2"),
        (edited("rows", rows=wrong_rows), "1 of the .* samples are not the recorded ones"),
        (edited("short", weights=[1.0]), "damaged: weights has not one value for each"),
        (edited("empty", inputs=None), "damaged: it has no inputs"),
        (edited("backwards", rows={**told["rows"], "row": told["rows"]["row"][::-1]}), "rows are not ascending"),
        (edited("unused", output={**told["output"], "unused": None}), "output is not told whole"),
        (edited("half", inputs=[{"role": "pool"}]), "an input is not told whole"),
        (edited("fields", extras=[{"name": "x"}]), "a field has no values"),
        (inputs, "not readable JSON"),
        (tmp_path / "o", "not readable JSON"),
        (inputs / "absent", "missing"),
    ):
        with pytest.raises(EngineError, match=message):
            reproduce(path, out=tmp_path / "again")
    found = reproduce(edited("hash", output=other, code={**told["code"], "version": "0.0"}))
    assert not found.identical
    assert "SHA-256" in found.differences[0] and "0" * 64 in found.differences[0]
    assert any("Made by Touchstone 0.0" in note for note in found.notes)
    with pytest.raises(EngineError, match="exists already"):
        reproduce(report.manifest, out=tmp_path / "o")
    (inputs / "a.jsonl").write_text("{}\n")
    with pytest.raises(EngineError, match=r"1 of the inputs .*changed"):
        reproduce(report.manifest, out=tmp_path / "again")
    assert not list(tmp_path.glob("again*"))


def test_a_manifest_of_format_1_is_read(made, tmp_path):
    project, _ = made
    report = export(project, project.selection("best"), tmp_path / "o", plan=Plan(form="chat"))
    told = json.loads(report.manifest.read_text())
    for name in ("plan", "composition", "extras", "artifacts"):
        del told[name]
    del told["rows"]["hash"]
    output = {name: told["output"][name] for name in ("name", "format", "rows", "columns", "bytes", "sha256", "notes")}
    old = tmp_path / "old.manifest.json"
    old.write_text(json.dumps({**told, "format_version": 1, "output": output}))
    assert reproduce(old, out=tmp_path / "again").identical


def test_the_shell_says_identical_or_what_differs(made, tmp_path, capsys):
    project, _ = made
    assert main(["export", str(project.path), "best", str(tmp_path / "o"), "--format", "chat"]) == 0
    manifest = str(tmp_path / "o.manifest.json")
    assert main(["reproduce", manifest, "--out", str(tmp_path / "again")]) == 0
    assert "Identical: o" in capsys.readouterr().out
    told = json.loads((tmp_path / "o.manifest.json").read_text())
    told["weights"][0] = 9.0
    (tmp_path / "o.manifest.json").write_text(json.dumps(told))
    assert main(["reproduce", manifest]) == 1
    assert "Not identical: o" in capsys.readouterr().out
    assert main(["reproduce", str(tmp_path / "absent")]) == 1


def test_scores_decisions_and_selection_are_made_anew_and_compared(tmp_path, monkeypatch, capsys):
    from engine.runs import jobs
    from engine.runs.work import work

    monkeypatch.setattr(jobs, "_spawn", lambda project, folder: work(project.path, folder.id))
    said = [{"prompt": f"Say {i}.", "completion": f"It is {i}.", "source": f"s{i % 3}"} for i in range(36)]
    rows = [{"id": f"r{i}", **row} for i, row in enumerate(said)]
    (tmp_path / "pool.jsonl").write_text("\n".join(json.dumps(row) for row in rows[:20]))
    (tmp_path / "later.jsonl").write_text("\n".join(json.dumps(row) for row in rows[20:30]))
    (tmp_path / "last.jsonl").write_text("\n".join(json.dumps(row) for row in rows[30:]))
    place = str(tmp_path / "p")
    for words in (
        ["add-pool", place, str(tmp_path / "pool.jsonl")],
        ["score", place, "--method", "random", "--seed", "5", "--run", "base"],
        ["add-pool", place, str(tmp_path / "later.jsonl")],  # the run covers the first file only
        ["decide", place, "r3", "r24", "approve"],
        ["decide", place, "r5", "reject"],
        ["select", place, "--run", "base", "--size", "40%", "--name", "s", "--at-most", "field/source:s1=3"],
        ["decide", place, "r6", "r7", "reject"],  # later: the selection did not know
        ["add-pool", place, str(tmp_path / "last.jsonl")],  # nor these, of which 40% would be more
        ["export", place, "s", str(tmp_path / "o"), "--format", "chat", "--with", "scores,reason"],
    ):
        assert main(words) == 0
    shutil.rmtree(place)
    manifest = tmp_path / "o.manifest.json"
    found = reproduce(manifest, rescore=True)
    assert (found.identical, found.differences) == (True, ())
    assert "came out the same" in found.sentence
    told = json.loads(manifest.read_text())
    line = next(line for line in told["reproduce"] if " select " in line)
    assert "--at-most field/source:s1=3" in line
    told["run"]["config"]["seed"] = 6
    assert told["selection"]["spec"].pop("went_by") == {}
    del told["known"]  # as manifests were before
    manifest.write_text(json.dumps(told))
    found = reproduce(manifest, rescore=True)
    assert not found.identical
    assert "saved before selections kept what their filters and guards went by" in found.notes[0]
    assert "recorded samples were not chosen again" in found.differences[0]
    assert "scores: they differ" in found.differences[1]
    told["selection"]["spec"] = {}
    manifest.write_text(json.dumps(told))
    with pytest.raises(EngineError, match="cannot be chosen anew"):
        reproduce(manifest, rescore=True)


class Letters:
    """Counts letters instead of running a sentence model."""

    dim, name, device, sha256 = 4, "letters", "cpu", "ab" * 32

    def encode(self, given, **_):
        """Shares of four letters, unit length."""
        found = np.array([[text.count(letter) + 1 for letter in "aeio"] for text in given], np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_a_run_extended_since_is_made_and_extended_again_as_far_as_the_selection_knew(tmp_path, monkeypatch):
    from engine.gradients.lexical_features import LexicalFeatures
    from engine.maps import sentence
    from engine.runs import jobs
    from engine.runs.work import work

    monkeypatch.setattr(jobs, "_spawn", lambda project, folder: work(project.path, folder.id))
    monkeypatch.setattr(sentence, "load_encoder", lambda **_: Letters())
    monkeypatch.setattr(LexicalFeatures, "fit", partial(LexicalFeatures.fit, width=12))
    names = ["first", "second", "third", "last", "target"]
    for at, name in enumerate(names):
        rows = [
            {"prompt": f"Name {name} {i}.", "completion": f"{'aeiou' * (i % 4)} is {i}."} for i in range(20 - 4 * at)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    place, files = str(tmp_path / "p"), {name: str(tmp_path / f"{name}.jsonl") for name in names}
    quick = ["--set", "network_epochs=3", "--set", "network_members=1", "--set", "network_features=lexical"]
    score = ["score", place, "--method", "network", "--set", "teacher=delift-se", "--set", "labelled=0.5", *quick]
    grow = [[["add-pool", place, files[name]], ["extend", place, "--run", "net"]] for name in names[1:4]]
    for words in (
        ["add-pool", place, files["first"]],
        ["add-target", place, "t", files["target"]],
        [*score, "--run", "net"],
        *grow[0],
        *grow[1],
        ["select", place, "--run", "net", "--size", "40%", "--name", "s"],
        *grow[2],  # the selection did not know these
        ["export", place, "s", str(tmp_path / "o"), "--format", "chat", "--with", "scores"],
    ):
        assert main(words) == 0
    shutil.rmtree(place)
    manifest, out = tmp_path / "o.manifest.json", tmp_path / "again"
    told = json.loads(manifest.read_text())
    assert max(told["rows"]["row"]) >= 20, "nothing chosen was added later"
    verbs = ["add-target", "add-pool", "score", *["add-pool", "extend"] * 3, "select", "export"]
    assert [line.split()[3] for line in told["reproduce"]] == verbs
    found = reproduce(manifest, rescore=True, out=out)
    assert (found.identical, found.differences) == (True, ())
    assert out.read_bytes() == (tmp_path / "o").read_bytes()
    told["run"]["summary"]["extended"]["steps"][0]["rows"] += 1
    (tmp_path / "other.manifest.json").write_text(json.dumps(told))
    with pytest.raises(EngineError, match="net covered 37 samples, and no number of whole files"):
        reproduce(tmp_path / "other.manifest.json", rescore=True, out=tmp_path / "none")
    (tmp_path / "target.jsonl").unlink()
    with pytest.raises(EngineError, match=r"target.jsonl \(target\): missing.* the pool's files are enough"):
        reproduce(manifest, rescore=True, out=tmp_path / "none")
    assert not list(tmp_path.glob("none*")), "written before it was known whether it could be made again"
    assert reproduce(manifest, out=tmp_path / "plain").identical  # the files alone need no target
