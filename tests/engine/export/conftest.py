"""Projects to export from: a small one with rows that tempt every form to go wrong, and one made of real files."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data.samples import Message, Row, SourceInfo
from engine.export.plan import Plan, named
from engine.store import artifacts
from engine.store.project import Project
from engine.store.records import RunRecord
from tests.catalogues import loaded
from tests.copies import built_once

ALPACA = {"schema": "alpaca", "fields": {"prompt": "instruction", "input": "input", "response": "output"}}
RAW = [
    '{"instruction": "Add", "input": "1, 2",  "output": "3"}',
    '{"output":"caf\\u00e9 ☕", "instruction":"Say", "input":""} ',
    '\t{"instruction": "a\\u0000b", "input": "", "output": "\u2028line"}\r',
]


@pytest.fixture
def raw() -> list[str]:
    """The original lines of the project's first rows."""
    return RAW


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Three Alpaca rows, and two chats: one of two turns, one with a tool."""
    _build(tmp_path)
    with loaded():
        yield Project(tmp_path / "project")


@built_once
def _build(folder: Path) -> None:
    made = Project.create(folder / "project")
    rows = []
    for i, raw in enumerate(RAW):
        v = json.loads(raw)
        user = f"{v['instruction']}\n\n{v['input']}" if v["input"] else v["instruction"]
        messages = (Message("user", user), Message("assistant", v["output"]))
        rows.append(Row(i + 1, raw, f"s{i}", messages, {"source": "ab"[i % 2], "n": i}))
    made.add_rows("pool", "", SourceInfo("/data/a.jsonl", "aa", 9, "jsonl", ALPACA), rows)
    two = [("system", "Be brief"), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "Ciao")]
    tool = [("user", "Time?"), ("tool", "12:00"), ("assistant", "Noon")]
    chats = [Row(i + 1, json.dumps(c), None, tuple(Message(*m) for m in c), {}) for i, c in enumerate((two, tool))]
    made.add_rows("pool", "", SourceInfo("/data/b.jsonl", "bb", 9, "jsonl", {"schema": "chat", "fields": {}}), chats)


@pytest.fixture
def plan() -> Callable[..., Plan]:
    """A plan from the word of `--format` and further settings."""

    def make(format: str = "original", container: str = "", **settings: Any) -> Plan:
        return Plan(**named(format, container), **settings)

    return make


@pytest.fixture
def add_scores() -> Callable[..., RunRecord]:
    """A function that records a run with these scores of the first rows, and one target set."""

    def add(project: Project, score: list[float], target: list[float], name: str = "r", **changed: Any) -> RunRecord:
        values, column = np.array(score, np.float32), np.array(target, np.float32)[:, None]
        arrays = {"score": values, "columns": column, "matrix": column, "loss": values}
        arrays |= {"status": np.ones(len(score), np.uint8), "roles": np.zeros(len(score), np.uint8)}
        summary = {"sets": [{"name": "maths", "rows": 1, "items": [0]}], **changed.pop("summary", {})}
        with artifacts.create(project.artifacts, "scores", name, {"model": {"name": "builtin", "sha256": "m"}}) as at:
            for array, held in arrays.items():
                artifacts.save_array(at, array, held)
            artifacts.write_json(at / "summary.json", summary)
        record = RunRecord(
            name=name, method="landmark", model="builtin", config=changed.pop("config", {"seed": 7}),
            artifact=f"scores-{name}", rows=len(score), pool_hash=project.pool_hash(), targets=["maths"],
            summary=summary,
        )  # fmt: skip
        return project.add_run(record)

    return add
