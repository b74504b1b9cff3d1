"""The settings of a scoring run as a form; what it returns is a validated `ScoreConfig`.

A curator decides here: the method, the model, what counts for and against, how much is measured exactly, and whether
the run goes on until it is good enough. What only influence functions and the network ask is in `score_functions`,
everything else in `score_more`. The options come from the engine's own tables. What was entered stays while another
method or page is in view.
"""

from typing import Any, get_args

import streamlit as st

from engine.runs.config import PRESETS, Embedding, ScoreConfig, Unit
from engine.runs.methods import GRADIENT_METHODS, POINTWISE, function_of, needs_model, needs_target
from engine.store.project import Project
from pages.parts import kept, reads, score_functions, score_methods, score_more
from pages.parts.places import places
from pages.parts.shell import empty
from pages.parts.words import plain, shorten

DEFAULTS = ScoreConfig()
BEST, PAPER = "Best settings", "The paper's"
UNIT_NAMES = {"cosine": "Cosine of gradients", "inner-product": "Inner product of gradients"}
EMBEDDING_NAMES = {
    "gradient": "Gradients of the last blocks",
    "hidden": "Pooled hidden states",
    "last-layer": "Gradient of the last layer",
    "jvp": "Forward-mode derivative (the paper's)",
    "sentence": "Sentence embedding",
    "auto": "Try them and pick",
}
EMBEDDING_WORDS = {
    "gradient": "Runs the last blocks backwards for every sample. The most faithful for its price on small models.",
    "hidden": "The model's own states, averaged over the sample. One forward pass; cheap, knows nothing of gradients.",
    "last-layer": "How the output layer would change. One forward pass; cheap, blind to the layers below.",
    "jvp": "How the first blocks answer a small random change of their weights. Cheap on models with many blocks.",
    "sentence": "What the text is about, by a small encoder of its own. Knows nothing of the model that is scored.",
    "auto": "Tries every kind on a few exactly measured samples and keeps the most faithful for its cost.",
}
PAPER_WORDS = {
    "landmark": "As published: forward-mode derivatives of the first four blocks, uniform landmarks, an RBF kernel, "
    "nothing tuned. For comparison; the best settings follow exact scores more closely.",
    "network": "As published: 5 % labelled, sentence embeddings alone, one network of 100 units on raw labels, trained "
    "for at most 20 epochs. For comparison; the best settings follow the teacher more closely.",
}
COLUMNS = 4
FORM = "score_"  # the beginning of the keys of all its widgets
NOT_KEPT = ("score_start", "score_plan", "score_why")  # buttons, and what another page calls so


def form(project: Project) -> tuple[ScoreConfig | None, str | None]:
    """Draw the settings; the configuration (None: the model is still to be named) and the run's name (None: automatic).

    Raises `EngineError` where the values do not make a configuration.
    """
    kept.restore(FORM, str(project.path))
    settings: dict[str, Any] = {"method": score_methods.choose()}
    settings |= _manner(settings["method"])
    method, function = settings["method"], function_of(settings["method"], settings.get("teacher", ""))
    settings |= _model_and_targets(project, settings)
    settings |= _main(project, settings)
    if method == "landmark":
        settings |= _effort()
    if method != "random":
        with st.expander("More settings", key="score_more"):
            settings |= score_more.settings(function or method, settings)
    name = st.text_input(
        "Name of the run", key="score_name", placeholder="chosen for you", max_chars=60, width=340
    ).strip()
    kept.keep(FORM, str(project.path), without=NOT_KEPT)
    if settings.pop("preset", "") == PAPER:
        settings |= PRESETS["paper"]
    complete = settings.get("model", "") is not None
    return (ScoreConfig.from_dict(settings) if complete else None), name or None


def _manner(method: str) -> dict[str, Any]:
    """Whether by the best settings or the paper's, and what a network learns."""
    found: dict[str, Any] = {}
    if method in PAPER_WORDS:
        found["preset"] = st.segmented_control(
            "Settings", [BEST, PAPER], default=BEST, required=True, key="score_preset",
            help="Either can be changed below, where it leaves anything open.",
        )  # fmt: skip
        if found["preset"] == PAPER:
            st.caption(plain(PAPER_WORDS[method]))
    if method == "network":
        found["teacher"] = score_methods.teacher()
    return found


def _model_and_targets(project: Project, settings: dict[str, Any]) -> dict[str, Any]:
    """What takes part: a model, target sets, or both; nothing is asked for that the method does not use."""
    method, teacher = settings["method"], settings.get("teacher", "")
    modelled, aimed = needs_model(method, teacher), needs_target(method, teacher)
    left, right = st.columns(2, gap="medium") if modelled else (None, st.container())
    found: dict[str, Any] = {}
    if left is not None:
        with left:
            found["model"] = _model()
    with right:
        if aimed:
            found |= _targets(project)
        if function_of(method, teacher) == "selectit":
            found |= score_functions.further_models()
    return found


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


def _targets(project: Project) -> dict[str, Any]:
    """The sets that count for and against a sample, and their weights where the curator wants any."""
    names = [target.name for target in reads.by_state(project, "targets")]
    if not names:
        empty("This method needs a target set", "The project has none yet: add samples of the task.", "Pool")
        return {}
    one, two = st.columns(2)
    wanted = one.multiselect(
        "Targets", names, key="score_targets", placeholder="All target sets",
        help="Samples that help these score high. Each set gets a score of its own beside the overall one.",
    )  # fmt: skip
    against = two.multiselect(
        "Avoid", [name for name in names if name not in wanted], key="score_avoid", placeholder="None",
        help="Samples that help these score low: what the model should not get better at.",
    )  # fmt: skip
    used = [name for name in names if not wanted or name in wanted or name in against]
    weights = _weights(used, against)
    return {
        "targets": tuple(used) if wanted else (),
        "avoid": tuple(against),
        "target_weights": tuple(f"{name}={weight:g}" for name, weight in weights.items() if weight != 1),
    }


def _weights(used: list[str], against: list[str]) -> dict[str, float]:
    if len(used) < 2 or not st.toggle("Weigh the sets", key="score_weighted", help="Otherwise all count alike."):
        return {}
    found, places = {}, st.columns(min(len(used), 3))
    for at, name in enumerate(used):
        label = plain(f"{shorten(name, 30)}{' (against)' if name in against else ''}")
        found[name] = float(
            places[at % len(places)].number_input(label, 0.01, 1000.0, 1.0, 0.5, key=f"score_weight_{name}")
        )
    return found


def _main(project: Project, settings: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    method, function = settings["method"], function_of(settings["method"], settings.get("teacher", ""))
    n, beside = reads.pool_size(project), places(COLUMNS)
    if method == "landmark":
        count = next(beside).number_input(
            "Landmarks", 1, max(1, n), None, key="score_landmarks", placeholder=f"{DEFAULTS.landmark_count(n):,}",
            help="Samples measured exactly. More are slower and more faithful. Empty: 6 % of the pool, at least 64.",
        )  # fmt: skip
        found["landmarks"] = int(count) if count is not None else None
        if settings["preset"] == BEST:
            found["embedding"] = next(beside).selectbox(
                "Embedding", get_args(Embedding), format_func=lambda e: EMBEDDING_NAMES.get(e, e),
                key="score_embedding", help="What carries the scores from the landmarks to the other samples.",
            )  # fmt: skip
    if method == "network":
        found |= score_functions.network(beside, str(function), free=settings["preset"] == BEST)
    if function == "selectit":
        found |= score_functions.rating(beside)
    if method in GRADIENT_METHODS or function == "exact":
        found["unit"] = next(beside).selectbox(
            "Unit", get_args(Unit), format_func=lambda u: UNIT_NAMES.get(u, u), key="score_unit",
            help="Cosine compares directions; the inner product also counts the size of the gradient.",
        )  # fmt: skip
    if function is not None and function not in POINTWISE:
        found |= score_functions.groups(project, beside)
    found["seed"] = int(next(beside).number_input("Seed", 0, 2**32 - 1, DEFAULTS.seed, key="score_seed"))
    if method == "network" and function not in POINTWISE:
        found |= score_functions.second(beside)
    if "embedding" in found:
        st.caption(plain(f"{EMBEDDING_NAMES[found['embedding']]}: {EMBEDDING_WORDS[found['embedding']]}"))
    return found


def _effort() -> dict[str, Any]:
    """How far the run goes beyond its landmarks: until it is faithful enough, and exactly where the cut will be."""
    left, right = st.columns(2, gap="medium")
    with left:
        found = _near_the_cut()
    with right:
        return found | _good_enough()


def _near_the_cut() -> dict[str, Any]:
    if not st.toggle(
        "Measure the samples near the cut exactly", key="score_refine",
        help="Which samples go in is decided near the cut. Those are measured exactly, in rounds, until the best are "
        "stable.",
    ):  # fmt: skip
        return {}
    one, two = st.columns(2)
    size = one.text_input(
        "You will choose", "10%", key="score_refine_size", help="A number such as 500, or a share such as 10%."
    )
    most = two.number_input(
        "At most, in % of the pool", 0.0, 100.0, 100 * DEFAULTS.refine_budget, 1.0, key="score_refine_budget"
    )
    return {"refine": size.strip(), "refine_budget": most / 100}


def _good_enough() -> dict[str, Any]:
    if not st.toggle(
        "Add landmarks until good enough", key="score_fidelity_on",
        help="Good enough is a rank correlation with exact scores, measured on the tuning samples.",
    ):  # fmt: skip
        return {}
    one, two = st.columns(2)
    reach = one.number_input("Spearman to reach", 0.0, 1.0, 0.85, 0.05, key="score_fidelity")
    limit = two.number_input("Most landmarks", 1, None, None, key="score_max_landmarks", placeholder="twice as many")
    return {"fidelity": float(reach), "max_landmarks": int(limit) if limit is not None else None}


def missing_target(project: Project, config: ScoreConfig) -> bool:
    """Whether the run needs a target set and there is none."""
    return needs_target(config.method, config.teacher) and not reads.by_state(project, "targets")
