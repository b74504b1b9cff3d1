"""Random audits in the file of decisions: what is written of one, and how another copy of the project takes it in.

The *drawn* rows are named as those of decisions are, by content, id and copy (places among the log's rows). Of the
*members*, who may be all of a million rows, only one bit a row is written, file by file of the pool: a file is known by
its hash and how it was read. An audit is known by its `key`; how far it was answered is the furthest of both copies. An
audit is taken in whole or, where its files or rows are not in this pool, left out and told, because its estimate is
about all of its members. Knows nothing of estimates.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

from engine.store import audits, reading

LARGEST_FILE = 10**8  # rows; a bit each has to fit into memory before the file is known
_Check = Callable[[bool, str], None]


@dataclass(frozen=True)
class FileBits:
    """Which of the `usable` rows of one file of the pool are members, one bit each; `mapping` says how it was read."""

    name: str
    sha256: str
    mapping: str
    usable: int
    bits: bytes

    @property
    def count(self) -> int:
        """How many are."""
        return int(np.bitwise_count(np.frombuffer(self.bits, np.uint8)).sum())

    @property
    def members(self) -> np.ndarray:
        """bool (usable,)."""
        return np.unpackbits(np.frombuffer(self.bits, np.uint8), count=self.usable).astype(bool)


@dataclass(frozen=True)
class SentAudit:
    """One audit as it travels: `rows` int64 in the order drawn, places among the log's rows (or pool rows).

    `batch`: key of the latest batch of decisions when it began, "" for none. `reached` with who and when last.
    """

    made: str
    by: str
    seed: int
    population: int
    filters: str
    batch: str
    rows: np.ndarray
    files: tuple[FileBits, ...]
    reached: int
    reached_by: str
    reached_at: str

    @property
    def key(self) -> tuple[str, str, int, int, str]:
        """What identifies it among all copies."""
        return self.made, self.by, self.seed, self.population, self.filters


@dataclass(frozen=True)
class TakenAudits:
    """What taking audits in does: `new` ones, known ones answered `further`, and why others are left out."""

    new: int = 0
    further: int = 0
    left_out: tuple[str, ...] = ()


def own_audits(con: duckdb.DuckDBPyConnection, keys: Mapping[int, str]) -> list[SentAudit]:
    """Every audit of the project in order, its rows as pool rows; `keys` are those of the batches of decisions."""
    files = _files(con)
    found = []
    for number in range(1, audits.count(con) + 1):
        audit = audits.get(con, number)
        reached, by, at = audits.progress(con, number)
        bits = tuple(_bits(audit.members, *file) for file in files)
        found.append(SentAudit(
            audit.made, audit.by, audit.seed, audit.population, audit.filters, keys.get(audit.decision_batch, ""),
            audit.rows.astype(np.int64), tuple(b for b in bits if b.count), reached, by, at,
        ))  # fmt: skip
    return found


def _files(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str, int, int]]:
    """Name, hash, mapping, first row and number of rows of the pool's files, in order."""
    query = """SELECT f.name, f.sha256, f.mapping, f.first_row, f.usable FROM files f JOIN sets USING (set_id)
        WHERE sets.role = 'pool' ORDER BY f.first_row"""
    return con.execute(query).fetchall()


def _bits(members: np.ndarray, name: str, sha256: str, mapping: str, start: int, usable: int) -> FileBits:
    held = np.zeros(usable, bool)
    part = members[start : start + usable]
    held[: len(part)] = part
    return FileBits(name, sha256, mapping, usable, np.packbits(held).tobytes())


def told(audit: SentAudit) -> dict[str, Any]:
    """The audit as JSON values."""
    simple = {name: getattr(audit, name) for name in ("made", "by", "seed", "population", "filters", "batch")}
    reached = {"reached": audit.reached, "reached_by": audit.reached_by, "reached_at": audit.reached_at}
    files = [
        {"name": f.name, "sha256": f.sha256, "mapping": f.mapping, "usable": f.usable,
         "members": base64.b64encode(zlib.compress(f.bits, 6)).decode()}
        for f in audit.files
    ]  # fmt: skip
    return simple | reached | {"rows": audit.rows.tolist(), "files": files}


def parsed(
    found: dict[str, Any],
    *,
    check: _Check,
    text: Callable[[Any], str],
    moment: Callable[[str], str],
    whole: Callable[[Any], np.ndarray],
) -> SentAudit:
    """The audit of `told`'s values. Raises `ValueError`, `TypeError` or `KeyError` for anything else."""
    by, filters, batch, reached_by = (text(found[name]) for name in ("by", "filters", "batch", "reached_by"))
    counts = whole([found[name] for name in ("seed", "population", "reached")]).tolist()
    rows = whole(found["rows"])
    reached_at = moment(text(found["reached_at"])) if counts[2] else ""
    check(bool(by.strip()) and (not counts[2] or bool(reached_by.strip())), "an audit's author")
    check(len(np.unique(rows)) == len(rows) > 0, "an audit's samples")
    check(0 <= counts[2] <= len(rows) <= counts[1], "an audit's counts")
    files = tuple(_parsed_file(entry, check=check, text=text) for entry in found["files"])
    check(sum(file.count for file in files) == counts[1], "an audit's members")
    made = moment(text(found["made"]))
    return SentAudit(made, by, counts[0], counts[1], filters, batch, rows, files, counts[2], reached_by, reached_at)


def _parsed_file(entry: dict[str, Any], *, check: _Check, text: Callable[[Any], str]) -> FileBits:
    name, sha256, mapping, packed = (text(entry[key]) for key in ("name", "sha256", "mapping", "members"))
    usable = entry["usable"]
    check(type(usable) is int and 0 < usable < LARGEST_FILE, "a file's samples")
    try:
        unpack = zlib.decompressobj()
        bits = unpack.decompress(base64.b64decode(packed, validate=True), usable // 8 + 1)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"members cannot be read, {error}") from error
    check(len(bits) == -(-usable // 8) and unpack.eof, "a file's members")
    check(not bits[-1] & ((1 << (-usable % 8)) - 1), "a file's members")
    return FileBits(name, sha256, mapping, usable, bits)


def take_in(
    con: duckdb.DuckDBPyConnection,
    sent: Sequence[SentAudit],
    rows: np.ndarray,
    numbers: Mapping[str, int],
    *,
    dry_run: bool = False,
) -> TakenAudits:
    """Take in audits (inside the caller's transaction) whose rows are places among the pool rows `rows`, -1 unknown.

    `numbers` are those that the batches of decisions have here, by key. In a trial nothing is kept.
    """
    known = {audit.key: number for number, audit in enumerate(own_audits(con, {}), 1)} if sent else {}
    n, files = reading.size(con, "pool", ""), _files(con)
    new, further, left_out = 0, 0, []
    for audit in sent:
        number = known.get(audit.key)
        if number is None:
            why, members, drawn = _placed(con, audit, rows, files, n)
            if why:
                left_out.append(f"The audit by {audit.by} of {audit.made[:16].replace('T', ' ')} UTC {why}")
                continue
            new += 1
            if not dry_run:
                number = audits.keep(
                    con, members=members, rows=drawn, seed=audit.seed, filters=audit.filters, by=audit.by,
                    made=audit.made, batch=numbers.get(audit.batch, 0),
                )  # fmt: skip
        elif audit.reached > audits.reached(con, number):
            further += 1
        if number is not None and not dry_run:
            audits.reach(con, number, audit.reached, by=audit.reached_by, made=audit.reached_at)
    return TakenAudits(new, further, tuple(left_out))


def _placed(
    con: duckdb.DuckDBPyConnection,
    audit: SentAudit,
    rows: np.ndarray,
    files: Sequence[tuple[str, str, str, int, int]],
    n: int,
) -> tuple[str, np.ndarray, np.ndarray]:
    """Why the audit cannot be taken in, "" where it can; its members here, bool (n,), and its drawn rows."""
    members, drawn = np.zeros(n, bool), rows[audit.rows]
    places = {(sha256, _canonical(mapping), usable): start for _, sha256, mapping, start, usable in files}
    missing = 0
    for file in audit.files:
        start = places.get((file.sha256, _canonical(file.mapping), file.usable))
        if start is None:
            missing += file.count
        else:
            members[start : start + file.usable] |= file.members
    if missing:
        of_all = f"{missing:,} of {audit.population:,} samples it is about"
        return f"cannot be taken in, because {of_all} are of files that are not in this pool", members, drawn
    if (drawn < 0).any():
        lost = f"{int((drawn < 0).sum()):,} of {len(drawn):,} samples it draws"
        return f"cannot be taken in, because {lost} are not in this pool", members, drawn
    fits = _swapped(con, members, drawn) and len(np.unique(drawn)) == len(drawn)
    if not fits or members.sum() != audit.population:
        return "cannot be taken in, because it draws samples that are none of its members", members, drawn
    return "", members, drawn


def _swapped(con: duckdb.DuckDBPyConnection, members: np.ndarray, drawn: np.ndarray) -> bool:
    """Let a drawn row that is no member take the place of an equal one that is one and not drawn; whether all could.

    Rows equal in content and id cannot be told apart: files added in another order exchange them.
    """
    strangers = drawn[~members[drawn]]
    if not len(strangers):
        return True
    query = """SELECT a.row, b.row FROM samples a JOIN samples b USING (set_id, hash) JOIN sets USING (set_id)
        WHERE sets.role = 'pool' AND a.own_id IS NOT DISTINCT FROM b.own_id AND a.row <> b.row
        AND list_contains(?::BIGINT[], a.row) ORDER BY a.row, b.row"""
    taken = np.zeros(len(members), bool)
    taken[drawn] = True
    for one, other in con.execute(query, [strangers.tolist()]).fetchall():
        if not members[one] and members[other] and not taken[other]:
            members[one], members[other] = True, False
    return bool(members[drawn].all())


def _canonical(mapping: str) -> str:
    try:
        return json.dumps(json.loads(mapping), sort_keys=True)
    except ValueError:
        return mapping
