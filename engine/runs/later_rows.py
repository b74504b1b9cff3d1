"""Rows added after a run of `network`, read as the run read those before them: texts, tokens, hidden states.

Where the run's teacher is a language model, its tokenizer alone says which rows are cut to the model's length and which
have no response to score; the weights are loaded only where the network reads hidden states, whose pass tells the
losses too. Notation: m new rows. Estimates nothing and writes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from engine.data.samples import prompt_text, response_text
from engine.errors import EngineError
from engine.gradients.sentence_features import SentenceFeatures
from engine.models import loading
from engine.models.sources import ModelSource, resolve
from engine.models.table import TokenTable
from engine.models.tokens import ChatEncoder
from engine.progress import Reporter
from engine.runs.config import ScoreConfig
from engine.runs.methods import needs_model
from engine.runs.network_hidden import states_and_losses
from engine.runs.network_reading import Reading
from engine.runs.tokenizers import load_tokenizer
from engine.store.project import Project
from engine.store.records import RunRecord, StoredRow

CHUNK = 2000


@dataclass(frozen=True)
class Later:
    """`inputs` (m, d) float32 of the network; `loss` (m,) float32, NaN where unknown; `truncated` bool (m,).

    `problems` says by place why a row cannot be scored.
    """

    inputs: np.ndarray
    loss: np.ndarray
    truncated: np.ndarray
    problems: dict[int, str]

    @classmethod
    def joined(cls, parts: Sequence["Later"]) -> "Later":
        """One after the other."""
        starts = np.cumsum([0, *(len(part.loss) for part in parts)])
        return cls(
            np.concatenate([part.inputs for part in parts]),
            np.concatenate([part.loss for part in parts]),
            np.concatenate([part.truncated for part in parts]),
            {int(at) + place: why for at, part in zip(starts, parts) for place, why in part.problems.items()},
        )


class LaterReader:
    """Reads rows for one run. `unseen` says why nothing is known of their tokens where something should be, else ""."""

    def __init__(self, run: RunRecord, reading: Reading, config: ScoreConfig) -> None:
        """Load the tokenizer. Raises `EngineError` where the network needs the model and its files are gone or other.

        Where it does not, `unseen` tells that instead.
        """
        self._run, self._reading, self._config = run, reading, config
        self._chats: ChatEncoder | None = None
        self.unseen = ""
        if not needs_model(config.method, config.teacher):
            return
        try:
            found = load_tokenizer(self._source, max_length=config.max_length)
        except EngineError as error:
            if reading.needs_model:
                raise
            self.unseen = str(error)
            return
        self._chats = ChatEncoder(found.tokenizer, max_length=found.max_length)

    @cached_property
    def _source(self) -> ModelSource:
        """The files of the run's model, the very same as then."""
        source, then = resolve(self._run.model), (self._run.summary.get("model") or {}).get("sha256", "")
        if source.sha256 != then:
            raise EngineError(
                f"The model {source.name} has changed since the run was made (its files have the hash "
                f"{source.sha256[:12]}, then {then[:12]}). Put the former files back, or score again. The run was left "
                "as it is."
            )
        return source

    @cached_property
    def _lm(self) -> loading.LanguageModel:
        config = self._config
        return loading.load(self._source, device=config.device, dtype=config.dtype, attention=config.attention)

    @cached_property
    def _sentences(self) -> SentenceFeatures:
        from engine.maps.sentence import load_encoder
        from engine.runs.features import sentence_device

        loaded, then = load_encoder(device=sentence_device(self._config.device)), self._reading.encoder
        if loaded.sha256 != then:
            raise EngineError(
                f"The sentence model has changed since the run was made (its weights have the hash "
                f"{loaded.sha256[:12]}, then {then[:12]}). Score again. The run was left as it is."
            )
        return SentenceFeatures(loaded)

    def all(self, project: Project, start: int, count: int, reporter: Reporter) -> Later:
        """`count` pool rows from `start` on; rows added meanwhile are left out."""
        reporter.phase("reading the new samples", count)
        parts = []
        for rows in _rows(project, start, count):
            reporter.check()
            parts.append(self(rows, reporter))
        return Later.joined(parts)

    def __call__(self, rows: Sequence[StoredRow], reporter: Reporter) -> Later:
        """Some rows; advances the reporter by them."""
        count, pairs = len(rows), [(prompt_text(row.messages), response_text(row.messages)) for row in rows]
        truncated, loss = np.zeros(count, np.bool_), np.full(count, np.nan, np.float32)
        problems: dict[int, str] = {}
        states: np.ndarray | None = None
        if self._chats is not None:
            table = TokenTable.of(self._chats.many([row.messages for row in rows]))
            truncated, problems = table.truncated, dict(table.problems)
            if self._reading.needs_model:
                limit = self._config.batch_tokens
                states, loss, aside = states_and_losses(
                    self._lm, table, np.arange(count), max_tokens=limit, reporter=reporter
                )
                problems |= aside
        inputs = self._reading(pairs, lambda: self._sentences, states)
        if states is None:
            reporter.advance(count)
        return Later(inputs, loss, truncated, problems)


def _rows(project: Project, start: int, count: int) -> Iterator[list[StoredRow]]:
    left = count
    for chunk in project.iterate(start=start, chunk=CHUNK):
        part = list(islice(chunk, left))
        left -= len(part)
        if part:
            yield part
        if not left:
            return
