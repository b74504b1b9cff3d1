"""What the catalogue hands out: frozen records, all of them copies that no later change reaches.

Notation: *row* counts the usable rows of a set from 0 in order of addition; *line* is the place in the file, from 1;
times are ISO 8601 in UTC. Does not read or write anything.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from engine.data.samples import Message, Scalar

RoleName = Literal["pool", "target", "owned", "heldout"]
ROLES: tuple[str, ...] = get_args(RoleName)


def now() -> str:
    """Return the present moment in UTC, ISO 8601 to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class FileRecord:
    """One file (or data set) that was added: what it is, how it was read and what came of it."""

    file_id: int
    role: str
    set_name: str
    name: str
    path: str
    sha256: str
    bytes: int
    format: str
    mapping: dict[str, Any]
    rows: int
    bad: int
    duplicates: int
    added: str


@dataclass(frozen=True)
class IntakeReport:
    """What came of one addition. `already`: the same content was there, nothing was done, counts are those stored.

    `duplicates`: usable rows whose messages equal those of an earlier row of the set. `reasons`: bad rows by reason.
    """

    rows: int
    bad: int
    duplicates: int
    already: bool
    reasons: dict[str, int]
    set_name: str


@dataclass(frozen=True)
class TargetSet:
    """A named target set: usable rows and rows set aside."""

    name: str
    rows: int
    bad: int


@dataclass(frozen=True)
class Counts:
    """Sizes: usable and bad pool rows, duplicates among the usable, rows per target set, rows already owned, pool rows
    per decision."""

    pool: int
    bad: int
    duplicates: int
    targets: dict[str, int]
    owned: int
    decisions: dict[str, int]


@dataclass(frozen=True)
class StoredRow:
    """One usable row as it is kept.

    `id`: the own id where unique in the set, else `engine_id` (16 digits of the content hash, "-", row). `raw`: the
    original line. `chars`, `words`: over all messages. `duplicate_of`: first row with the same messages, or -1.
    """

    row: int
    id: str
    engine_id: str
    own_id: str | None
    file: str
    line: int
    raw: str
    messages: tuple[Message, ...]
    fields: dict[str, Scalar]
    chars: int
    words: int
    duplicate_of: int

    @property
    def id_clash(self) -> bool:
        """Whether the row has an own id that is not unique in its set."""
        return self.own_id is not None and self.id != self.own_id


@dataclass(frozen=True)
class StoredBadRow:
    """One row set aside: where it was, why, and how it begins."""

    file: str
    line: int
    reason: str
    excerpt: str


@dataclass(frozen=True)
class RunRecord:
    """One scoring run: `artifact` is a folder name under the project's artifacts, `rows` the pool rows it covers."""

    name: str
    method: str
    model: str
    config: dict[str, Any]
    artifact: str
    rows: int
    pool_hash: str
    targets: list[str]
    state: str = "done"
    created: str = ""
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MapRecord:
    """One map of the pool: `artifact` is a folder name under the project's artifacts."""

    name: str
    artifact: str
    rows: int
    pool_hash: str
    features: str
    created: str = ""
    summary: dict[str, Any] = field(default_factory=dict)
