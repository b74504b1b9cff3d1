"""What the network reads of a row or an item: words alone, sentence embeddings, pooled hidden states, or several.

Lexical features cost no model, sentence embeddings a pass of a small encoder, hidden states a forward pass of the
language model for every row. Each kind is computed over the pool in shards that survive a kill. With "auto" the
labelled rows decide between words alone and sentence embeddings with words: the second must do clearly better on the
validation rows, because it costs an encoder pass for every row; the decision is kept, so that a resumed run goes on
with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from engine.gradients.embeddings import HiddenStates
from engine.gradients.lexical_features import LexicalFeatures
from engine.gradients.sentence_features import SentenceFeatures
from engine.influence.network.training import Fitted, fit_network
from engine.models.batches import map_batches
from engine.models.table import TokenTable
from engine.runs.functions import Materials
from engine.runs.ledger import Ledger
from engine.runs.network_draw import Draw
from engine.runs.network_hidden import states_and_losses
from engine.runs.network_reading import Reading, joined
from engine.runs.shards import Table, compute_table
from engine.runs.texts import Pair
from engine.store.artifacts import read_json, write_json

SAMPLE = 4000  # rows whose texts say how rare a word is
SHARD = 2048
CHUNK = 4096
CLEARLY = 0.95  # of the error with words alone: sentence embeddings must do better than that
CANDIDATES = ("lexical", "sentence+lexical")


def reads_sentences(features: str) -> bool:
    """Whether a network so configured reads sentence embeddings, if only to try them."""
    return features == "auto" or "sentence" in features


@dataclass
class NetworkInputs:
    """Reads rows and items of a job as `name` says.

    `why` is a sentence on the choice; `tables` are the kinds that were read of the whole pool, `losses` (n,) the rows'
    response losses where hidden states were read of it: the pass that makes them tells both. Else None.
    """

    job: Materials
    name: str
    why: str = ""
    tables: dict[str, np.ndarray] = field(default_factory=dict)
    losses: np.ndarray | None = None

    @property
    def kinds(self) -> list[str]:
        """The kinds that are joined, in order."""
        return self.name.split("+")

    @cached_property
    def lexical(self) -> LexicalFeatures:
        """Lexical features with the rarities of this pool's words."""
        rows = np.random.default_rng((self.job.config.seed, 24)).permutation(self.job.rows)[:SAMPLE]
        return LexicalFeatures.fit(self.job.texts.pairs(np.sort(rows)), seed=self.job.config.seed)

    @cached_property
    def hidden(self) -> HiddenStates:
        """Pooled hidden states of the run's model."""
        return HiddenStates(self.job.lm)

    @cached_property
    def parts(self) -> tuple[int, ...]:
        """The lengths of the parts."""
        return tuple(part for kind in self.kinds for part in self._parts_of(kind))

    def kept(self) -> dict[str, np.ndarray]:
        """What must be kept to read rows that are added later in the same way."""
        lexical = self.lexical if "lexical" in self.kinds else None
        encoder = self.job.encoder.encoder if "sentence" in self.kinds else None
        groups = tuple(group for each in self.job.sets for group in each.groups)
        return Reading(tuple(self.kinds), groups, lexical, getattr(encoder, "sha256", "")).save()

    def _parts_of(self, kind: str) -> tuple[int, ...]:
        return self.lexical.parts if kind == "lexical" else (self._maker(kind).dim,)

    @property
    def notes(self) -> tuple[str, ...]:
        """How the inputs are made."""
        return tuple(note for kind in self.kinds for note in self._maker(kind).notes)

    def _maker(self, kind: str) -> LexicalFeatures | SentenceFeatures | HiddenStates:
        """What makes the inputs of a kind; only then is a model loaded for it."""
        if kind == "lexical":
            return self.lexical
        return self.job.encoder if kind == "sentence" else self.hidden

    def of_rows(self, rows: np.ndarray) -> np.ndarray:
        """Inputs (m, d) float32 of pool rows; NaN for a row that cannot be read."""
        return joined([self._read(kind, self.job.texts.pairs(rows), self._table(kind), rows) for kind in self.kinds])

    def of_items(self) -> np.ndarray:
        """Inputs (t, d) float32 of all target items."""
        numbers = np.arange(self.job.item_count)
        table = self.job.items if "hidden" in self.kinds else None
        return joined([self._read(kind, self.job.item_texts, table, numbers) for kind in self.kinds])

    def of_pool(self, ledger: Ledger) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, inputs (m, d)) of the whole pool, some thousand rows at a time; all is read before it returns."""
        for kind in self.kinds:
            if kind not in self.tables:
                self.tables[kind] = self._whole(kind, ledger)
        return self._chunks([self.tables[kind] for kind in self.kinds])

    def _chunks(self, tables: list[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, self.job.rows, CHUNK):
            yield start, joined([table[start : start + CHUNK] for table in tables])

    def _table(self, kind: str) -> TokenTable | None:
        return self.job.pool if kind == "hidden" else None

    def _whole(self, kind: str, ledger: Ledger) -> np.ndarray:
        reporter, everyone = self.job.reporter, np.arange(self.job.rows)
        name = f"network inputs, {kind}"
        reporter.phase(name, self.job.rows)

        def shard(rows: np.ndarray) -> Table:
            found = self._shard(kind, rows)
            reporter.advance(len(rows))
            return Table(found)

        with ledger.part(name, rows=self.job.rows, predicted=self._predicted(kind, ledger)):
            read = compute_table(self.job.folder.work, f"inputs-{kind}", everyone, SHARD, shard, reporter)
        self.losses = read.arrays.get("loss", self.losses)
        return read.arrays["values"]

    def _shard(self, kind: str, rows: np.ndarray) -> dict[str, np.ndarray]:
        if kind != "hidden":
            return {"values": self._read(kind, self.job.texts.pairs(rows), None, rows)}
        limit = self.job.config.batch_tokens
        values, losses, _ = states_and_losses(self.job.lm, self.job.pool, rows, max_tokens=limit)
        return {"values": values, "loss": losses}

    def _predicted(self, kind: str, ledger: Ledger) -> float | None:
        speed = ledger.speed
        if speed is None or kind == "lexical":
            return None
        if kind == "hidden":
            return round(speed.forward * int(self.job.pool.lengths.sum()), 3)
        return round(speed.encoding * self.job.rows, 3) if speed.encoding else None

    def _read(self, kind: str, pairs: Sequence[Pair], table: TokenTable | None, rows: np.ndarray) -> np.ndarray:
        if kind == "lexical":
            return self.lexical(pairs)
        if kind == "sentence":
            return self.job.encoder([f"{prompt} {response}" for prompt, response in pairs])
        return self._states(table or self.job.pool, rows)

    def _states(self, table: TokenTable, rows: np.ndarray) -> np.ndarray:
        values, _ = map_batches(
            self.job.lm,
            table,
            rows,
            lambda batch: self.hidden(batch).cpu().numpy(),
            max_tokens=self.job.config.batch_tokens,
        )
        found = np.asarray(values)
        return found if found.ndim == 2 else np.full((len(rows), self.hidden.dim), np.nan, np.float32)


@dataclass(frozen=True)
class Learnt:
    """A fitted network with what it reads: inputs of the drawn `rows` (m, d), and of all `items` (t, d).

    `tried` are the validation errors of the inputs that were tried.
    """

    inputs: NetworkInputs
    fitted: Fitted
    rows: np.ndarray
    items: np.ndarray | None
    tried: dict[str, float | None]


def learn(job: Materials, drawn: Draw, labels: np.ndarray) -> Learnt:
    """Fit the network by the inputs configured, or with "auto" by those that the validation rows prefer.

    `labels` (m, u) of the drawn rows and items are NaN for pairs that are not to be fitted to.
    """
    asked = job.config.network_features
    if asked != "auto":
        return _learnt(job, asked, drawn, labels, "")
    kept = job.folder.work / "network-inputs.json"
    if kept.exists():
        found = read_json(kept)
        return _learnt(job, found["name"], drawn, labels, found["why"], found["tried"])
    tried = {name: _learnt(job, name, drawn, labels, "") for name in CANDIDATES}
    errors = {name: each.fitted.error for name, each in tried.items()}
    name, why = choose_inputs(errors)
    job.reporter.log(f"network inputs: {name}, {why}")
    write_json(kept, {"name": name, "why": why, "tried": errors})
    chosen = tried[name]
    chosen.inputs.why = why
    return replace(chosen, tried=errors)


def choose_inputs(errors: dict[str, float | None]) -> tuple[str, str]:
    """Words alone, unless the validation error with sentence embeddings is clearly lower; and a sentence why."""
    plain, rich = (errors[name] for name in CANDIDATES)
    if plain is None or rich is None:
        return CANDIDATES[0], "words alone: too few labelled samples to tell whether sentence embeddings help"
    said = f"validation error {rich:.3f} of the labels' variance with sentence embeddings, {plain:.3f} without"
    if rich < CLEARLY * plain:
        return CANDIDATES[1], f"sentence embeddings with words: {said}"
    return CANDIDATES[0], f"words alone: {said}, which does not pay for an encoder pass of every sample"


def _learnt(
    job: Materials,
    name: str,
    drawn: Draw,
    labels: np.ndarray,
    why: str,
    tried: dict[str, float | None] | None = None,
) -> Learnt:
    inputs = NetworkInputs(job, name, why)
    rows = inputs.of_rows(drawn.rows)
    items = None if drawn.items is None else inputs.of_items()
    right = None if items is None else items[drawn.labelled_items]
    fitted = fit_network(
        rows[drawn.fit_rows],
        right,
        labels[np.ix_(drawn.fit_rows, drawn.fit_items)],
        job.config.network(),
        parts=inputs.parts,
        reporter=job.reporter,
    )
    return Learnt(inputs, fitted, rows, items, tried or {})
