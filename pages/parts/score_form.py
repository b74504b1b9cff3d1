"""The settings of a scoring run as a form; what it returns is a validated `ScoreConfig`.

The options come from the engine's own tables, so that a new method appears by itself.
"""

from typing import get_args

import streamlit as st

from engine.runs.config import METHODS, NEEDS_TARGET, Aggregate, Embedding, Kernel, Method, ScoreConfig, Switch, Unit
from engine.store.project import Project
from pages.parts import reads
from pages.parts.words import plain

DEFAULTS = ScoreConfig()
METHOD_NAMES = {"landmark": "Landmark", "exact": "Exact", "random": "Random"}
UNIT_NAMES = {"cosine": "Cosine of gradients", "inner-product": "Inner product of gradients"}
EMBEDDING_NAMES = {
    "hidden": "Pooled hidden states",
    "jvp": "JVP embedding (the paper's)",
    "gradient": "Gradients of the last blocks",
}


def form(project: Project) -> tuple[ScoreConfig | None, str | None]:
    """Draw the settings; the configuration (None: the model is still to be named) and the run's name (None: automatic).

    Raises `EngineError` where the values do not make a configuration.
    """
    methods = list(get_args(Method))
    method = st.segmented_control(
        "Method",
        methods,
        format_func=lambda m: METHOD_NAMES.get(m, m),
        default="landmark",
        required=True,
        key="score_method",
    )
    st.caption(METHODS[method])
    settings: dict[str, object] = {"method": method}
    left, right = st.columns(2)
    with left:
        if method != "random":
            settings["model"] = _model()
    with right:
        if method in NEEDS_TARGET:
            settings["targets"] = _targets(project)
    settings |= _main(project, method)
    with st.expander("More settings"):
        settings |= _more(method)
    name = st.text_input(
        "Name of the run", key="score_name", placeholder="chosen for you", max_chars=60, width=340
    ).strip()
    complete = settings.get("model", "") is not None
    return (ScoreConfig.from_dict(settings) if complete else None), name.strip() or None


def _model() -> str | None:
    kind = st.segmented_control(
        "Model", ["Built-in", "Folder or hub name"], default="Built-in", required=True, key="score_model_kind",
        help="The built-in model is tiny and always there; its scores need not transfer to another model.",
    )  # fmt: skip
    if kind == "Built-in":
        return DEFAULTS.model
    typed = st.text_input("Folder or hub name", key="score_model", placeholder="/models/llama-3.2-1b, or owner/name")
    if not typed.strip():
        st.caption("Name the model to see what the run would cost.")
    return typed.strip() or None


def _targets(project: Project) -> tuple[str, ...]:
    names = [target.name for target in reads.by_state(project, "targets")]
    chosen = st.multiselect(
        "Targets", names, key="score_targets", placeholder="All target sets",
        help="Each gets its own score; the overall score is their mean.",
    )  # fmt: skip
    return tuple(chosen)


def _main(project: Project, method: str) -> dict[str, object]:
    found: dict[str, object] = {}
    places = st.columns(4)
    n = reads.pool_size(project)
    if method == "landmark":
        count = places[0].number_input(
            "Landmarks", 1, max(1, n), None, key="score_landmarks", placeholder=f"{DEFAULTS.landmark_count(n):,}",
            help="Samples scored exactly. More are slower and more faithful. Empty: 6 % of the pool, at least 64.",
        )  # fmt: skip
        found["landmarks"] = int(count) if count is not None else None
        found["embedding"] = places[1].selectbox(
            "Embedding", get_args(Embedding), format_func=lambda e: EMBEDDING_NAMES.get(e, e), key="score_embedding",
            help="What carries the scores from the landmarks to the other samples.",
        )  # fmt: skip
    if method != "random":
        found["unit"] = places[2].selectbox(
            "Unit", get_args(Unit), format_func=lambda u: UNIT_NAMES.get(u, u), key="score_unit",
            help="Cosine compares directions; the inner product also counts the size of the gradient.",
        )  # fmt: skip
    found["seed"] = int(places[3].number_input("Seed", 0, 2**32 - 1, DEFAULTS.seed, key="score_seed"))
    return found


def _more(method: str) -> dict[str, object]:
    if method == "random":
        st.caption("Random scores have no further settings.")
        return {}
    found: dict[str, object] = {}
    one, two, three = st.columns(3)
    found["aggregate"] = one.selectbox(
        "Within a target set", get_args(Aggregate), key="score_aggregate",
        help="How the samples of one target set join: their mean, or the best of them. Sets are averaged.",
    )  # fmt: skip
    found["projection"] = int(two.number_input("Projection width", 1, 512, DEFAULTS.projection, key="score_projection"))
    found["max_length"] = int(three.number_input(
        "Longest sample in tokens", 16, 1 << 20, DEFAULTS.max_length, key="score_length",
        help="Longer samples lose the beginning of their prompt, never the whole response.",
    ))  # fmt: skip
    found["warm_up"] = one.selectbox(
        "Warm-up", get_args(Switch), key="score_warm_up",
        help="Trains on a slice of the pool first. Auto: with the built-in model only.",
    )  # fmt: skip
    found["warm_up_fraction"] = float(two.number_input(
        "Warm-up share of the pool", 0.0, 1.0, DEFAULTS.warm_up_fraction, 0.01, key="score_warm_up_fraction"
    ))  # fmt: skip
    found["batch_tokens"] = int(
        three.number_input("Tokens per batch", 16, 1 << 24, DEFAULTS.batch_tokens, key="score_batch")
    )
    if method == "landmark":
        found["kernel"] = one.selectbox("Kernel", get_args(Kernel), key="score_kernel")
        found["ridge"] = float(two.number_input("Ridge", 0.0, None, DEFAULTS.ridge, format="%.4f", key="score_ridge"))
        audit = three.number_input("Audit samples", 0, None, None, key="score_audit", placeholder="chosen for you",
            help="Samples scored exactly only to measure how far the scores can be trusted.")  # fmt: skip
        found["audit"] = int(audit) if audit is not None else None
    found["device"] = one.text_input("Device", DEFAULTS.device, key="score_device").strip() or "auto"
    found["dtype"] = two.text_input("Precision", DEFAULTS.dtype, key="score_dtype").strip() or "auto"
    return found


def describe(config: ScoreConfig) -> str:
    """A configuration in one line; escaped."""
    model = "" if config.method == "random" else f" · model {config.model}"
    return plain(f"{METHOD_NAMES.get(config.method, config.method)}{model} · seed {config.seed}")


def missing_target(project: Project, config: ScoreConfig | None) -> bool:
    """Whether the method needs a target set and there is none."""
    method = config.method if config is not None else "landmark"
    return method in NEEDS_TARGET and not reads.by_state(project, "targets")
