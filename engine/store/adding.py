"""From the staged files into the catalogue, set-wise and in one transaction.

Content duplicates and clashing own ids are marked here, in SQL over all rows of the set. A file that is there already
is recognised by its content hash and changes nothing. Does not read source files (`engine.data`, `staging`).
"""

import json
from dataclasses import replace
from pathlib import Path

import duckdb

from engine.data.samples import SourceInfo
from engine.errors import EngineError
from engine.store.catalogue import first
from engine.store.reading import ENGINE_ID, files, set_id_of
from engine.store.records import ROLES, FileRecord, IntakeReport, now
from engine.store.staging import Staged

UNNAMED = {"pool": "The pool", "owned": "Owned data"}
NAMED = {"target": "target set", "heldout": "held-out file"}


def check_set(role: str, set_name: str) -> None:
    """Refuse an unknown role and a set name that the command line or the scores file could not carry."""
    if role not in ROLES:
        raise EngineError(f"{role!r} is no role; expected one of {', '.join(ROLES)}. Nothing was added.")
    if role in UNNAMED and set_name:
        raise EngineError(f"{UNNAMED[role]} is one set and has no name; got {set_name!r}. Nothing was added.")
    if role in NAMED and not set_name:
        raise EngineError(f"A {NAMED[role]} needs a name. Nothing was added.")
    bad = set_name != set_name.strip() or len(set_name) > 100 or any(c == "," or not c.isprintable() for c in set_name)
    if bad:
        raise EngineError(
            f"{set_name!r} cannot name a set: no commas, no control characters, no space at the ends, "
            "at most 100 characters. Nothing was added."
        )


def already_there(con: duckdb.DuckDBPyConnection, role: str, set_name: str, info: SourceInfo) -> IntakeReport | None:
    """Return the stored counts if this content is in the set, None if it may be added.

    Raises `EngineError` if the content is there under another mapping, or a named set of the name has other content.
    """
    present = [f for f in files(con) if (f.role, f.set_name) == (role, set_name)]
    for record in present:
        if record.sha256 == info.sha256:
            _same_mapping(record, info)
            reasons = _reasons(con, record.file_id)
            return IntakeReport(record.rows, record.bad, record.duplicates, True, reasons, set_name)
    if role in NAMED and present:
        raise EngineError(
            f"The {NAMED[role]} {set_name!r} exists with other content ({present[0].name}, {present[0].rows:,} rows). "
            "Choose another name; it was left as it is."
        )
    return None


def import_staged(
    con: duckdb.DuckDBPyConnection, stage: Staged, *, role: str, set_name: str, info: SourceInfo
) -> IntakeReport:
    """Add the staged rows to the set (inside the caller's transaction) and mark duplicates and clashing ids.

    Another process may have added the same file meanwhile: then its rows stand and nothing is done.
    """
    known = already_there(con, role, set_name, info)
    if known is not None:
        return known
    set_id = _make_set(con, role, set_name)
    file_id = _scalar(con, "SELECT coalesce(max(file_id), 0) + 1 FROM files")
    base = _scalar(con, "SELECT coalesce(sum(usable), 0)::BIGINT FROM files WHERE set_id = ?", [set_id])
    _copy_rows(con, stage, set_id=set_id, file_id=file_id, base=base)
    duplicates = _mark_duplicates(con, set_id, base)
    _mark_clashes(con, set_id)
    _add_field_names(con, stage, set_id)
    mapping = json.dumps(info.mapping, sort_keys=True, ensure_ascii=False)
    path = _lasting(info.path)
    values = [file_id, set_id, Path(path).name or path, path, info.sha256, info.bytes, info.format]
    values += [mapping, stage.texts, base, stage.rows, stage.bad, duplicates, now()]
    con.execute(f"INSERT INTO files VALUES ({', '.join('?' * len(values))})", values)
    return IntakeReport(stage.rows, stage.bad, duplicates, False, dict(stage.reasons), set_name)


def _lasting(path: str) -> str:
    """A path that means the same from any folder; the name of a hub data set stays as it is."""
    return str(Path(path).expanduser().absolute()) if Path(path).expanduser().exists() else path


def _same_mapping(record: FileRecord, info: SourceInfo) -> None:
    given = replace(info, mapping=json.loads(json.dumps(info.mapping))).mapping
    if record.mapping != given:
        raise EngineError(
            f"{record.name} was added before with the mapping {json.dumps(record.mapping)}, now it is "
            f"{json.dumps(given)}. Rows are never re-read in place: make a new project for it. Nothing was changed."
        )


def _reasons(con: duckdb.DuckDBPyConnection, file_id: int) -> dict[str, int]:
    query = """SELECT trim(split_part(reason, ':', 1)) AS phrase, count(*) FROM bad_rows WHERE file_id = ?
        GROUP BY phrase ORDER BY min(line)"""
    return dict(con.execute(query, [file_id]).fetchall())


def _make_set(con: duckdb.DuckDBPyConnection, role: str, set_name: str) -> int:
    found = set_id_of(con, role, set_name)
    if found is not None:
        return found
    new = _scalar(con, "SELECT coalesce(max(set_id), 0) + 1 FROM sets")
    con.execute("INSERT INTO sets VALUES (?, ?, ?)", [new, role, set_name])
    return new


def _copy_rows(con: duckdb.DuckDBPyConnection, stage: Staged, *, set_id: int, file_id: int, base: int) -> None:
    con.execute(
        """INSERT INTO samples SELECT ?, ? + position, ?, line, hash, own_id, chars, words, fields
        FROM read_parquet(?)""",
        [set_id, base, file_id, str(stage.rows_path)],
    )
    if stage.bad:
        con.execute(
            "INSERT INTO bad_rows SELECT ?, line, reason, excerpt FROM read_parquet(?)", [file_id, str(stage.bad_path)]
        )


def _mark_duplicates(con: duckdb.DuckDBPyConnection, set_id: int, base: int) -> int:
    """Mark the new rows whose content occurs earlier in the set; rows that were there before keep their marks."""
    con.execute(
        """INSERT INTO duplicates
        WITH fresh AS (SELECT DISTINCT hash FROM samples WHERE set_id = $set AND row >= $base),
        firsts AS (SELECT hash, min(row) AS first_row FROM samples SEMI JOIN fresh USING (hash)
            WHERE set_id = $set GROUP BY hash HAVING count(*) > 1)
        SELECT $set, samples.row, firsts.first_row FROM samples JOIN firsts USING (hash)
        WHERE set_id = $set AND samples.row >= $base AND samples.row > firsts.first_row""",
        {"set": set_id, "base": base},
    )
    return _scalar(con, "SELECT count(*) FROM duplicates WHERE set_id = ? AND row >= ?", [set_id, base])


def _mark_clashes(con: duckdb.DuckDBPyConnection, set_id: int) -> None:
    """Mark own ids borne by several rows, and own ids that look like another row's engine id."""
    con.execute(
        f"""INSERT INTO id_clashes
        WITH own AS (SELECT own_id, row FROM samples WHERE set_id = $set AND own_id IS NOT NULL),
        posing AS (SELECT own_id, row, try_cast(split_part(own_id, '-', 2) AS BIGINT) AS other FROM own
            WHERE regexp_full_match(own_id, '[0-9a-f]{{16}}-[0-9]{{1,18}}'))
        SELECT $set, own_id FROM (
            SELECT own_id FROM own GROUP BY own_id HAVING count(*) > 1
            UNION SELECT posing.own_id FROM posing JOIN samples s ON s.row = posing.other
                AND s.set_id = $set AND {ENGINE_ID} = posing.own_id WHERE s.row <> posing.row)
        WHERE own_id NOT IN (SELECT own_id FROM id_clashes WHERE set_id = $set)""",
        {"set": set_id},
    )


def _add_field_names(con: duckdb.DuckDBPyConnection, stage: Staged, set_id: int) -> None:
    known = {n for (n,) in con.execute("SELECT name FROM field_names WHERE set_id = ?", [set_id]).fetchall()}
    fresh = [name for name in stage.field_names if name not in known]
    if fresh:
        entries = [(set_id, len(known) + at, name) for at, name in enumerate(fresh)]
        con.executemany("INSERT INTO field_names VALUES (?, ?, ?)", entries)


def _scalar(con: duckdb.DuckDBPyConnection, query: str, values: list[object] | None = None) -> int:
    found = first(con, query, values or ())
    return int(found[0]) if found else 0
