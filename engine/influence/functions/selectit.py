"""SelectIT: how the model itself rates a sample (arXiv 2402.16705; METHODS section 2). A point-wise function.

Notation. K levels, S rating prompts, M models. At the answer position of a prompt, P (K,) are the probabilities of the
digits 1..K, renormalised over them.
- token level: S_s = (argmax_k P_k) · Σ_k (P_max − P_k) / (K − 1), the argmax counted from 1, the first of equals;
- sentence level: mean_s(S_s) / (1 + α·std_s(S_s)), the population's standard deviation, which is 0 for one prompt;
- model level: Σ_m w_m Q_m / Σ_m w_m over models, w_m the parameter count unless set otherwise.
The preset "paper" takes P as it is; "release" applies a second softmax to it, as the authors' code does, which
flattens it. Higher is better. How a sample becomes a rating prompt is told in `rating`.
Scores one model at a time; loads none, and reuses no key-value cache between samples.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.gradients.forwarding import predictions, response_logits
from engine.influence.functions.base import Passes, Scores
from engine.influence.functions.rating import RATING_PROMPTS, Pair, RatingPrompts
from engine.models.batches import Batch, map_batches
from engine.models.loading import LanguageModel
from engine.models.table import TokenTable
from engine.progress import Reporter, Silent

Preset = Literal["paper", "release"]

ROWS_AT_ONCE = 256  # rows whose rating sequences are held as tokens together


def softmax(values: np.ndarray) -> np.ndarray:
    """exp(v_k) / Σ_k exp(v_k) over the last axis, float64."""
    shifted = np.asarray(values, dtype=np.float64)
    powers = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


PRESETS: Mapping[Preset, Callable[[np.ndarray], np.ndarray]] = {"paper": np.asarray, "release": softmax}
"""What each preset makes of the renormalised P before the token level."""


def token_level(probabilities: np.ndarray) -> np.ndarray:
    """S (…) of P (…, K): (argmax_k P_k) · Σ_k (P_max − P_k) / (K − 1), from 0 (all equal) to K (sure of K).

    Raises `EngineError` for fewer than two levels.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    levels = p.shape[-1] if p.ndim else 0
    if levels < 2:
        raise EngineError(f"The probabilities are of shape {p.shape}; the last axis must hold two or more levels.")
    top = p.max(axis=-1, keepdims=True)
    return (p.argmax(axis=-1) + 1) * (top - p).sum(axis=-1) / (levels - 1)


def sentence_level(scores: np.ndarray, *, alpha: float = 0.2) -> np.ndarray:
    """Q (…) of the token-level scores (…, S) of all prompts: mean / (1 + α·std), population standard deviation.

    Raises `EngineError` for no prompt, or an α that is negative or not finite.
    """
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim == 0 or s.shape[-1] == 0:
        raise EngineError(f"The scores are of shape {s.shape}; the last axis must hold one score or more per sample.")
    return s.mean(axis=-1) / (1 + _checked_alpha(alpha) * s.std(axis=-1))


def model_level(scores: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Σ_m w_m Q_m / Σ_m w_m, float32 in the shape of one Q_m; NaN where any model has no score.

    Raises `EngineError` unless there are as many weights as models, at least one, all finite and none negative, not
    all zero, and all scores are of one shape.
    """
    shapes = {np.shape(q) for q in scores}
    if len(scores) != len(weights) or len(shapes) != 1:
        raise EngineError(
            f"{len(scores)} models' scores of shapes {sorted(shapes)} and {len(weights)} weights were given; every "
            "model needs scores of the same samples and one weight. Nothing was joined."
        )
    w = np.asarray(weights, dtype=np.float64)
    if not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        raise EngineError(
            f"The models' weights are {list(weights)}; they must be finite, not negative and not all zero. "
            "Nothing was joined."
        )
    return np.tensordot(w / w.sum(), np.stack([np.asarray(q, dtype=np.float64) for q in scores]), 1).astype(np.float32)


def parameter_count(lm: LanguageModel) -> int:
    """w_m by default: the model's parameters, tied ones counted once."""
    return sum(parameter.numel() for parameter in lm.model.parameters())


class SelectIt:
    """Rates pool rows with one model; S prompts are passed over for each row, more where digits are several tokens.

    `pairs` gives the (prompt, response) texts of row numbers. `batch_tokens` are the padded tokens of a batch,
    `max_length` the tokens of a sequence (None: as many as the model takes). A row without a response, too long for
    any cut, too large for memory or with a value that is not finite is NaN and has its reason.
    """

    name = "selectit"
    pointwise = True

    def __init__(
        self,
        lm: LanguageModel,
        pairs: Callable[[np.ndarray], Sequence[Pair]],
        *,
        prompts: Sequence[str] = RATING_PROMPTS,
        levels: int = 5,
        alpha: float = 0.2,
        preset: Preset = "paper",
        batch_tokens: int = 1024,
        max_length: int | None = None,
    ) -> None:
        """Render the prompts and find the digits' tokens; runs nothing. `EngineError` for an option that cannot be."""
        if preset not in get_args(Preset):
            raise EngineError(f"preset is {preset!r}; it must be one of: {', '.join(get_args(Preset))}.")
        if batch_tokens < 1:
            raise EngineError(f"batch_tokens is {batch_tokens}; a batch needs a budget of at least 1 token.")
        limit = lm.max_length if max_length is None else max_length
        if not 1 <= limit <= lm.max_length:
            raise EngineError(f"max_length is {limit}; this model reads from 1 to {lm.max_length} tokens.")
        self._lm, self._pairs, self._preset, self._alpha = lm, pairs, preset, _checked_alpha(alpha)
        self._levels, self._limit, self._batch_tokens = levels, limit, batch_tokens
        self._prompts = RatingPrompts(lm.tokenizer, prompts, levels=levels, max_length=limit)
        self._passes = Passes()
        self._cut: set[int] = set()
        self._spelt: set[int] = set()

    @property
    def passes(self) -> Passes:
        """Sequences and tokens run until now: S sequences a row, and as many again for every further stem."""
        return self._passes

    @property
    def notes(self) -> tuple[str, ...]:
        """Preset, prompts and digits, and how many of the rows rated so far were cut or had text spelt apart."""
        softened = {"paper": "", "release": ", a second softmax over the probabilities"}[self._preset]
        notes = [
            f"SelectIT, preset {self._preset}{softened}: {len(self._prompts)} rating prompts, {self._levels} levels, "
            f"alpha {self._alpha:g}",
            *self._prompts.notes,
        ]
        if self._cut:
            notes.append(
                f"{len(self._cut)} samples cut to {self._limit} tokens: prompt from the left, then response at its end"
            )
        if self._spelt:
            notes.append(f"{len(self._spelt)} samples spell a special token or a mark: a space put in, read as text")
        return tuple(notes)

    def __call__(
        self, rows: np.ndarray, items: np.ndarray | None = None, *, reporter: Reporter | None = None
    ) -> Scores:
        """Q (m, 1) of pool rows (m,); items are ignored. Advances `reporter` by rows."""
        numbers = np.asarray(rows, dtype=np.int64)
        matrix = np.full((len(numbers), 1), np.nan, dtype=np.float32)
        problems: dict[int, str] = {}
        for start in range(0, len(numbers), ROWS_AT_ONCE):
            part = numbers[start : start + ROWS_AT_ONCE]
            logs, reasons = self._rate(part, reporter or Silent())
            scores = token_level(PRESETS[self._preset](softmax(logs)))  # (b, S)
            matrix[start : start + len(part), 0] = sentence_level(scores, alpha=self._alpha)
            problems |= reasons
        return Scores(matrix, problems)

    def _rate(self, rows: NDArray[np.int64], reporter: Reporter) -> tuple[np.ndarray, dict[int, str]]:
        """Log-probabilities (b, S, K) of the digits, NaN for a row with a reason; not yet renormalised."""
        pairs = self._pairs(rows)
        table = TokenTable.of(self._prompts.encode(pairs))
        shape = (len(rows), len(self._prompts), len(self._prompts.tokens.stems))
        self._spelt.update(int(row) for row, pair in zip(rows, pairs) if self._prompts.spells(pair))
        self._cut.update(rows[table.truncated.reshape(shape).any(axis=(1, 2))].tolist())
        by_row = _ByRow(reporter, shape[1] * shape[2])
        found, reasons = map_batches(
            self._lm, table, None, self._digits, max_tokens=self._batch_tokens, reporter=by_row
        )
        problems: dict[int, str] = {}
        for sequence in sorted(reasons):
            problems.setdefault(int(rows[sequence // by_row.sequences]), reasons[sequence])
        logs = np.full((*shape, self._levels), np.nan)
        if np.ndim(found) == 2:  # else not one sequence could be run
            logs = np.asarray(found, dtype=np.float64).reshape(logs.shape)
        return logs.sum(axis=2), problems  # (b, S, K)

    @torch.no_grad()
    def _digits(self, batch: Batch) -> NDArray[np.float32]:
        """log p (B, K) of every digit whose stem a sequence ends with, 0 for the others."""
        where = predictions(batch)
        logs = response_logits(self._lm.model, batch, where).float().log_softmax(dim=-1)  # (M, V)
        starts = where.counts.cumsum(0) - where.counts  # (B,) where a sequence's positions begin
        tokens = self._prompts.tokens
        stem = torch.from_numpy(batch.rows % len(tokens.stems)).to(logs.device)  # (B,)
        values = logs.new_zeros(len(batch), self._levels)
        for k, string in enumerate(tokens.strings):
            mine = (stem == tokens.stems.index(string[:-1])).nonzero()[:, 0]
            for t, token in enumerate(string):
                values[mine, k] += logs[starts[mine] + t, token]
        self._passes += Passes(forward=len(batch), tokens=int(batch.attention.sum()))
        return values.cpu().numpy()


class _ByRow:
    """Counts rows for a reporter while sequences are done, `sequences` to a row."""

    def __init__(self, reporter: Reporter, sequences: int) -> None:
        self.sequences = sequences
        self._reporter = reporter
        self._waiting = 0

    def phase(self, name: str, total: int, unit: str = "samples") -> None:
        self._reporter.phase(name, total, unit)

    def advance(self, n: int) -> None:
        done, self._waiting = divmod(self._waiting + n, self.sequences)
        self._reporter.advance(done)

    def check(self) -> None:
        self._reporter.check()

    def log(self, message: str) -> None:
        self._reporter.log(f"Rating sequences: {message}")


def _checked_alpha(alpha: float) -> float:
    if not (np.isfinite(alpha) and alpha >= 0):
        raise EngineError(f"alpha is {alpha}; it must be a finite number, 0 or larger.")
    return alpha
