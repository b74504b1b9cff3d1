"""A small project and rows to fill it with."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.data.samples import Message, Row, SourceInfo
from engine.store.project import Project
from tests.copies import built_once

MakeRow = Callable[..., Row]
MakeInfo = Callable[..., SourceInfo]


@built_once
def _empty(folder: Path) -> None:
    Project.create(folder / "project")


@built_once
def _filled(folder: Path) -> None:
    rows = [_row(i + 1, own_id=f"s{i}", source="ab"[i % 2], number=i) for i in range(10)]
    Project.create(folder / "project").add_rows("pool", "", _info(), rows)


def _row(line: int, text: str = "", *, own_id: str | None = None, answer: str = "yes", **fields: object) -> Row:
    messages = (Message("user", text or f"question {line}"), Message("assistant", answer))
    raw = json.dumps({"line": line, "text": text, **fields}, ensure_ascii=False)
    return Row(line, raw, own_id, messages, dict(fields))  # type: ignore[arg-type]


def _info(sha256: str = "aa", *, path: str = "/data/pool.jsonl", mapping: dict | None = None) -> SourceInfo:
    return SourceInfo(path, sha256, 100, "jsonl", mapping or {"schema": "chat", "fields": {}})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    _empty(tmp_path)
    return Project(tmp_path / "project")


@pytest.fixture
def make_row() -> MakeRow:
    return _row


@pytest.fixture
def make_info() -> MakeInfo:
    return _info


@pytest.fixture
def filled(tmp_path: Path) -> Project:
    """Ten pool rows with ids s0 to s9, sources a and b in turn."""
    _filled(tmp_path)
    return Project(tmp_path / "project")
