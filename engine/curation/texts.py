"""The texts of the pool as columns that can be scanned: prompts and responses, as they are and folded.

The store keeps rows to be read one by one. A search reads one column of all of them, so each file of the pool has an
artifact `search-<key>` beside its rows, made at a large pool's intake or when the pool is first searched: one Arrow
file per column and form,

    prompt.arrow, response.arrow, prompt-folded.arrow, response-folded.arrow

in batches of the same rows, compressed. Rows never change, so neither does the artifact, and files added later only
add their own. The *response* is every turn of the assistant and the *prompt* every other turn: a chat of many turns is
found wherever the words stand. Turns are parted by a line feed, which folded text does not hold otherwise; an empty
line parts them in the texts as they are. A second artifact, `words-<key>`, is the index of the folded columns
(`search_index`).

Reading and writing hold a few batches in memory. Does not know queries (`search_words`) or filters.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa

import engine
from engine.curation import search_index
from engine.curation.search_index import Index
from engine.curation.search_words import fold
from engine.errors import EngineError
from engine.progress import Reporter, Silent
from engine.store.artifacts import artifact_key, create, find
from engine.store.disk import disk_errors
from engine.store.project import Project
from engine.store.texts import RECORDS

STAGE, WORDS = "search", "words"
FORMAT, WORDS_FORMAT = 1, 1
BATCH_ROWS = 2048  # a few rows here and there are read without too many others
READ_ROWS = 8192
BATCH_CHARS = 8_000_000
WORKERS = 4

Side = Literal["prompt", "response"]
SIDES: tuple[str, ...] = get_args(Side)
_SCHEMA = pa.schema([("text", pa.large_string())])
_BUILDING = threading.Lock()


@dataclass(frozen=True)
class Part:
    """The rows of one pool file: the artifact of its rows, and which pool rows they are."""

    rows: str
    first: int
    count: int

    @property
    def key(self) -> str:
        """The key of its columns: the rows' artifact is never changed."""
        return artifact_key(stage=STAGE, search_format=FORMAT, rows=self.rows, count=self.count)

    @property
    def words_key(self) -> str:
        """The key of the index of its words."""
        return artifact_key(stage=WORDS, words_format=WORDS_FORMAT, columns=self.key)


def parts(project: Project) -> tuple[Part, ...]:
    """The files of the pool in row order."""
    query = """SELECT f.texts, f.first_row, f.usable FROM files f JOIN sets s USING (set_id)
        WHERE s.role = 'pool' ORDER BY f.first_row"""
    with project.session() as con:
        return tuple(Part(*values) for values in con.execute(query).fetchall())


def missing(project: Project) -> tuple[Part, ...]:
    """The files of the pool whose columns or index are not made yet."""
    return tuple(part for part in parts(project) if not _made(project, part))


def prepare(project: Project, *, reporter: Reporter | None = None) -> tuple[Part, ...]:
    """Make the columns and the index of the files that lack them, and return all files of the pool.

    File by file: each is kept as soon as it is whole.
    """
    listener = reporter or Silent()
    there = parts(project)
    while lacking := [part for part in there if not _made(project, part)]:
        with _BUILDING:
            _make(project, STAGE, lacking, "preparing the search", _write, listener)
            _make(project, WORDS, lacking, "indexing the words", _index, listener)
        there = parts(project)  # files may have been added meanwhile
    return there


def scan(
    project: Project,
    columns: Sequence[str],
    test: Callable[[dict[str, pa.Array]], np.ndarray],
    *,
    among: np.ndarray | None = None,
    prepared: Sequence[Part] | None = None,
    reporter: Reporter | None = None,
) -> np.ndarray:
    """bool (n,): what `test` says of the rows of the pool, or of those `among` (bool (n,)); False of the others.

    columns: names such as "prompt" and "response-folded"; `test` gets one Arrow array of texts for each and gives one
    truth value per row. Batches are tested side by side, in threads; one without rows asked for is not read. The
    columns are made first where they are missing, unless `prepared` are the files as `prepare` gave them.
    """
    listener = reporter or Silent()
    there = prepare(project, reporter=listener) if prepared is None else prepared
    work = [group for part in there for group in _grouped(_pieces(project, part, among))]
    listener.phase("searching", sum(len(piece.rows) for group in work for piece in group))
    passing = np.zeros(sum(part.count for part in there), bool)
    with ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as threads:
        try:
            for group, masks in zip(work, threads.map(lambda each: _tested(each, columns, test), work), strict=True):
                listener.check()
                listener.advance(sum(map(len, masks)))
                for piece, mask in zip(group, masks, strict=True):
                    passing[piece.first + piece.rows] = mask
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return passing


def index_of(project: Project, part: Part) -> Index:
    """The index of a file that is prepared."""
    return Index(project.artifacts / f"{WORDS}-{part.words_key}")


def sides(messages: Sequence[Any]) -> dict[str, list[str]]:
    """The turns of prompt and response; messages are pairs (role, content)."""
    return {
        "prompt": [content for role, content in messages if role != "assistant"],
        "response": [content for role, content in messages if role == "assistant"],
    }


def as_they_are(turns: Sequence[str]) -> str:
    """Turns as one text that a regular expression is applied to."""
    return "\n\n".join(turns)


def folded(turns: Sequence[str]) -> str:
    """Turns as one text that words and phrases are looked for in."""
    return "\n".join(fold(turn) for turn in turns)


_FORMS: dict[str, Callable[[Sequence[str]], str]] = {"": as_they_are, "-folded": folded}
COLUMNS = tuple(f"{side}{form}" for form in _FORMS for side in SIDES)
FOLDED = tuple(f"{side}-folded" for side in SIDES)


@dataclass(frozen=True)
class _Piece:
    """The `rows` (ascending, counted from the batch's first, pool row `first`) of a batch of `size` rows to be read."""

    folder: Path
    batch: int
    first: int
    size: int
    rows: np.ndarray


def _made(project: Project, part: Part) -> bool:
    return all(find(project.artifacts, *each) for each in ((STAGE, part.key), (WORDS, part.words_key)))


def _make(
    project: Project,
    stage: str,
    lacking: Sequence[Part],
    phase: str,
    write: Callable[[Project, Path, Part, Reporter], None],
    reporter: Reporter,
) -> None:
    """Make the artifacts of one stage for those of the files that lack them."""
    keys = {part: part.key if stage == STAGE else part.words_key for part in lacking}
    without = [part for part in lacking if find(project.artifacts, stage, keys[part]) is None]
    if without:
        reporter.phase(phase, sum(part.count for part in without))
    for part in without:
        manifest = {"rows": part.rows, "count": part.count, "version": engine.__version__}
        with (
            create(project.artifacts, stage, keys[part], manifest) as folder,
            disk_errors(f"write {folder}", "Nothing was searched."),
        ):
            write(project, folder, part, reporter)


def _write(project: Project, folder: Path, part: Part, reporter: Reporter) -> None:
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with ExitStack() as stack:
        files = {name: stack.enter_context(pa.OSFile(str(folder / f"{name}.arrow"), "wb")) for name in COLUMNS}
        out = {n: stack.enter_context(pa.ipc.new_file(f, _SCHEMA, options=options)) for n, f in files.items()}
        for batch in _turns(project.artifacts / part.rows, part.count):
            reporter.check()
            for side in SIDES:
                for form, join in _FORMS.items():
                    texts = pa.array([join(each[side]) for each in batch], pa.large_string())
                    out[f"{side}{form}"].write_batch(pa.record_batch([texts], schema=_SCHEMA))
            reporter.advance(len(batch))


def _turns(rows: Path, count: int) -> Iterator[list[dict[str, list[str]]]]:
    """The first `count` rows of a file's artifact in batches of bounded size."""
    batch: list[dict[str, list[str]]] = []
    characters = 0
    try:
        with (rows / RECORDS).open("rb") as stream:
            for _, line in zip(range(count), stream, strict=False):
                batch.append(sides(json.loads(line)[-1]))
                characters += len(line)
                if len(batch) >= BATCH_ROWS or characters >= BATCH_CHARS:
                    yield batch
                    batch, characters = [], 0
    except FileNotFoundError as error:
        raise EngineError(
            f"{rows / RECORDS} is missing: restore the project's backup. Nothing was searched."
        ) from error
    if batch:
        yield batch


def _index(project: Project, folder: Path, part: Part, reporter: Reporter) -> None:
    search_index.write(folder, FOLDED, _whole(project.artifacts / f"{STAGE}-{part.key}", FOLDED), reporter)


def _whole(folder: Path, columns: Sequence[str]) -> Iterator[dict[str, pa.Array]]:
    """The batches of some columns one after the other."""
    with ExitStack() as stack:
        files = {name: stack.enter_context(pa.OSFile(str(folder / f"{name}.arrow"))) for name in columns}
        readers = {name: pa.ipc.open_file(file) for name, file in files.items()}
        for at in range(readers[columns[0]].num_record_batches):
            yield {name: reader.get_batch(at).column(0) for name, reader in readers.items()}


def _pieces(project: Project, part: Part, among: np.ndarray | None) -> Iterator[_Piece]:
    """What is to be read of one file, batch by batch."""
    folder, starts = project.artifacts / f"{STAGE}-{part.key}", index_of(project, part).batches
    rows = np.arange(part.count) if among is None else np.flatnonzero(among[part.first : part.first + part.count])
    cuts = np.searchsorted(rows, starts)
    for at in np.flatnonzero(np.diff(cuts)).tolist():
        begin, size = int(starts[at]), int(starts[at + 1] - starts[at])
        yield _Piece(folder, at, part.first + begin, size, rows[cuts[at] : cuts[at + 1]] - begin)


def _grouped(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    """Pieces of one file that are read in one go: their batches have at most `READ_ROWS` rows, or there is one."""
    group: list[_Piece] = []
    for piece in pieces:
        if group and sum(each.size for each in group) + piece.size > READ_ROWS:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _tested(
    group: Sequence[_Piece], columns: Sequence[str], test: Callable[[dict[str, pa.Array]], np.ndarray]
) -> list[np.ndarray]:
    """What `test` says of the rows of each piece; read rather than mapped, lest a large pool fill the process."""
    masks = []
    with ExitStack() as stack:
        files = {n: stack.enter_context(pa.OSFile(str(group[0].folder / f"{n}.arrow"))) for n in columns}
        options = pa.ipc.IpcReadOptions(use_threads=False)
        readers = {name: pa.ipc.open_file(file, options=options) for name, file in files.items()}
        for piece in group:
            batch = {name: reader.get_batch(piece.batch).column(0) for name, reader in readers.items()}
            if 2 * len(piece.rows) > piece.size:  # copying most of them costs more than testing all
                masks.append(test(batch)[piece.rows])
            else:
                rows = pa.array(piece.rows)
                masks.append(test({name: column.take(rows) for name, column in batch.items()}))
    return masks
