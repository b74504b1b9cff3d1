"""What a run by an influence function, or by the network that learns one, would do: counted, in plain words.

Counts go by the pool's usable samples; samples that the model cannot score are not known before it runs. Nothing is
escaped.
"""

from engine.influence.functions.costs import predicted_passes
from engine.runs.config import ScoreConfig
from pages.parts.score_methods import name_of
from pages.parts.words import count


def sentence(config: ScoreConfig, n: int, items: int, against: str) -> str:
    """The run over `n` samples and `items` target samples; `against` says the latter with their sets."""
    if config.method == "network":
        return _network(config, n, items)
    return _asked(config, n, items, against)


def _asked(config: ScoreConfig, n: int, items: int, against: str) -> str:
    """A function asked of every sample."""
    samples = count(n, "sample")
    if config.function == "selectit":
        models = "the model" if not config.models else f"{1 + len(config.models)} models"
        asked = predicted_passes(
            "selectit", rows=n, row_tokens=0, items=0, item_tokens=0, models=1 + len(config.models)
        )
        return f"Lets {models} rate each of {samples} under several prompts: {count(asked.forward, 'pass', 'passes')}."
    if config.function == "delift":
        pairs = count(n * items, "pair")
        return f"Runs the model on {pairs} of sample and target sample: {samples} {against}."
    if config.function == "delift-se":
        return f"Embeds {samples} by a small encoder and compares them {against}. No language model is run."
    if config.function == "rds":
        return f"Runs each of {samples} forward once and compares the hidden states {against}."
    epochs = count(config.warm_up_epochs, "epoch")
    return (
        f"{_warm_up(config)} Then takes the gradient of each of {samples} at each of {epochs} and compares it "
        f"{against}."
    )


def _warm_up(config: ScoreConfig) -> str:
    share = f"at most {100 * config.warm_up_fraction:g} % of the pool"
    return f"Trains LoRA adapters on {share} for {count(config.warm_up_epochs, 'epoch')}."


def _network(config: ScoreConfig, n: int, items: int) -> str:
    labelled, audit = config.labelled_count(n), config.audit_count(n)
    asked, teacher = labelled + audit, name_of(config.teacher)
    audited = f" and {count(audit, 'audit sample')}" if audit else ""
    against, pairs = "", ""
    if config.function != "selectit":
        fitted, held = config.item_counts(items)
        some = f"{fitted + held:,} of {items:,}" if fitted + held < items else f"{items:,}"
        against = f" against {some} target {'sample' if items == 1 else 'samples'}"
        pairs = f" That is {count(asked * (fitted + held), 'pair')} instead of {n * items:,}."
    rest = (
        f"and estimates the other {n - asked:,} of {n:,}" if n > asked else "which is all: nothing is left to estimate"
    )
    said = f"Labels {count(labelled, 'sample')}{audited}{against} with {teacher}, {rest}.{pairs}"
    if config.pool_network:
        said += " Labels them against some samples of the pool too, for the second network."
    return f"{_warm_up(config)} {said}" if config.function == "less" else said
