"""What an influence function is made from in a job, and the function itself.

    input/pool/, targets/<i>/     token tables, where a language model takes part
    input/pool.jsonl, targets/…   texts, where something reads them
    input/targets.json            the target sets: name, rows, and the group of each row where groups were asked for
    work/lora/                    LESS's warm-up, kept so that a resumed run goes on with the same one

The *items* are those of all target sets, one after the other. Models are loaded once, when first needed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.gradients.projection import FactoredProjection
from engine.gradients.sentence_features import SentenceFeatures
from engine.influence.functions.base import InfluenceFunction, Passes, Scores
from engine.influence.functions.delift import Delift
from engine.influence.functions.gradients import GradientSimilarity
from engine.influence.functions.less import Less
from engine.influence.functions.rds import Rds
from engine.influence.functions.selectit import SelectIt, model_level, parameter_count
from engine.influence.functions.sentences import SentenceSimilarity
from engine.models.loading import LanguageModel, load
from engine.models.lora import LoraConfig, LoraWarmUp, load_lora, save_lora, warm_up_lora
from engine.models.table import TokenTable
from engine.models.warmup import WarmUp, WarmUpConfig
from engine.progress import Reporter
from engine.runs.config import ScoreConfig
from engine.runs.jobfolder import JobFolder
from engine.runs.methods import needs_model
from engine.runs.parameters import Parameters, parameters_of
from engine.runs.texts import Pair, TextPairs
from engine.runs.warming import prepare_model
from engine.store.artifacts import read_json


@dataclass(frozen=True)
class ItemSet:
    """One target set: its name, the numbers of its items, and the group of each item ((): no groups)."""

    name: str
    items: tuple[int, ...]
    groups: tuple[str, ...] = ()

    def without(self, unusable: set[int]) -> "ItemSet":
        """The set with some items left out."""
        kept = [at for at, item in enumerate(self.items) if item not in unusable]
        groups = tuple(self.groups[at] for at in kept) if self.groups else ()
        return ItemSet(self.name, tuple(self.items[at] for at in kept), groups)


class Materials:
    """A job's inputs and models, each read when first asked for."""

    def __init__(self, folder: JobFolder, config: ScoreConfig, reporter: Reporter) -> None:
        self.folder, self.config, self.reporter = folder, config, reporter

    @property
    def rows(self) -> int:
        """Rows of the frozen pool."""
        return int(self.folder.spec["rows"])

    @cached_property
    def usable(self) -> np.ndarray:
        """Row numbers that can be scored: those with a response token, or all where no model takes part."""
        if not needs_model(self.config.method, self.config.teacher):
            return np.arange(self.rows)
        return np.flatnonzero(self.pool.response_lengths > 0)

    @cached_property
    def pool(self) -> TokenTable:
        """The pool's tokens."""
        return TokenTable.load(self.folder.input / "pool")

    @cached_property
    def sets(self) -> tuple[ItemSet, ...]:
        """The target sets, in order; their items are numbered through."""
        found, start = [], 0
        for entry in read_json(self.folder.input / "targets.json"):
            items = tuple(range(start, start + entry["rows"]))
            found.append(ItemSet(entry["name"], items, tuple(entry.get("groups", ()))))
            start += entry["rows"]
        return tuple(found)

    @property
    def item_count(self) -> int:
        """Items of all sets together."""
        return sum(len(each.items) for each in self.sets)

    @cached_property
    def items(self) -> TokenTable:
        """The items' tokens."""
        return TokenTable.joined(
            [TokenTable.load(self.folder.input / "targets" / str(at)) for at in range(len(self.sets))]
        )

    @cached_property
    def texts(self) -> TextPairs:
        """The pool's texts."""
        return TextPairs(self.folder.input / "pool.jsonl")

    @cached_property
    def item_texts(self) -> list[Pair]:
        """(prompt, response) of every item."""
        files = [self.folder.input / "targets" / f"{at}.jsonl" for at in range(len(self.sets))]
        return [pair for file in files for pair in TextPairs(file)]

    @cached_property
    def prepared(self) -> tuple[LanguageModel, WarmUp | None]:
        """The model, and its warm-up where the run has one."""
        return prepare_model(self.folder, self.config, self.pool, self.reporter)

    @property
    def lm(self) -> LanguageModel:
        """The model of the run."""
        return self.prepared[0]

    @cached_property
    def parameters(self) -> Parameters:
        """The parameter set of gradients."""
        return parameters_of(self.lm, self.config, self.prepared[1])

    @cached_property
    def encoder(self) -> SentenceFeatures:
        """Sentence embeddings, on the run's device."""
        from engine.maps.sentence import load_encoder
        from engine.runs.features import sentence_device

        return SentenceFeatures(load_encoder(device=sentence_device(self.config.device)))

    @cached_property
    def lora(self) -> LoraWarmUp:
        """LESS's warm-up: the finished one of this job, else made now."""
        place = self.folder.work / "lora"
        if (place / "done").exists():
            return load_lora(place, self.lm)
        self.reporter.phase("LoRA warm-up", 0)
        warmed = warm_up_lora(self.lm, self.pool, self.lora_config, reporter=self.reporter)
        save_lora(place, warmed)
        (place / "done").touch()
        return warmed

    @property
    def lora_config(self) -> LoraConfig:
        """The settings of LESS's warm-up."""
        config = self.config
        return LoraConfig(
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            fraction=config.warm_up_fraction,
            epochs=config.warm_up_epochs,
            learning_rate=config.warm_up_learning_rate,
            batch_tokens=config.batch_tokens,
            seed=config.seed,
            max_rows=WarmUpConfig.max_rows if self.folder.spec["model"]["kind"] == "builtin" else None,
        )

    def trained_on(self) -> np.ndarray:
        """Rows of the pool that a model of this run has been trained on."""
        seen = [np.zeros(0, np.int64)]
        if needs_model(self.config.method, self.config.teacher) and self.prepared[1] is not None:
            seen.append(np.asarray(self.prepared[1].rows))
        if self.config.function == "less":
            seen.append(np.asarray(self.lora.rows))
        return np.unique(np.concatenate(seen))


def make_function(name: str, job: Materials, *, items: np.ndarray | None = None) -> InfluenceFunction:
    """The influence function `name` over the job's pool; `items` are pool rows to score against instead of the targets.

    Raises `EngineError` as the function itself does.
    """
    return MAKERS[name](job, items)


def _tokens(job: Materials, items: np.ndarray | None) -> TokenTable:
    return job.items if items is None else job.pool.subset(items)


def _delift(job: Materials, items: np.ndarray | None) -> InfluenceFunction:
    return Delift(job.lm, job.pool, _tokens(job, items), batch_tokens=job.config.batch_tokens)


def _less(job: Materials, items: np.ndarray | None) -> InfluenceFunction:
    options: dict[str, Any] = {"width": job.config.less_width, "seed": job.config.seed}
    return Less(job.lm, job.pool, _tokens(job, items), job.lora, batch_tokens=job.config.batch_tokens, **options)


def _rds(job: Materials, items: np.ndarray | None) -> InfluenceFunction:
    return Rds(job.lm, job.pool, _tokens(job, items), batch_tokens=job.config.batch_tokens)


def _exact(job: Materials, items: np.ndarray | None) -> InfluenceFunction:
    parameters, config = job.parameters, job.config
    return GradientSimilarity(
        job.lm,
        job.pool,
        _tokens(job, items),
        FactoredProjection(parameters.sites, width=config.projection, seed=config.seed),
        unit=config.unit,
        scale=parameters.scale,
        mask=parameters.mask,
        batch_tokens=config.batch_tokens,
    )


def _sentences(job: Materials, items: np.ndarray | None) -> InfluenceFunction:
    if items is None:
        texts = job.item_texts
        return SentenceSimilarity(job.encoder, job.texts.pairs, lambda rows: [texts[int(i)] for i in rows], len(texts))
    return SentenceSimilarity(job.encoder, job.texts.pairs, lambda rows: job.texts.pairs(items[rows]), len(items))


def _selectit(job: Materials, items: np.ndarray | None) -> InfluenceFunction:
    config, others = job.config, job.folder.spec.get("models") or []
    models = [job.lm]
    for other in others:
        loaded = load(Path(other["path"]), device=config.device, dtype=config.dtype, attention=config.attention)
        models.append(replace(loaded, name=other["name"]))
    made = [
        SelectIt(
            lm,
            job.texts.pairs,
            levels=config.rating_levels,
            alpha=config.rating_alpha,
            preset=config.rating_preset,
            batch_tokens=config.batch_tokens,
            max_length=min(config.max_length, lm.max_length),
        )
        for lm in models
    ]
    return made[0] if len(made) == 1 else SeveralModels(made, [parameter_count(lm) for lm in models])


MAKERS: dict[str, Callable[[Materials, np.ndarray | None], InfluenceFunction]] = {
    "delift": _delift,
    "delift-se": _sentences,
    "less": _less,
    "selectit": _selectit,
    "rds": _rds,
    "exact": _exact,
}


class SeveralModels:
    """SelectIT's model level: the ratings of several models, weighted by their numbers of parameters."""

    name = "selectit"
    pointwise = True

    def __init__(self, functions: Sequence[SelectIt], weights: Sequence[float]) -> None:
        if len(functions) != len(weights) or not functions:
            raise EngineError(f"{len(functions)} models were given with {len(weights)} weights. Nothing was scored.")
        self._functions, self._weights = functions, weights

    @property
    def passes(self) -> Passes:
        """Of all models."""
        return sum((each.passes for each in self._functions), Passes())

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of every model, and how they are joined."""
        shares = ", ".join(f"{weight / sum(self._weights):.2f}" for weight in self._weights)
        own = [note for each in self._functions for note in each.notes]
        return (*dict.fromkeys(own), f"{len(self._functions)} models, weighted by their sizes: {shares}.")

    def __call__(
        self, rows: np.ndarray, items: np.ndarray | None = None, *, reporter: Reporter | None = None
    ) -> Scores:
        """The weighted mean of the models' ratings (m, 1); a row that one of them cannot rate has none."""
        found = [each(rows, reporter=reporter if at == 0 else None) for at, each in enumerate(self._functions)]
        problems = {row: why for each in reversed(found) for row, why in each.problems.items()}
        return Scores(model_level([each.matrix for each in found], self._weights), problems)
