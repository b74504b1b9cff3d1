"""From a source as the user names it to a stream of records: one file, a folder or a hub name.

A source is a list of files, each read by the reader of its format (`READERS`). Every pass opens the files anew.
In a source of several files the lines count on from file to file, and a bad row's reason names the file's line.
Does not know schemas (`schemas`) or make rows (`intake`).
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from engine.data.columnar import read_arrow, read_parquet
from engine.data.comma_values import read_comma_values
from engine.data.formats import SUFFIXES, FileFormat, FormatName, check_file, detect, open_bytes
from engine.data.hugging_face import Collection, find_folder, find_hub, is_hub_name
from engine.data.json_arrays import read_json_array
from engine.data.json_lines import read_json_lines
from engine.data.records import Record, bad_row
from engine.data.samples import BadRow
from engine.errors import EngineError

Records = Iterator[Record | BadRow]


@dataclass(frozen=True)
class DataFile:
    """One file and its format."""

    path: Path
    format: FileFormat

    def records(self) -> Records:
        """Yield the file's records and bad rows; a stream that breaks off ends with a bad row that says so."""
        return READERS[self.format.name](self)


@dataclass(frozen=True)
class Source:
    """What the user named: `name` as given, `label` its format in words, `files` in order."""

    name: str
    label: str
    files: tuple[DataFile, ...]

    def records(self) -> Records:
        """Yield every record and bad row of all files, lines counting on."""
        if len(self.files) == 1:
            yield from self.files[0].records()
            return
        before = 0
        for file in self.files:
            last = 0
            for item in file.records():
                last = item.line
                if isinstance(item, BadRow):
                    item = replace(item, reason=f"{item.reason} ({file.path.name}, line {last})")
                yield replace(item, line=before + last)
            before += last

    def digest(self) -> tuple[str, int]:
        """Return (SHA-256 in hex, bytes) of the content as stored: of the file, or over its files' digests in order."""
        digests, total = [], 0
        for file in self.files:
            with file.path.open("rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
                total += stream.tell()
        if len(digests) == 1:
            return digests[0], total
        return hashlib.sha256("\n".join(digests).encode()).hexdigest(), total

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Return size and time of change of every file, to notice a file that changes while it is read."""
        found = [file.path.stat() for file in self.files]
        return tuple((stat.st_size, stat.st_mtime_ns) for stat in found)


def open_source(source: str | Path, *, head_only: bool = False) -> Source:
    """Return the source behind a path or name; an existing file or folder beats a hub name.

    `head_only`: of a hub data set only the first file is downloaded. Raises EngineError for an unknown, unreadable,
    empty or binary file, an unknown format, or a data set that cannot be had.
    """
    name = str(source)
    path = Path(name).expanduser()
    if path.is_dir():
        return _collected(name, find_folder(path))
    base, mark, wanted = name.rpartition("#")
    if mark and not path.exists() and Path(base).expanduser().is_dir():
        return _collected(name, find_folder(Path(base).expanduser(), wanted))
    if not path.exists() and is_hub_name(name) and not _names_a_file(path):
        return _collected(name, find_hub(name, first_only=head_only))
    check_file(path)
    found = detect(path)
    return Source(name, found.label, (DataFile(path, found),))


def _names_a_file(path: Path) -> bool:
    return any(suffix.lower() in (*SUFFIXES, ".gz", ".zst", ".txt") for suffix in path.suffixes[-2:])


def _collected(name: str, found: Collection) -> Source:
    files = tuple(DataFile(path, detect(path, hint=hint)) for path, hint in zip(found.files, found.hints, strict=True))
    labels = " and ".join(sorted({file.format.label for file in files}))
    split = f", split {found.split}" if found.split else ""
    return Source(name, f"Hugging Face {found.kind}: {labels}{split}", files)


def _read_lines(file: DataFile) -> Records:
    with open_bytes(file.path, file.format.compression) as stream:
        yield from read_json_lines(stream)


def _read_elements(file: DataFile) -> Records:
    with open_bytes(file.path, file.format.compression) as stream:
        yield from read_json_array(stream, layout=file.format.layout, start=file.format.start)


def _read_csv(file: DataFile) -> Records:
    with open_bytes(file.path, file.format.compression) as stream:
        yield from read_comma_values(stream)


def _guarded(read: Callable[[DataFile], Records]) -> Callable[[DataFile], Records]:
    """Turn a stream that breaks off (a damaged archive, a failing disk) into a last bad row."""

    def records(file: DataFile) -> Records:
        line = 0
        try:
            for item in read(file):
                line = item.line
                yield item
        except OSError as error:
            if line == 0:
                raise EngineError(f"{file.path.name!r} cannot be read: {error}. Nothing was added.") from None
            yield bad_row(line + 1, f"unreadable: the rest of the file cannot be read ({error})")

    return records


READERS: dict[FormatName, Callable[[DataFile], Records]] = {
    "jsonl": _guarded(_read_lines),
    "json": _guarded(_read_elements),
    "csv": _guarded(_read_csv),
    "parquet": _guarded(lambda file: read_parquet(file.path)),
    "arrow": _guarded(lambda file: read_arrow(file.path)),
}
