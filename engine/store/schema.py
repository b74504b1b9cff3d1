"""The tables of the catalogue and how an older catalogue becomes a current one.

The schema is the sum of ordered migrations: a new catalogue runs all of them, an older one those it lacks, in one
transaction and after a backup copy beside it. A catalogue newer than this engine is refused and left as it is.

Notation: a *set* is the pool, one target set or one owned set; `row` counts its usable rows from 0.
`files.texts` names the artifact that holds the raw lines and messages of a file.
`duplicates` and `id_clashes` are sparse: they hold only the rows and ids that are marked.
`decision_batches`, `tag_batches`, `audits`, `audit_progress` and `selection_events` are append-only;
`decision_snapshot` is a cache of the replay of decisions up to `batch`, never the truth.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb

from engine.errors import EngineError
from engine.store.catalogue import first

_FIRST = (
    "CREATE TABLE meta (key VARCHAR NOT NULL, value VARCHAR NOT NULL)",
    "CREATE TABLE sets (set_id INTEGER NOT NULL, role VARCHAR NOT NULL, name VARCHAR NOT NULL)",
    """CREATE TABLE files (
        file_id INTEGER NOT NULL, set_id INTEGER NOT NULL, name VARCHAR NOT NULL, path VARCHAR NOT NULL,
        sha256 VARCHAR NOT NULL, bytes BIGINT NOT NULL, format VARCHAR NOT NULL, mapping VARCHAR NOT NULL,
        texts VARCHAR NOT NULL, first_row BIGINT NOT NULL, usable BIGINT NOT NULL, bad BIGINT NOT NULL,
        duplicates BIGINT NOT NULL, added VARCHAR NOT NULL)""",
    """CREATE TABLE samples (
        set_id INTEGER NOT NULL, row BIGINT NOT NULL, file_id INTEGER NOT NULL, line BIGINT NOT NULL,
        hash VARCHAR NOT NULL, own_id VARCHAR, chars INTEGER NOT NULL, words INTEGER NOT NULL,
        fields MAP(VARCHAR, VARCHAR) NOT NULL)""",
    "CREATE TABLE duplicates (set_id INTEGER NOT NULL, row BIGINT NOT NULL, first_row BIGINT NOT NULL)",
    "CREATE TABLE id_clashes (set_id INTEGER NOT NULL, own_id VARCHAR NOT NULL)",
    "CREATE TABLE field_names (set_id INTEGER NOT NULL, position INTEGER NOT NULL, name VARCHAR NOT NULL)",
    """CREATE TABLE bad_rows (
        file_id INTEGER NOT NULL, line BIGINT NOT NULL, reason VARCHAR NOT NULL, excerpt VARCHAR NOT NULL)""",
    """CREATE TABLE decision_batches (
        batch BIGINT NOT NULL, made VARCHAR NOT NULL, author VARCHAR NOT NULL, kind VARCHAR NOT NULL, undoes BIGINT,
        note VARCHAR NOT NULL, touched BIGINT NOT NULL, rows INTEGER[] NOT NULL,
        decisions TINYINT[] NOT NULL, previous TINYINT[] NOT NULL)""",
    "CREATE TABLE decision_snapshot (batch BIGINT NOT NULL, codes BLOB NOT NULL)",
    """CREATE VIEW decision_log AS SELECT batch, made, author, kind, undoes, note,
        unnest(rows) AS row, unnest(decisions) AS decision, unnest(previous) AS previous FROM decision_batches""",
    """CREATE TABLE selections (
        selection INTEGER NOT NULL, name VARCHAR NOT NULL, version INTEGER NOT NULL, spec VARCHAR NOT NULL,
        run VARCHAR, weighted BOOLEAN NOT NULL, created VARCHAR NOT NULL, author VARCHAR NOT NULL,
        decision_batch BIGINT NOT NULL)""",
    "CREATE TABLE selection_rows (selection INTEGER NOT NULL, row INTEGER NOT NULL, weight FLOAT)",
    """CREATE TABLE selection_approvals (
        selection INTEGER NOT NULL, author VARCHAR NOT NULL, made VARCHAR NOT NULL, note VARCHAR NOT NULL)""",
    """CREATE TABLE runs (
        name VARCHAR NOT NULL, method VARCHAR NOT NULL, model VARCHAR NOT NULL, config VARCHAR NOT NULL,
        artifact VARCHAR NOT NULL, covered BIGINT NOT NULL, pool_hash VARCHAR NOT NULL, targets VARCHAR NOT NULL,
        state VARCHAR NOT NULL, created VARCHAR NOT NULL, summary VARCHAR NOT NULL)""",
    """CREATE TABLE maps (
        position INTEGER NOT NULL, name VARCHAR NOT NULL, artifact VARCHAR NOT NULL, covered BIGINT NOT NULL,
        pool_hash VARCHAR NOT NULL, features VARCHAR NOT NULL, created VARCHAR NOT NULL, summary VARCHAR NOT NULL)""",
    """CREATE TABLE signals (
        position INTEGER NOT NULL, artifact VARCHAR NOT NULL, covered BIGINT NOT NULL, pool_hash VARCHAR NOT NULL,
        created VARCHAR NOT NULL)""",
)

# the place of each row in the order a strategy took them, from 0, and what it gained; null where it took them together
_GAINS = (
    "ALTER TABLE selection_rows ADD COLUMN place INTEGER",
    "ALTER TABLE selection_rows ADD COLUMN gain DOUBLE",
)

# the curator's desk: what happened to a selection (proposed, approved, returned; `details` as JSON), tags, where an
# imported batch of decisions came from, and why each row is in a selection
_DESK = (
    """CREATE TABLE selection_events (
        selection INTEGER NOT NULL, kind VARCHAR NOT NULL, author VARCHAR NOT NULL, made VARCHAR NOT NULL,
        note VARCHAR NOT NULL, details VARCHAR)""",
    "INSERT INTO selection_events SELECT selection, 'approved', author, made, note, NULL FROM selection_approvals",
    "DROP TABLE selection_approvals",
    """CREATE TABLE tag_batches (
        batch BIGINT NOT NULL, made VARCHAR NOT NULL, author VARCHAR NOT NULL, tag VARCHAR NOT NULL,
        kind VARCHAR NOT NULL, rows INTEGER[] NOT NULL)""",
    "ALTER TABLE decision_batches ADD COLUMN origin VARCHAR",
    "ALTER TABLE selection_rows ADD COLUMN reason VARCHAR",
)

# random audits: who drew which rows, in which order, from which of the rows then undecided (`members`: one bit a row),
# and how far the reviewer got; and which tags stand
_AUDITS = (
    """CREATE TABLE audits (
        audit INTEGER NOT NULL, made VARCHAR NOT NULL, author VARCHAR NOT NULL, seed BIGINT NOT NULL,
        pool BIGINT NOT NULL, population BIGINT NOT NULL, filters VARCHAR NOT NULL, decision_batch BIGINT NOT NULL,
        members BLOB NOT NULL, rows INTEGER[] NOT NULL)""",
    """CREATE TABLE audit_progress (
        audit INTEGER NOT NULL, made VARCHAR NOT NULL, author VARCHAR NOT NULL, reached BIGINT NOT NULL)""",
    """CREATE VIEW tags AS SELECT tag, row FROM (SELECT tag, kind, batch, unnest(rows) AS row FROM tag_batches)
        GROUP BY tag, row HAVING arg_max(kind, batch) = 'add'""",
)

Migration = tuple[str, ...]
MIGRATIONS: tuple[Migration, ...] = (_FIRST, _GAINS, _DESK, _AUDITS)


def version_of(con: duckdb.DuckDBPyConnection) -> int:
    """Return the schema version of an open catalogue; 0 for an empty database."""
    tables = {name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if not tables:
        return 0
    found = first(con, "SELECT value FROM meta WHERE key = 'schema'") if "meta" in tables else None
    if found is None:
        raise EngineError("The file is a DuckDB database, but not a Touchstone catalogue. It was left as it is.")
    return int(found[0])


def migrate(con: duckdb.DuckDBPyConnection, path: Path, migrations: Sequence[Migration] = ()) -> int:
    """Bring the catalogue at `path` to the current version; return the version it had.

    One transaction, after a backup copy `<path>.v<old>.backup` unless the catalogue is new. Raises `EngineError` for
    a catalogue newer than this engine. A failing migration leaves the catalogue as it was.
    """
    steps = tuple(migrations) or MIGRATIONS
    old = version_of(con)
    if old > len(steps):
        raise EngineError(
            f"{path.parent} was written by a newer Touchstone (catalogue version {old}; this one reads up to "
            f"{len(steps)}). Update Touchstone; the project was left as it is."
        )
    if old == len(steps):
        return old
    if old:
        _back_up(con, path, path.with_name(f"{path.name}.v{old}.backup"))
    con.begin()
    try:
        for statements in steps[old:]:
            for statement in statements:
                con.execute(statement)
        con.execute("DELETE FROM meta WHERE key = 'schema'")
        con.execute("INSERT INTO meta VALUES ('schema', ?)", [str(len(steps))])
        con.commit()
    except BaseException:
        con.rollback()
        raise
    return old


def _back_up(con: duckdb.DuckDBPyConnection, path: Path, backup: Path) -> None:
    """Copy through DuckDB itself: closing a second handle of the file would drop this process's lock on it."""
    if backup.exists():
        return
    work = backup.with_name(f"{backup.name}.part")
    work.unlink(missing_ok=True)
    name = first(con, "SELECT current_database()")
    quoted = '"' + str(name[0] if name else path.stem).replace('"', '""') + '"'
    con.execute("ATTACH '" + str(work).replace("'", "''") + "' AS touchstone_backup")
    try:
        con.execute(f"COPY FROM DATABASE {quoted} TO touchstone_backup")
    finally:
        con.execute("DETACH touchstone_backup")
    work.replace(backup)
