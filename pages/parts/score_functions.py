"""The settings of influence functions and of the network that learns one, as parts of the score form.

Each group draws its widgets, into the places it is given where there are any, and returns keyword arguments of
`ScoreConfig`; nothing is validated here.
"""

from collections.abc import Iterator
from typing import Any, get_args

import streamlit as st

from engine.influence.network.config import BatchOf
from engine.runs.config import LandmarkChoice, ScoreConfig
from engine.runs.function_config import NetworkFeatures, RatingPreset
from engine.runs.methods import POINTWISE, needs_model
from engine.store.project import Project
from pages.parts import reads
from pages.parts.words import visible

DEFAULTS = ScoreConfig()
FEATURE_NAMES = {
    "auto": "Words, and meaning where it helps",
    "lexical": "Words",
    "sentence": "Meaning (sentence embeddings)",
    "sentence+lexical": "Meaning and words",
    "hidden": "The model's hidden states",
    "hidden+lexical": "Hidden states and words",
}
CHOICE_NAMES = {
    "uniform": "At random",
    "k-means++": "Spread (k-means++)",
    "farthest-point": "As far apart as possible",
    "rp-cholesky": "Where least is known (pivoted Cholesky)",
}
RATING_NAMES = {"paper": "As in the paper", "release": "As in the authors' code"}
BATCH_NAMES = {"rows": "Samples with all their targets", "pairs": "Pairs"}
SOUGHT = 200  # target samples of a set whose fields are offered to group by


def network(beside: Iterator[Any], teacher: str, *, free: bool) -> dict[str, Any]:
    """What a network is labelled with and reads; `free` where no preset has decided it."""
    found: dict[str, Any] = {}
    if free:
        share = next(beside).number_input(
            "Labelled samples, in % of the pool", 0.01, 100.0, None, 1.0, key="score_labelled",
            placeholder="5 %, at least 64", help="Samples that the teacher scores; the network learns from them alone.",
        )  # fmt: skip
        found["labelled"] = share / 100 if share is not None else None
    if teacher not in POINTWISE:
        count = next(beside).number_input(
            "Labelled target samples", 1, None, None, key="score_labelled_items",
            placeholder="16 in all" if teacher == "delift" else "4 of 5",
            help="Target samples that the network learns from. Others that the teacher scores only judge it.",
        )  # fmt: skip
        found["labelled_items"] = int(count) if count is not None else None
    if free:
        found["network_features"] = next(beside).selectbox(
            "What it reads", features_for(teacher), format_func=lambda f: FEATURE_NAMES.get(f, f), key="score_features",
            help="Words cost nothing, meaning a pass of a small encoder for each sample, hidden states a forward pass "
            "of the model.",
        )  # fmt: skip
        found["landmark_choice"] = next(beside).selectbox(
            "Labelled samples are drawn", get_args(LandmarkChoice), key="score_labelled_choice",
            format_func=lambda c: CHOICE_NAMES.get(c, c),
            help="At random, or so that they cover the pool's words more evenly.",
        )  # fmt: skip
    return found


def second(beside: Iterator[Any]) -> dict[str, Any]:
    """Whether a second network learns what samples are worth to each other."""
    wanted = next(beside).toggle(
        "Second network", key="score_pool_network",
        help="Also learns what samples of the pool are worth to each other, for selections that go by it. The "
        "teacher then scores the labelled samples against some samples of the pool too.",
    )  # fmt: skip
    return {"pool_network": wanted}


def features_for(teacher: str) -> list[str]:
    """What a network can read: hidden states only where a language model takes part."""
    modelled = needs_model("network", teacher)
    return [name for name in get_args(NetworkFeatures) if modelled or "hidden" not in name]


def rating(beside: Iterator[Any]) -> dict[str, Any]:
    """How SelectIT rates."""
    return {
        "rating_levels": int(next(beside).number_input(
            "Rating levels", 2, 9, DEFAULTS.rating_levels, key="score_rating_levels",
            help="The model rates each sample from 1 to this number.",
        )),
        "rating_alpha": float(next(beside).number_input(
            "Weight of disagreement", 0.0, None, DEFAULTS.rating_alpha, 0.1, key="score_rating_alpha",
            help="How much a sample loses when the rating prompts disagree about it (the paper's α).",
        )),
        "rating_preset": next(beside).selectbox(
            "Rating", get_args(RatingPreset), format_func=lambda r: RATING_NAMES.get(r, r), key="score_rating_preset",
            help="The authors' code applies a second softmax to the ratings' probabilities.",
        ),
    }  # fmt: skip


def further_models() -> dict[str, Any]:
    """Models that rate beside the first one."""
    typed = st.text_area(
        "Further models", key="score_models", height=96, placeholder="none, or one folder or hub name a line",
        help="Each rates every sample; ratings are joined by the models' sizes.",
    )  # fmt: skip
    return {"models": tuple(line.strip() for line in typed.splitlines() if line.strip())}


def groups(project: Project, beside: Iterator[Any]) -> dict[str, Any]:
    """The field of target samples to group by, where they have any."""
    fields = target_fields(project)
    if not fields:
        return {}
    found = next(beside).selectbox(
        "Groups of target samples", ["", *fields], format_func=lambda name: visible(name) or "None", key="score_groups",
        help="A field of the target samples, such as the task. Scores are averaged within each group, and a sample "
        "counts by its best group.",
    )  # fmt: skip
    return {"groups": found}


def target_fields(project: Project) -> list[str]:
    """The original fields that the target samples have, sought among the first of each set."""

    def compute() -> list[str]:
        sets = [(each.name, min(each.rows, SOUGHT)) for each in project.targets()]
        rows = [row for name, m in sets for row in project.rows(range(m), role="target", set_name=name)]
        return list(dict.fromkeys(field for row in rows for field in row.fields))

    return reads.by_stamp(project, "target fields", compute)


def training() -> dict[str, Any]:
    """How the network is shaped and trained."""
    st.markdown("**The network and its training**")
    one, two, three = st.columns(3)
    found: dict[str, Any] = {
        f"network_{name}": int(place.number_input(
            label, least, None, getattr(DEFAULTS, f"network_{name}"), key=f"score_network_{name}", help=said or None
        ))
        for place, name, label, least, said in (
            (one, "hidden", "Hidden units", 1, ""),
            (two, "members", "Networks", 1, "Trained alike from other beginnings; their mean is the answer."),
            (three, "rank", "Rank of the product term", 0, "How sample and target are multiplied. 0: not at all."),
            (one, "epochs", "Epochs, at most", 1, ""),
            (two, "patience", "Patience in epochs", 1, "Epochs without a lower validation error end the training."),
            (three, "batch", "Batch", 1, "In samples or in pairs, as chosen below."),
        )
    }  # fmt: skip
    for place, name, label, low, high, step, digits in (
        (one, "learning_rate", "Learning rate of the network", 1e-6, None, 1e-3, "%.5f"),
        (two, "weight_decay", "Weight decay", 0.0, None, 1e-2, "%.4f"),
        (three, "dropout", "Dropout of the inputs", 0.0, 0.9, 0.1, "%.2f"),
    ):
        found[f"network_{name}"] = float(place.number_input(
            label, low, high, getattr(DEFAULTS, f"network_{name}"), step, digits, key=f"score_network_{name}"
        ))  # fmt: skip
    found["network_batch_of"] = one.selectbox(
        "A batch is made of", get_args(BatchOf), index=get_args(BatchOf).index(DEFAULTS.network_batch_of),
        format_func=lambda b: BATCH_NAMES.get(b, b), key="score_network_batch_of",
    )  # fmt: skip
    found["network_cosine"] = two.toggle(
        "Reads similarities too", value=DEFAULTS.network_cosine, key="score_network_cosine",
        help="How alike sample and target are, as a further input.",
    )  # fmt: skip
    found["network_standardise"] = three.toggle(
        "Scales labels and inputs", value=DEFAULTS.network_standardise, key="score_network_standardise"
    )
    return found


def lora() -> dict[str, Any]:
    """LESS's adapters, and the warm-up that trains them."""
    st.markdown("**LoRA adapters of LESS and their warm-up**")
    one, two, three = st.columns(3)
    return {
        "lora_rank": int(one.number_input("LoRA rank", 1, 4096, DEFAULTS.lora_rank, key="score_lora_rank")),
        "lora_alpha": float(
            two.number_input("LoRA alpha", 0.1, None, DEFAULTS.lora_alpha, 1.0, key="score_lora_alpha")
        ),
        "less_width": int(three.number_input(
            "Projection width of LESS", 1, 1 << 20, DEFAULTS.less_width, key="score_less_width",
            help="Gradients are projected to so many numbers at random.",
        )),
        "warm_up_fraction": one.number_input(
            "Warm-up slice, in % of the pool", 0.0, 100.0, 100 * DEFAULTS.warm_up_fraction, 1.0,
            key="score_warm_up_fraction", help="The built-in model takes 128 samples at most.",
        ) / 100,
        "warm_up_epochs": int(two.number_input(
            "Warm-up epochs", 1, 100, DEFAULTS.warm_up_epochs, key="score_warm_up_epochs",
            help="Every epoch is a checkpoint, and every sample's gradient is taken at each.",
        )),
        "warm_up_learning_rate": float(three.number_input(
            "Warm-up learning rate", 0.0, None, DEFAULTS.warm_up_learning_rate, 1e-3, "%.5f", key="score_warm_up_rate"
        )),
    }  # fmt: skip
