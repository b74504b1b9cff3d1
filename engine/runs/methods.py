"""The methods of scoring: what each does, what it costs and when to use it, and what it needs.

A method is either a way through gradients (`landmark`, `exact`, `directional`), an influence function asked of every
row, the network that learns such a function from a few rows, or a baseline. Options elsewhere are derived from here.
"""

from typing import Literal

Method = Literal[
    "landmark", "exact", "directional", "network", "delift", "delift-se", "less", "selectit", "rds", "random"
]
Teacher = Literal["less", "delift", "delift-se", "selectit", "rds", "exact"]

METHODS: dict[str, str] = {
    "landmark": "Influence Distillation: exact gradients for a few landmark samples, propagated to the whole pool. "
    "Costs about half of exact scores, less with an early exit. The default.",
    "exact": "The gradient of every sample, unprojected, with its true norm. Costs the most: a forward and backward "
    "pass for each sample. For small pools, and to check the others.",
    "directional": "Exact inner products with the mean target gradients, from forward passes alone. Costs two for "
    "each sample and target set. For a single target set, and models that only run forward.",
    "network": "NN-CIFT: a small network learns another method, its teacher, from a few labelled samples and "
    "estimates all others. Costs the teacher on about 7 % of the samples. For costly teachers and large pools.",
    "delift": "DELIFT: how much a sample, shown as an example, helps the model to answer a target item. Costs a "
    "forward pass for every pair of sample and item. For small pools, or as the network's teacher.",
    "delift-se": "DELIFT (SE): cosine of the sentence embeddings of sample and item. Costs a pass of a small encoder "
    "for each sample, and no language model. For a first look, by topic alone.",
    "less": "LESS: gradients in LoRA adapters along a warm-up; samples as Adam would step, items plain. Costs a "
    "forward and backward pass for each sample and epoch of the warm-up. For training with LoRA.",
    "selectit": "SelectIT: the model itself rates each sample, under several prompts; needs no target. Costs a "
    "forward pass for each sample and prompt. For general quality, with a model that follows instructions.",
    "rds": "RDS+: cosine of the pooled hidden states of sample and item. Costs one forward pass for each sample. A "
    "strong and cheap baseline, best with the strategy round-robin.",
    "random": "Seeded random scores: the baseline every method must beat. Costs nothing, and needs neither model "
    "nor target.",
}
GRADIENT_METHODS = frozenset({"landmark", "exact", "directional"})
FUNCTIONS = frozenset({"delift", "delift-se", "less", "selectit", "rds"})
POINTWISE = frozenset({"selectit"})
PAIR_PRICED = frozenset({"delift"})  # that cost a pass for every pair, not for every row and every item


def function_of(method: str, teacher: str) -> str | None:
    """The influence function that a method asks: itself, the network's teacher, or none."""
    if method == "network":
        return teacher
    return method if method in FUNCTIONS else None


def needs_target(method: str, teacher: str = "less") -> bool:
    """Whether there must be a target set."""
    return method != "random" and function_of(method, teacher) not in POINTWISE


def needs_model(method: str, teacher: str = "less") -> bool:
    """Whether a language model takes part."""
    return method != "random" and function_of(method, teacher) != "delift-se"
