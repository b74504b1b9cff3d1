"""The settings of a scoring run that are right as they are for most: what is measured, how it is carried, and where.

Each group returns keyword arguments of `ScoreConfig`; nothing is validated here.
"""

from collections.abc import Callable
from typing import Any, get_args

import streamlit as st

from engine.runs.config import (
    Aggregate,
    Conditioning,
    Curvature,
    Kernel,
    LandmarkChoice,
    ScoreConfig,
    Sites,
    Switch,
    Tangent,
)
from engine.runs.methods import POINTWISE, needs_model
from pages.parts import score_functions
from pages.parts.places import places
from pages.parts.words import plain

DEFAULTS = ScoreConfig()
KERNEL_NAMES = {"rbf": "RBF", "linear": "Linear"}
CONDITIONING_NAMES = {"plain": "Plain gradients", "adam": "Scaled as Adam would"}
AGGREGATE_NAMES = {"mean": "Mean", "max": "Best"}
SITES_NAMES = {"all": "All layers", "mlp": "MLP layers", "down": "Down projections"}
TANGENT_NAMES = {"rank-one": "Rank one (cheap)", "gaussian": "Gaussian (the paper's)"}
AUDIT_WORDS = "Measured exactly only to say how far the scores can be trusted."
TUNING_WORDS = "Measured exactly to choose settings by; part of the landmarks' number."
COLUMNS = 3
SWITCH_NAMES = {"auto": "Where it helps", "on": "On", "off": "Off"}


def settings(kind: str, chosen: dict[str, Any]) -> dict[str, Any]:
    """Draw the groups that matter; `kind` is the influence function that is asked, or the method where none is, and
    `chosen` are the settings made so far.
    """
    method, modelled = chosen["method"], needs_model(chosen["method"], chosen.get("teacher", ""))
    gradients = kind in ("landmark", "exact", "directional")
    found = _joined() if kind not in POINTWISE else {}
    if gradients:
        found |= _measured(kind)
    if method == "landmark":
        found |= _carried(chosen)
    if method == "network":
        if "network_features" in chosen:  # a preset leaves none of these open
            found |= score_functions.training()
        found |= _audited()
    if kind == "less":
        found |= score_functions.lora()
    return found | _machine(warms=gradients, modelled=modelled)


def _in(names: dict[str, str]) -> Callable[[str], str]:
    """How options are shown: by their name, an option without one as it is."""
    return lambda option: names.get(option, option)


def _joined() -> dict[str, Any]:
    st.markdown("**How target samples count**")
    one, two, _ = st.columns(3)
    return {
        "aggregate": one.selectbox(
            "Within a target set", get_args(Aggregate), format_func=_in(AGGREGATE_NAMES), key="score_aggregate",
            help="How a sample's scores for the items of one set join: their mean, or the best of them.",
        ),
        "across": two.selectbox(
            "Across target sets", get_args(Aggregate), format_func=_in(AGGREGATE_NAMES), key="score_across",
            help="How the scores of the sets join in the overall score. Mean within and best across is what LESS does.",
        ),
    }  # fmt: skip


def _measured(kind: str) -> dict[str, Any]:
    st.markdown("**What is measured**")
    found: dict[str, Any] = {}
    beside = places(COLUMNS)
    found["conditioning"] = next(beside).selectbox(
        "Gradients", get_args(Conditioning), format_func=_in(CONDITIONING_NAMES), key="score_conditioning",
        help="Adam gives every weight its own step size; its moments come from the warm-up.",
    )  # fmt: skip
    blocks = next(beside).number_input(
        "Last blocks only", 1, None, None, key="score_blocks", placeholder="all blocks",
        help="Takes gradients in the weights of the last blocks only: cheaper, and another quantity.",
    )  # fmt: skip
    found["blocks"] = int(blocks) if blocks is not None else None
    patterns = next(beside).text_input(
        "Layers by name", key="score_parameters", placeholder="all, or *down_proj*, *.o_proj.*",
        help="Patterns of layer names, with commas between them.",
    )  # fmt: skip
    found["parameters"] = tuple(part.strip() for part in patterns.split(",") if part.strip())
    if kind != "directional":
        found["projection"] = int(next(beside).number_input(
            "Projection width", 1, 512, DEFAULTS.projection, key="score_projection",
            help="Per layer, for the scores of single target samples; the scores of whole sets are not projected.",
        ))  # fmt: skip
    keep = next(beside).number_input("Random share of the weights, in %", 0.0001, 100.0, 100.0, 5.0, key="score_keep",
                                     help="Takes a seeded random share of the weights of each layer.")  # fmt: skip
    found["keep"] = keep / 100
    place = next(beside)
    found["with_embeddings"] = place.toggle("Token embedding and head too", key="score_with_embeddings")
    found["with_norms"] = place.toggle("Norms too", key="score_with_norms")
    return found


def _carried(chosen: dict[str, Any]) -> dict[str, Any]:
    st.markdown("**How it is carried from the landmarks**")
    found: dict[str, Any] = {}
    if "embedding" in chosen:  # a preset leaves none of these open
        found |= _embedding(str(chosen["embedding"]))
        found |= _regression()
    one, two, three = st.columns(3)
    found |= _count(one, "audit", "Audit samples", AUDIT_WORDS)
    found |= _count(two, "tuning", "Tuning samples", TUNING_WORDS)
    if chosen.get("unit") == "inner-product":  # the curvature is that of inner products
        found |= _curvature(three)
    if chosen.get("refine"):
        sure = one.number_input("Confidence near the cut, in %", 50.0, 99.99, 100 * DEFAULTS.confidence, 1.0,
                                key="score_confidence")  # fmt: skip
        found["confidence"] = sure / 100
    return found


def _audited() -> dict[str, Any]:
    st.markdown("**What the network is judged by**")
    one, _, _ = st.columns(3)
    return _count(one, "audit", "Audit samples", AUDIT_WORDS)


def _count(place: Any, name: str, label: str, words: str) -> dict[str, Any]:
    count = place.number_input(label, 0, None, None, key=f"score_{name}", placeholder="chosen for you", help=words)
    return {name: int(count) if count is not None else None}


def _curvature(place: Any) -> dict[str, Any]:
    count = int(place.number_input(
        "Landmarks with curvature", 0, 4096, DEFAULTS.curvature, key="score_curvature",
        help="Keeps Hessian products of so many landmarks, for weights to second order in Select. 0: none.",
    ))  # fmt: skip
    if not count:
        return {}
    form = place.selectbox("Curvature", get_args(Curvature), key="score_curvature_form")
    return {"curvature": count, "curvature_form": form}


def _embedding(name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    one, two, three = st.columns(3)
    found["landmark_choice"] = one.selectbox(
        "Landmarks are chosen", get_args(LandmarkChoice), format_func=_in(score_functions.CHOICE_NAMES),
        key="score_landmark_choice",
        help="At random is the safest to judge by; the others cover the pool more evenly.",
    )  # fmt: skip
    found["unit_rows"] = two.selectbox(
        "Embeddings of length 1", get_args(Switch), format_func=_in(SWITCH_NAMES), key="score_unit_rows",
        help="Compares embeddings by direction alone. Where it helps: for cosines carried by gradients.",
    )  # fmt: skip
    if name != "hidden":
        found["embedding_width"] = int(
            three.number_input("Embedding width", 8, 16384, DEFAULTS.embedding_width, key="score_width")
        )
    if name in ("gradient", "auto"):
        found["gradient_blocks"] = int(
            one.number_input("Last blocks for the embedding", 1, 1024, DEFAULTS.gradient_blocks, key="score_g_blocks")
        )
        found["gradient_side"] = int(
            two.number_input("Projection side per layer", 1, 512, DEFAULTS.gradient_side, key="score_g_side")
        )
        found["gradient_sites"] = three.selectbox(
            "Layers in the embedding", get_args(Sites), format_func=_in(SITES_NAMES), key="score_g_sites"
        )
        leave = one.number_input("Leave the model after block", 1, 1024, None, key="score_early_exit",
            placeholder="the last one", help="An early exit runs the first blocks alone: cheaper on deep models, and "
            "less faithful. Losses are then known for measured samples alone.")  # fmt: skip
        found["early_exit"] = int(leave) if leave is not None else None
    if name in ("jvp", "auto"):
        found["jvp_blocks"] = int(one.number_input("First blocks", 1, 1024, DEFAULTS.jvp_blocks, key="score_j_blocks"))
        found["jvp_tangents"] = int(two.number_input("Tangents", 1, 64, DEFAULTS.jvp_tangents, key="score_j_tangents"))
        found["tangent"] = three.selectbox(
            "Kind of tangent", get_args(Tangent), format_func=_in(TANGENT_NAMES), key="score_tangent"
        )
    return found


def _regression() -> dict[str, Any]:
    tune = st.toggle(
        "Choose kernel, bandwidth, ridge and scaling by the tuning samples", value=DEFAULTS.tune, key="score_tune",
        help="They must do clearly better than the usual ones, which are kept otherwise.",
    )  # fmt: skip
    if tune:
        return {"tune": True}
    one, two, three = st.columns(3)
    return {
        "tune": False,
        "kernel": one.selectbox("Kernel", get_args(Kernel), format_func=_in(KERNEL_NAMES), key="score_kernel"),
        "bandwidth_factor": float(
            two.number_input("Bandwidth, in median distances", 0.001, 1000.0, 1.0, 0.1, key="score_bandwidth")
        ),
        "ridge": float(three.number_input("Ridge", 0.0, None, DEFAULTS.ridge, format="%.4f", key="score_ridge")),
        "standardise": one.toggle("Scale each coordinate", value=DEFAULTS.standardise, key="score_standardise"),
    }


def _machine(*, warms: bool, modelled: bool) -> dict[str, Any]:
    """Where it runs; `warms`: a model may be trained first, `modelled`: a language model takes part at all."""
    st.markdown("**Warm-up and machine**" if warms else "**Machine**")
    found: dict[str, Any] = {}
    beside = places(COLUMNS)
    if warms:
        found["warm_up"] = next(beside).selectbox(
            "Warm-up", get_args(Switch), format_func=_in({**SWITCH_NAMES, "auto": "With the built-in model"}),
            key="score_warm_up", help="Trains on a slice of the pool first.",
        )  # fmt: skip
        found["warm_up_fraction"] = next(beside).number_input(
            "Warm-up slice, in % of the pool", 0.0, 100.0, 100 * DEFAULTS.warm_up_fraction, 1.0,
            key="score_warm_up_fraction",
        ) / 100  # fmt: skip
    if modelled:
        found["batch_tokens"] = int(next(beside).number_input(
            "Tokens per batch", 16, 1 << 24, DEFAULTS.batch_tokens, key="score_batch", help="A GPU wants more."
        ))  # fmt: skip
        found["max_length"] = int(next(beside).number_input(
            "Longest sample in tokens", 16, 1 << 20, DEFAULTS.max_length, key="score_length",
            help="Longer samples lose the beginning of their prompt, never the whole response.",
        ))  # fmt: skip
    for name, label in (("device", "Device"), ("dtype", "Precision"), ("attention", "Attention")):
        if modelled or name == "device":
            typed = next(beside).text_input(label, getattr(DEFAULTS, name), key=f"score_{name}")
            found[name] = typed.strip() or "auto"
    said = "Device, precision and attention: auto takes" if modelled else "Device: auto takes"
    st.caption(plain(f"{said} what this machine does best."))
    return found
