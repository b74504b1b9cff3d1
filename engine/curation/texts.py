"""The texts of the pool as columns that can be scanned: prompts and responses, as they are and folded.

The store keeps rows to be read one by one. A search reads one column of all of them, so each file of the pool has an
artifact `search-<key>` beside its rows, made when the pool is first searched: one Arrow file per column and form,

    prompt.arrow, response.arrow, prompt-folded.arrow, response-folded.arrow

in batches of the same rows, compressed. Rows never change, so neither does the artifact, and files added later only
add their own. The *response* is every turn of the assistant and the *prompt* every other turn: a chat of many turns is
found wherever the words stand. Turns are parted by a line feed, which folded text does not hold otherwise; an empty
line parts them in the texts as they are.

Reading and writing hold a few batches in memory. Does not know queries (`search_words`) or filters.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa

import engine
from engine.curation.search_words import fold
from engine.errors import EngineError
from engine.progress import Reporter, Silent
from engine.store.artifacts import artifact_key, create, find
from engine.store.disk import disk_errors
from engine.store.project import Project
from engine.store.texts import RECORDS

STAGE = "search"
FORMAT = 1
BATCH_ROWS = 8192
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


def parts(project: Project) -> tuple[Part, ...]:
    """The files of the pool in row order."""
    query = """SELECT f.texts, f.first_row, f.usable FROM files f JOIN sets s USING (set_id)
        WHERE s.role = 'pool' ORDER BY f.first_row"""
    with project.session() as con:
        return tuple(Part(*values) for values in con.execute(query).fetchall())


def missing(project: Project) -> tuple[Part, ...]:
    """The files of the pool whose columns are not made yet."""
    return tuple(part for part in parts(project) if find(project.artifacts, STAGE, part.key) is None)


def prepare(project: Project, *, reporter: Reporter | None = None) -> None:
    """Make the columns of the files that lack them; file by file, each is kept as soon as it is whole."""
    listener = reporter or Silent()
    with _BUILDING:
        lacking = missing(project)
        if lacking:
            listener.phase("preparing the search", sum(part.count for part in lacking))
        for part in lacking:
            manifest = {"rows": part.rows, "count": part.count, "version": engine.__version__}
            with create(project.artifacts, STAGE, part.key, manifest) as folder:
                _write(project.artifacts / part.rows, folder, part, listener)


def scan(
    project: Project,
    columns: Sequence[str],
    test: Callable[[dict[str, pa.Array]], np.ndarray],
    *,
    reporter: Reporter | None = None,
) -> np.ndarray:
    """bool (n,): what `test` says of the batches of the pool, in row order.

    columns: names such as "prompt" and "response-folded"; `test` gets one Arrow array of texts for each and gives one
    truth value per row. Batches are tested side by side, in threads. The columns are made first where they are missing.
    """
    listener = reporter or Silent()
    prepare(project, reporter=listener)
    where = [(find(project.artifacts, STAGE, part.key), part) for part in parts(project)]
    work = [(folder, at) for folder, part in where if folder is not None for at in range(_batches(folder))]
    listener.phase("searching", sum(part.count for _, part in where))
    found = []
    with ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as threads:
        try:
            for mask in threads.map(lambda each: test(_read(each[0], each[1], columns)), work):
                listener.check()
                listener.advance(len(mask))
                found.append(mask)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return np.concatenate(found) if found else np.zeros(0, bool)


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


def _write(rows: Path, folder: Path, part: Part, reporter: Reporter) -> None:
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with ExitStack() as stack, disk_errors(f"write {folder}", "Nothing was searched."):
        files = {name: stack.enter_context(pa.OSFile(str(folder / f"{name}.arrow"), "wb")) for name in COLUMNS}
        out = {n: stack.enter_context(pa.ipc.new_file(f, _SCHEMA, options=options)) for n, f in files.items()}
        for batch in _turns(rows, part.count):
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


def _batches(folder: Path) -> int:
    with pa.OSFile(str(folder / f"{COLUMNS[0]}.arrow")) as file:
        return int(pa.ipc.open_file(file).num_record_batches)


def _read(folder: Path, at: int, columns: Sequence[str]) -> dict[str, pa.Array]:
    """One batch of each column; read rather than mapped, so that a large pool does not fill the process."""
    found = {}
    for name in columns:
        with pa.OSFile(str(folder / f"{name}.arrow")) as file:
            options = pa.ipc.IpcReadOptions(use_threads=False)
            found[name] = pa.ipc.open_file(file, options=options).get_batch(at).column(0)
    return found
