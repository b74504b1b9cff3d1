"""A small project and rows to fill it with."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.data.samples import Message, Row, SourceInfo
from engine.store.project import Project

MakeRow = Callable[..., Row]
MakeInfo = Callable[..., SourceInfo]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "project")


@pytest.fixture
def make_row() -> MakeRow:
    def make(line: int, text: str = "", *, own_id: str | None = None, answer: str = "yes", **fields: object) -> Row:
        messages = (Message("user", text or f"question {line}"), Message("assistant", answer))
        raw = json.dumps({"line": line, "text": text, **fields}, ensure_ascii=False)
        return Row(line, raw, own_id, messages, dict(fields))  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_info() -> MakeInfo:
    def make(sha256: str = "aa", *, path: str = "/data/pool.jsonl", mapping: dict | None = None) -> SourceInfo:
        return SourceInfo(path, sha256, 100, "jsonl", mapping or {"schema": "chat", "fields": {}})

    return make


@pytest.fixture
def filled(project: Project, make_row: MakeRow, make_info: MakeInfo) -> Project:
    """Ten pool rows with ids s0 to s9, sources a and b in turn."""
    rows = [make_row(i + 1, own_id=f"s{i}", source="ab"[i % 2], number=i) for i in range(10)]
    project.add_rows("pool", "", make_info(), rows)
    return project
