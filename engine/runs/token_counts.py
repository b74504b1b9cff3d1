"""How many tokens each pool row has for a run's model, counted once per pool and tokenizer and kept.

A row counts whole, as the chat template writes it, not cut to any length: what training on it would read. Rows without
a response the template can mark are counted as their texts. The artifact `token-counts-<key>` holds `tokens` int32
(n,); its key is the pool and the tokenizer's files, so that runs and models that share a tokenizer share the counts.
Of a pool that has grown only the new rows are counted: rows are added at its end, and the others never change.
Where no tokenizer can be had, words times `PER_WORD` stand in, and whoever shows a number says so.

Memory: the counts, and one shard's texts in pieces of `PIECE_CHARS`. Starts no job (`token_counts_job`).
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import EngineError
from engine.progress import Reporter, Silent
from engine.runs.shards import compute_shards
from engine.store import artifacts
from engine.store.project import Project
from engine.store.records import RunRecord

if TYPE_CHECKING:
    from engine.models.sources import ModelSource

STAGE = "token-counts"
SHARD_ROWS, CHUNK = 20_000, 2000
PIECE_CHARS = 1_000_000  # texts encoded together: a token takes some hundred bytes while they are
PER_WORD = 1.4
"""Tokens for a word where there is no tokenizer: about what vocabularies of 30,000 to 130,000 give English prose."""
_FILES: tuple[str, ...] = (
    "tokenizer*",
    "*.model",
    "spiece*",
    "vocab.*",
    "merges.txt",
    "tekken.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
)


@dataclass(frozen=True)
class TokenCounts:
    """`counts` int64 (n,), at least 1; `said` names what counted them, `record` is kept with a selection."""

    counts: np.ndarray
    said: str
    record: dict[str, Any]


def by_words(words: np.ndarray, why: str = "") -> TokenCounts:
    """Counts by words (n,) times `PER_WORD`, rounded up."""
    counts = np.maximum(np.ceil(np.asarray(words) * PER_WORD), 1).astype(np.int64)
    said = f"estimated as {PER_WORD:g} tokens a word{f': {why}' if why else ''}"
    return TokenCounts(counts, said, {"by": "words", "per_word": PER_WORD})


def has_tokenizer(run: RunRecord) -> bool:
    """Whether the run has a language model, whose tokenizer can count; its files may still be gone."""
    from engine.runs.methods import needs_model

    return bool(run.model) and needs_model(run.method, run.config.get("teacher") or "less")


def kept_counts(project: Project, run: RunRecord) -> TokenCounts | None:
    """The counts for the run's model where they were made; None where they were not, or there is no tokenizer."""
    try:
        source = source_of(run)
    except EngineError:
        return None
    found = artifacts.find(project.artifacts, STAGE, _key(project.pool_hash(), tokenizer_hash(source.path)))
    return None if found is None else _read(found, source)


def count_tokens(project: Project, run: RunRecord, *, reporter: Reporter | None = None) -> TokenCounts:
    """The counts for the run's model, made now, in this process, where they were not.

    Raises `EngineError` where the run has no model, or its tokenizer's files cannot be read; nothing is kept then.
    """
    source = source_of(run)
    with tempfile.TemporaryDirectory(prefix="touchstone-tokens-") as work:
        view = project.extent("pool", "")
        return _read(counted_by(project, source, view, work=Path(work), reporter=reporter or Silent()), source)


def counted_by(
    project: Project, source: "ModelSource", view: tuple[int, str], *, work: Path, reporter: Reporter
) -> Path:
    """The artifact of the counts by a model's tokenizer, made where it is not there.

    `view`: the rows and the hash of the pool as it is, or as it was when the work began (`Project.extent`).

    Shards are kept in `work`, so that a call that was killed goes on where it was. Raises `EngineError` where the
    tokenizer's files cannot be read; nothing is kept then.
    """
    rows, pool = view
    tokenizer = tokenizer_hash(source.path)
    key = _key(pool, tokenizer)
    found = artifacts.find(project.artifacts, STAGE, key)
    if found is not None:
        return found
    known = _counted_before(project, tokenizer, rows)
    count = _counter(project, source, reporter)
    reporter.phase(f"tokens as {source.name} reads them", rows - len(known))
    new = compute_shards(work, f"{STAGE}-{key}-{len(known)}", np.arange(len(known), rows), SHARD_ROWS, count, reporter)
    about = {"model": source.name, "tokenizer": tokenizer, "rows": rows}
    with artifacts.create(project.artifacts, STAGE, key, about) as folder:
        artifacts.save_array(folder, "tokens", np.concatenate([known, new]).astype(np.int32))
    return project.artifacts / f"{STAGE}-{key}"


def tokenizer_hash(folder: Path) -> str:
    """SHA-256 (hex) over the names and contents of the tokenizer's files, in name order."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in _FILES for path in folder.glob(pattern) if path.is_file()}):
        total.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def source_of(run: RunRecord) -> "ModelSource":
    """The files of the run's model. Raises `EngineError` where it has none, or they are gone."""
    from engine.models.sources import resolve

    if not has_tokenizer(run):
        raise EngineError(
            f"The run {run.name!r} has no language model to count tokens with. Choose a run that has, count by words "
            "(--tokens-by words), or give the size in words. Nothing was selected."
        )
    return resolve(run.model)


def _key(pool: str, tokenizer: str) -> str:
    return artifacts.artifact_key(stage=STAGE, pool=pool, tokenizer=tokenizer)


def _read(folder: Path, source: "ModelSource") -> TokenCounts:
    counts = np.maximum(artifacts.load_array(folder, "tokens"), 1).astype(np.int64)
    record = {"by": "tokenizer", "model": source.name, "sha256": tokenizer_hash(source.path), "artifact": folder.name}
    return TokenCounts(counts, f"counted with the tokenizer of {source.name}", record)


def _counted_before(project: Project, tokenizer: str, rows: int) -> np.ndarray:
    """The counts int32 of the first rows, by the same tokenizer, from when the pool held no more than those."""
    found = []
    for folder in project.artifacts.glob(f"{STAGE}-*/{artifacts.MANIFEST}"):
        about = artifacts.read_manifest(folder.parent)
        if about.get("tokenizer") == tokenizer and about["rows"] < rows:
            found.append((int(about["rows"]), folder.parent))
    for size, folder in sorted(found, reverse=True):
        then = project.pool_hash_at(size)
        if then is not None and folder.name == f"{STAGE}-{_key(then, tokenizer)}":
            return artifacts.load_array(folder, "tokens")
    return np.zeros(0, np.int32)


def _counter(project: Project, source: "ModelSource", reporter: Reporter) -> Callable[[np.ndarray], np.ndarray]:
    """What counts the tokens int32 (m,) of rows by their numbers (m,)."""
    from engine.models.templates import ChatRenderer, Unencodable
    from engine.runs.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(source, max_length=1 << 30).tokenizer
    renderer = ChatRenderer(tokenizer)

    def text(messages: Any) -> str:
        try:
            return renderer.render(messages).text
        except Unencodable:
            return "\n".join(message.content for message in messages)

    def count(numbers: np.ndarray) -> np.ndarray:
        found: list[int] = []
        for start in range(0, len(numbers), CHUNK):
            rows = project.rows(numbers[start : start + CHUNK])
            for piece in _pieces([text(row.messages) for row in rows]):
                reporter.check()
                found += _lengths(tokenizer, piece)
                reporter.advance(len(piece))
        return np.array(found, np.int32)

    return count


def _pieces(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in order, so many at a time that they have `PIECE_CHARS` characters together, or one that has more."""
    ends = np.cumsum([len(text) for text in texts])
    start = 0
    while start < len(texts):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + PIECE_CHARS, side="right")))
        yield texts[start:stop]
        start = stop


def _lengths(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    if not tokenizer.is_fast:
        return [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return [len(found.ids) for found in backend.encode_batch_fast(list(texts), add_special_tokens=False)]
