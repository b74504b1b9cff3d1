"""Migrations: an older catalogue is brought up in one step after a backup; a newer one is left alone."""

import duckdb
import pytest

from engine.errors import EngineError
from engine.store import schema
from engine.store.project import Project

NEXT = ("CREATE TABLE extra (x INTEGER)", "INSERT INTO extra VALUES (7)")


def test_an_older_project_is_migrated_after_a_backup_that_opens(filled, monkeypatch):
    filled.decide([1], "approve", by="Ada")
    rows = filled.rows(range(10))
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, NEXT))
    project = Project.open(filled.path)
    with project.session() as con:
        assert con.execute("SELECT x FROM extra").fetchall() == [(7,)]
        assert schema.version_of(con) == len(schema.MIGRATIONS)
    assert project.rows(range(10)) == rows
    assert project.decisions().sum() == 1
    before = len(schema.MIGRATIONS) - 1
    backup = filled.path / f"project.duckdb.v{before}.backup"
    with duckdb.connect(str(backup)) as con:
        assert schema.version_of(con) == before
        assert con.execute("SELECT count(*) FROM samples").fetchall() == [(10,)]
        assert con.execute("SELECT count(*) FROM decision_log").fetchall() == [(1,)]
    Project.open(filled.path)


def test_a_failing_migration_changes_nothing(filled, monkeypatch):
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, (*NEXT, "THIS IS NO SQL")))
    with pytest.raises(duckdb.Error):
        Project.open(filled.path)
    monkeypatch.undo()
    project = Project.open(filled.path)
    assert project.counts().pool == 10
    with project.session() as con:
        assert con.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'extra'").fetchall() == [(0,)]


def test_a_newer_project_is_refused_and_left_as_it_is(filled, monkeypatch):
    with filled.changing() as con:
        con.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    before = filled.stamp()
    with pytest.raises(EngineError, match="written by a newer Touchstone"):
        Project.open(filled.path)
    assert filled.stamp() == before
    assert list(filled.path.glob("*.backup")) == []
