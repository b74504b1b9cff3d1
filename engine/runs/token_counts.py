"""How many tokens each pool row has for a run's model, counted once per pool and tokenizer and kept.

A row counts whole, as the chat template writes it, not cut to any length: what training on it would read. Rows without
a response the template can mark are counted as their texts. The artifact `token-counts-<key>` holds `tokens` int32
(n,); its key is the pool and the tokenizer's files, so that runs and models that share a tokenizer share the counts.
Where no tokenizer can be had, words times `PER_WORD` stand in, and whoever shows a number says so.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import EngineError
from engine.progress import Reporter, Silent
from engine.store import artifacts
from engine.store.project import Project
from engine.store.records import RunRecord

if TYPE_CHECKING:
    from engine.models.sources import ModelSource

STAGE = "token-counts"
CHUNK = 2000
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


def kept_counts(project: Project, run: RunRecord) -> TokenCounts | None:
    """The counts for the run's model where they were made; None where they were not, or there is no tokenizer."""
    try:
        source = _source(run)
    except EngineError:
        return None
    found = artifacts.find(project.artifacts, STAGE, _key(project, source))
    return None if found is None else _read(found, source)


def count_tokens(project: Project, run: RunRecord, *, reporter: Reporter | None = None) -> TokenCounts:
    """The counts for the run's model, made now where they were not.

    Raises `EngineError` where the run has no model, or its tokenizer's files cannot be read; nothing is kept then.
    """
    from engine.runs.tokenizers import load_tokenizer

    source = _source(run)
    key = _key(project, source)
    found = artifacts.find(project.artifacts, STAGE, key)
    if found is None:
        reporter = reporter or Silent()
        tokenizer = load_tokenizer(source, max_length=1 << 30).tokenizer
        rows = project.counts().pool
        reporter.phase("counting tokens", rows)
        counts = np.concatenate([np.zeros(0, np.int32), *_counted(project, tokenizer, reporter)])[:rows]
        about = {"model": source.name, "tokenizer": tokenizer_hash(source.path), "rows": len(counts)}
        with artifacts.create(project.artifacts, STAGE, key, about) as folder:
            artifacts.save_array(folder, "tokens", counts)
        found = artifacts.find(project.artifacts, STAGE, key)
    if found is None:
        raise EngineError(f"The token counts could not be kept in {project.artifacts}. Nothing else was changed.")
    return _read(found, source)


def tokenizer_hash(folder: Path) -> str:
    """SHA-256 (hex) over the names and contents of the tokenizer's files, in name order."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in _FILES for path in folder.glob(pattern) if path.is_file()}):
        total.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _source(run: RunRecord) -> "ModelSource":
    """The files of the run's model. Raises `EngineError` where it has none, or they are gone."""
    from engine.models.sources import resolve
    from engine.runs.methods import needs_model

    if not needs_model(run.method, run.config.get("teacher") or "less") or not run.model:
        raise EngineError(
            f"The run {run.name!r} has no language model to count tokens with. Choose a run that has, count by words "
            "(--tokens-by words), or give the size in words. Nothing was selected."
        )
    return resolve(run.model)


def _key(project: Project, source: "ModelSource") -> str:
    return artifacts.artifact_key(stage=STAGE, pool=project.pool_hash(), tokenizer=tokenizer_hash(source.path))


def _read(folder: Path, source: "ModelSource") -> TokenCounts:
    counts = np.maximum(artifacts.load_array(folder, "tokens"), 1).astype(np.int64)
    record = {"by": "tokenizer", "model": source.name, "sha256": tokenizer_hash(source.path), "artifact": folder.name}
    return TokenCounts(counts, f"counted with the tokenizer of {source.name}", record)


def _counted(project: Project, tokenizer: Any, reporter: Reporter) -> Iterator[np.ndarray]:
    """int32: the tokens of one chunk of rows after the other."""
    from engine.models.templates import ChatRenderer, Unencodable

    renderer = ChatRenderer(tokenizer)

    def text(messages: Any) -> str:
        try:
            return renderer.render(messages).text
        except Unencodable:
            return "\n".join(message.content for message in messages)

    for chunk in project.iterate(chunk=CHUNK):
        reporter.check()
        yield np.array(_lengths(tokenizer, [text(row.messages) for row in chunk]), np.int32)
        reporter.advance(len(chunk))


def _lengths(tokenizer: Any, texts: list[str]) -> list[int]:
    if not tokenizer.is_fast:
        return [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return [len(found.ids) for found in backend.encode_batch(texts, add_special_tokens=False)]
