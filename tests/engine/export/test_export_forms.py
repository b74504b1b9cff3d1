"""Forms, containers, splits and shards: loaded again by `datasets`, nothing lost, duplicates never parted; the card."""

import itertools
import re
from functools import partial

import numpy as np
import pytest
import yaml

from engine.data.samples import Message, Row, SourceInfo
from engine.errors import EngineError
from engine.export.card import card, escaped
from engine.export.commands import plan_options
from engine.export.export import export
from engine.export.plan import CONTAINERS, FORMS
from engine.export.splitting import assign, joined
from engine.store import artifacts
from engine.store.project import Project


def save(project, rows, **spec):
    return project.save_selection("best", spec=spec, rows=rows, by="Ada")


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """A function that loads an export with `datasets`, as its container asks for, without a cache of former runs."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()

    def load(out, container):
        if container == "hf":
            found = datasets.load_from_disk(out)
            return found if isinstance(found, datasets.DatasetDict) else {"train": found}
        kind = {"jsonl": "json"}.get(container, container)
        return datasets.load_dataset(str(out)) if out.is_dir() else datasets.load_dataset(kind, data_files=str(out))

    return load


@pytest.mark.parametrize("form", FORMS[1:])
def test_every_container_loads_as_the_same_records(project, tmp_path, plan, loaded, form):
    fitting = {"alpaca": [0, 1, 2, 3], "prompt-completion": [0, 1, 2]}.get(form, [0, 1, 2, 3, 4])
    selection, found = save(project, fitting), {}
    for container in CONTAINERS:
        out = tmp_path / f"out.{container}"
        export(project, selection, out, plan=plan(form, container, columns=("source",)))
        found[container] = loaded(out, container)["train"].to_list()
    assert found["jsonl"] == found["parquet"] == found["hf"]
    assert [record["source"] for record in found["hf"]] == ["a", "b", "a", None, None][: len(fitting)]
    speech = found["hf"][-1]
    if form == "sharegpt":
        assert [turn["from"] for turn in speech["conversations"]] == ["human", "observation", "gpt"]
    if form == "prompt-completion":
        assert (speech["prompt"], speech["completion"]) == ("a\0b", "\u2028line")
    if form == "prompt-completion-chat":
        assert [m["role"] for m in speech["prompt"]] == ["user", "tool"]
        assert speech["completion"] == [{"role": "assistant", "content": "Noon"}]


@pytest.mark.parametrize("form", ["chat", "sharegpt"])
def test_what_was_exported_can_be_taken_in_again(project, tmp_path, plan, form):
    from engine.runs.intake import add_pool

    export(project, save(project, range(5)), tmp_path / "out.jsonl", plan=plan(form))
    again = Project.create(tmp_path / "again")
    add_pool(again, tmp_path / "out.jsonl")
    assert [row.messages for row in again.rows(range(5))] == [row.messages for row in project.rows(range(5))]


def test_a_row_without_the_form_stops_the_whole_export(project, tmp_path, plan):
    for form, rows, told in (
        ("prompt-completion", [0, 3], "no prompt-completion form"),
        ("alpaca", [0, 4], "no Alpaca"),
    ):
        with pytest.raises(EngineError, match=told):
            export(project, save(project, rows), tmp_path / "out", plan=plan(form, "parquet"))
    assert [p.name for p in tmp_path.iterdir()] == ["project"]


def test_a_split_parts_no_group_and_shards_hold_what_they_may(tmp_path, plan, loaded):
    project = Project.create(tmp_path / "project")
    rows = []
    for at in range(60):
        text = "same" if at % 20 == 0 else f"text {at}"
        fields = {"source": f"s{at % 6}", "licence": "MIT"}
        rows.append(
            Row(at + 1, f'{{"at":{at}}}', f"r{at}", (Message("user", text), Message("assistant", "yes")), fields)
        )
    project.add_rows("pool", "", SourceInfo("/data/a.jsonl", "aa", 9, "jsonl", {"schema": "chat", "fields": {}}), rows)
    near = np.full(60, -1, np.int64)
    near[[4, 5]] = 3  # joins the groups of three sources; the first of a group repeats nothing itself
    with artifacts.create(project.artifacts, "signals", "k", {}) as folder:
        for name, values in {"near_duplicate_of": near, "leak": near * 0.0, "leak_target": near}.items():
            artifacts.save_array(folder, name, values)
        artifacts.save_array(folder, "looks_truncated", near > 99)
    project.add_signals("signals-k", 60, project.pool_hash())
    selection, seen = save(project, range(60)), []
    settings = [("near-duplicates", 0), ("near-duplicates", 1), ("exact-duplicates", 0), ("field/source", 0)]
    for at, (group, seed) in enumerate(settings):
        out = tmp_path / f"out{at}"
        asked = plan("chat", CONTAINERS[at % 3], validation=0.4, group=group, seed=seed, shard_rows=25)
        report = export(project, selection, out, plan=asked)
        told = artifacts.read_json(report.manifest)["output"]
        parts = loaded(out, CONTAINERS[at % 3])
        held = {name: [int(i[1:]) for i in part["id"]] for name, part in parts.items()}
        assert held["validation"] == told["validation_rows"]
        assert sorted(held["train"] + held["validation"]) == list(range(60))
        assert report.splits == {name: len(rows) for name, rows in held.items()}
        together = [{0, 20, 40}] + ([{3, 4, 5}] if group != "exact-duplicates" else [])
        together += [set(range(s, 60, 6)) for s in range(6)] if group == "field/source" else []
        assert all(len(whole & set(held["validation"])) in (0, len(whole)) for whole in together)
        assert 0 < len(held["validation"]) <= 30
        assert all(entry["rows"] <= 25 for entry in told["files"]) or CONTAINERS[at % 3] == "hf"
        seen.append(held["validation"])
    assert seen[0] != seen[1]
    names = sorted(p.name for p in (tmp_path / "out0").iterdir())
    assert names == [
        "README.md",
        *(f"train-{i:05d}-of-00002.jsonl" for i in range(2)),
        "validation-00000-of-00001.jsonl",
    ]
    front = yaml.safe_load((tmp_path / "out0" / "README.md").read_text().split("---")[1])
    assert (front["license"], front["size_categories"], front["pretty_name"]) == ("mit", ["n<1K"], "out0")


def test_shards_by_size_hold_whole_lines_and_no_more_than_fits(project, tmp_path, plan, raw):
    out = tmp_path / "out"
    export(project, save(project, range(5)), out, plan=plan(shard_mb=0.00012))
    parts = sorted(p for p in out.iterdir() if p.name != "README.md")
    alone = project.raw(np.arange(5))
    assert b"".join(p.read_bytes() for p in parts) == b"".join(line + b"\n" for line in alone)
    assert len(parts) > 2
    for part, after in itertools.pairwise(parts):  # the next line would not have fitted
        first = after.read_bytes().split(b"\n")[0]
        assert part.stat().st_size + len(first) + 1 > 120
    assert all(p.stat().st_size <= 120 or p.read_bytes().count(b"\n") == 1 for p in parts)
    with pytest.raises(EngineError, match="exists already"):
        export(project, save(project, [0]), out, plan=plan(shard_rows=1))
    export(project, save(project, [0]), out, plan=plan(shard_rows=1), force=True)
    assert sorted(p.name for p in out.iterdir()) == ["README.md", "train-00000-of-00001.jsonl"]
    (out / "mine.txt").write_text("precious")
    with pytest.raises(EngineError, match="no data set folder"):
        export(project, save(project, [0]), out, plan=plan(shard_rows=1), force=True)
    assert (out / "mine.txt").read_text() == "precious"


def test_columns_that_are_empty_for_long_load_as_the_card_says(tmp_path, plan, monkeypatch):
    """`datasets` guesses types from the first piece of a file; here the pieces are small."""
    import datasets

    project, many = Project.create(tmp_path / "project"), 60
    rows = []
    for at in range(many):
        turns = (("user", f"q{at}"), ("assistant", "a" * 1000)) * (2 if at == many - 1 else 1)
        fields = {'"odd\u2028 😀': "late"} if at == many - 1 else {}
        rows.append(Row(at + 1, f"{at}", f"r{at}", tuple(Message(*turn) for turn in turns), fields))
    project.add_rows("pool", "", SourceInfo("/data/a.jsonl", "aa", 9, "jsonl", {"schema": "chat", "fields": {}}), rows)
    project.tag([many - 1], "odd", by="Ada")
    project.decide([many - 1], "approve", by="Ada", note="why")
    settings = {"added": ("tags", "note"), "columns": tuple(project.columns())}
    load = partial(datasets.load_dataset, split="train", chunksize=1 << 14, cache_dir=str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.chdir(tmp_path)
    for name, form, more in (("😀.jsonl", "alpaca", {}), ("folder", "chat", {"shard_rows": many})):
        report = export(project, save(project, range(many)), tmp_path / name, plan=plan(form, **settings, **more))
        *made, loading = re.search(r"```python\n(.*?)```", report.card.read_text(), re.DOTALL)[1].splitlines()
        names = {"datasets": datasets}
        exec("\n".join(made), names)  # noqa: S102
        last = eval(loading, names)[many - 1]  # noqa: S307
        assert (last["tags"], last["note"], last['"odd\u2028 😀']) == (["odd"], "why", "late")
        assert last.get("history", []) == ([[f"q{many - 1}", "a" * 1000]] if form == "alpaca" else [])


def test_groups_are_the_finest_that_hold_all_links_and_the_share_is_met():
    draw = np.random.default_rng(0)
    for _ in range(20):
        links = [draw.integers(0, 12, 30) for _ in range(2)]
        codes = joined(links)
        oracle = np.arange(30)
        for _ in range(30):  # spread the smallest label along the links
            for link in links:
                for value in set(link.tolist()):
                    oracle[link == value] = oracle[link == value].min()
        assert np.array_equal(codes[:, None] == codes[None], oracle[:, None] == oracle[None])
        taken = assign(np.arange(30) // 3, 0.2, seed=int(draw.integers(99)))
        assert taken.sum() == 6
    with pytest.raises(EngineError, match="one group"):
        assign(np.zeros(5, np.int64), 0.2, seed=0)


def test_the_card_escapes_what_rows_say_and_shows_no_sample(project, tmp_path, plan, add_scores):
    hostile = '"]\n---\n# owned <img src=x onerror=alert(1)> | [l](javascript:x) `c` ![i](http://e/p.png)'
    fields = {"source": hostile, "license": "Odd: Licence", "language": "no"}
    row = Row(1, "{}", "x", (Message("user", "SECRET question"), Message("assistant", "SECRET answer")), fields)
    project.add_rows("pool", "", SourceInfo("/data/c|x.jsonl", "cc", 3, "jsonl", {}), [row])
    add_scores(
        project, [0.1] * 6, [0.1] * 6, summary={"fidelity": {"spearman": 0.91, "interval": [0.8, 0.95], "n": 40}}
    )
    saved = project.save_selection("<b>me</b>", spec={"run": "r", "where": [hostile]}, rows=[5], by="Ada")
    project.approve_selection(saved.name, by="Bo|", note=hostile)
    report = export(project, project.selection(saved.name), tmp_path / "o.jsonl", plan=plan("chat"))
    text = report.card.read_text()
    assert text == card(artifacts.read_json(report.manifest))
    front = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    assert (front["license"], front["license_name"], front["language"]) == ("other", "Odd: Licence", ["no"])
    body = text.split("\n---\n", 1)[1]
    for wrong in ("SECRET", "<img", "<b>", "[l](", "![", "\n# owned", "| [l]"):
        assert wrong not in body
    assert "Spearman 0.91" in body and "approved by Bo" in body
    assert "\n" not in escaped("a\nb\u2028c")


def test_the_command_line_of_a_plan_reads_back_as_the_plan(project, tmp_path, plan, monkeypatch):
    import engine.export.export as writing
    from engine.__main__ import main

    save(project, [0])
    seen = []

    def caught(*_, plan, **__):
        seen.append(plan)
        raise EngineError("stop")

    monkeypatch.setattr(writing, "export", caught)
    for asked in (
        plan(),
        plan("hf", added=()),
        plan("sharegpt", "parquet", columns=("source", "n"), added=("scores", "tags"), shard_mb=0.5),
        plan("chat", validation=0.05, group="field/source", seed=3, shard_rows=7),
    ):
        words = [str(word) for name, value in plan_options(asked) if value is not None for word in (name, value)]
        assert main(["export", str(project.path), "best", str(tmp_path / "o"), *words]) == 1
        assert seen[-1] == asked
    assert main(["export", str(project.path), "best", "o", "--format", "parquet", "--container", "hf"]) == 2
    assert len(seen) == 4


def test_fields_of_every_kind_keep_their_values_in_every_container(tmp_path, plan, loaded):
    project = Project.create(tmp_path / "project")
    held = {
        "whole": [1, None, -3, 4], "number": [1, 0.5, None, 2.25], "flag": [True, None, False, True],
        "mixed": ["a", 1, True, None], "nothing": [None] * 4, "id": ["x", "y", "z", "w"], "big": [2**53 + 1, 0, 1, 2],
        "huge": [10**30, 1, None, -2], "wild": [0.5, 10**400, 2, None],
    }  # fmt: skip
    turns = (Message("user", "q"), Message("assistant", "a"))
    rows = [Row(at + 1, f"{at}", None, turns, {name: held[name][at] for name in held}) for at in range(4)]
    project.add_rows("pool", "", SourceInfo("/data/a.jsonl", "aa", 9, "jsonl", {"schema": "chat", "fields": {}}), rows)
    names = [name for name in held if name != "id"]
    for container in CONTAINERS:
        out = tmp_path / f"out.{container}"
        export(project, save(project, range(4)), out, plan=plan("chat", container, columns=tuple(names)))
        records = loaded(out, container)["train"].to_list()
        found = {name: [record[name] for record in records] for name in names}
        texts = {"mixed": ["a", "1", "true", None], "huge": [f"1{30 * '0'}", "1", None, "-2"]}
        assert found == {**{name: held[name] for name in names}, **texts, "wild": ["0.5", f"1{400 * '0'}", "2", None]}
    with pytest.raises(EngineError, match="Two fields would be called id"):
        export(project, save(project, [0]), tmp_path / "x", plan=plan("chat", columns=("field:id",)))
