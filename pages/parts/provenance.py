"""How a run's scores were made, in plain words: what carried them, what was tuned, added and refined, and at what cost.

Every entry may be missing, as in runs of earlier versions; what is missing is not spoken of.
"""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from pages.parts.run_choice import View
from pages.parts.score_form import EMBEDDING_NAMES
from pages.parts.score_functions import CHOICE_NAMES, FEATURE_NAMES
from pages.parts.score_methods import name_of
from pages.parts.score_more import CONDITIONING_NAMES, KERNEL_NAMES
from pages.parts.tables import table
from pages.parts.words import count, duration, opened, plain

NORMS = {
    "true gradient": "divided by the true length of each gradient",
    "projected gradient": "divided by the length of each projected gradient",
    "none": "not divided by the gradient's length",
}


def story(view: View) -> list[tuple[str, str]]:
    """(what, how) in the order of the run; not escaped."""
    summary, config = view.scores.summary, view.record.config
    embedding, tuning = summary.get("embedding") or {}, summary.get("tuning") or {}
    choice, adaptive = summary.get("landmark_choice") or {}, summary.get("adaptive") or {}
    refinement = summary.get("refinement") or {}
    told = {
        "Settings": "The paper's." if summary.get("preset") == "paper" else "",
        **_learnt(summary),
        "Measured": _measured(summary),
        "Targets": _weights(summary),
        "Carried by": _carried(embedding),
        "Landmarks": _joined(CHOICE_NAMES.get(choice.get("strategy", ""), ""), *choice.get("notes", ())),
        "Tuning": str(tuning.get("sentence", "")),
        "Added landmarks": str(adaptive.get("note", "")),
        "Near the cut": _refined(refinement, config),
    }
    return [(what, how) for what, how in told.items() if how]


def show(view: View) -> None:
    """The story, with the tables behind it one click away."""
    told = story(view)
    if told:
        st.markdown("**How the scores were made**")
        st.markdown("\n".join(f"- **{what}:** {plain(how)}" for what, how in told))
    summary = view.scores.summary
    _on_demand("Embeddings tried", candidates(summary))
    _on_demand("Settings tried", trials(summary))
    _on_demand("Rounds of landmarks", rounds(summary))
    _on_demand("What it cost", costs(summary), cost_sentence(summary))


def sentences(view: View) -> set[str]:
    """Sentences of the summary that the story tells, so that the notes need not repeat them."""
    summary = view.scores.summary
    parts = [(summary.get(name) or {}).get("sentence") for name in ("embedding", "tuning", "refinement")]
    parts += [(summary.get("adaptive") or {}).get("note")]
    parts += [(summary.get("uncertainty") or {}).get("sentence")]
    return {str(part) for part in (*parts, *((summary.get("landmark_choice") or {}).get("notes") or ())) if part}


def _on_demand(title: str, rows: Sequence[dict[str, Any]], remark: str = "") -> None:
    if not rows:
        return
    key = f"run_{title.lower().replace(' ', '_')}"
    details = st.expander(f"{title} ({len(rows):,})" if title != "What it cost" else title, key=key, on_change="rerun")
    if details.open:
        with details:
            table(rows)
            if remark:
                st.caption(plain(remark))


def _learnt(summary: dict[str, Any]) -> dict[str, str]:
    """What a network was taught, what it reads, and its second network."""
    found = summary.get("network") or {}
    if not found:
        return {}
    labelled, inputs = found.get("labelled") or {}, found.get("inputs") or {}
    items = "" if found.get("pointwise") else f" against {count(labelled.get('items', 0), 'target sample')}"
    judged = f"{count(labelled.get('audit_rows', 0), 'more sample')} only judge it"
    taught = f"{count(labelled.get('rows', 0), 'sample')}{items}"
    features = FEATURE_NAMES.get(str(inputs.get("name", "")), str(inputs.get("name", "")))
    dim = f" ({inputs['dim']:,} numbers per text)" if inputs.get("dim") else ""
    return {
        "Taught by": _joined(f"{name_of(str(found.get('teacher', '')))} on {taught}", judged),
        "Network reads": _joined(f"{features}{dim}", str(inputs.get("why") or "")),
        "Second network": str((summary.get("pool_network") or {}).get("sentence", "")),
    }


def _measured(summary: dict[str, Any]) -> str:
    said = summary.get("parameter_set")
    if not said:
        return ""
    conditioning = CONDITIONING_NAMES.get(str(summary.get("conditioning")), "")
    norm = NORMS.get(str(summary.get("norm")), "")
    return _joined(f"Gradients in {said}", conditioning, norm)


def _weights(summary: dict[str, Any]) -> str:
    weights = {entry["name"]: entry.get("weight", 1) for entry in summary.get("sets", ())}
    if all(weight == 1 for weight in weights.values()):
        return ""
    wanted = ", ".join(f"{name} × {weight:g}" for name, weight in weights.items() if weight > 0)
    against = ", ".join(f"{name} × {-weight:g}" for name, weight in weights.items() if weight < 0)
    return _joined(f"for {wanted}" if wanted else "", f"against {against}" if against else "")


def _carried(embedding: dict[str, Any]) -> str:
    if not embedding:
        return ""
    name = EMBEDDING_NAMES.get(embedding.get("name", ""), str(embedding.get("name", "")))
    size = f" ({embedding['dim']:,} numbers per sample)" if embedding.get("dim") else ""
    return _joined(f"{name}{size}", str(embedding.get("sentence") or ""))


def _refined(refinement: dict[str, Any], config: dict[str, Any]) -> str:
    if refinement:
        return str(refinement.get("sentence", ""))
    return "Nothing needed to be measured." if config.get("refine") else ""


def _joined(*parts: str) -> str:
    """Parts as sentences."""
    return " ".join(opened(part if part.endswith(".") else f"{part}.") for part in parts if part)


def candidates(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The embeddings that `auto` tried, the one it took marked."""
    embedding = summary.get("embedding") or {}
    return [
        {
            "Embedding": EMBEDDING_NAMES.get(entry["name"], entry["name"]),
            "Taken": "yes" if entry["name"] == embedding.get("name") else "",
            "Spearman": _two(entry.get("spearman")),
            "Cost per sample": _per_row(entry.get("seconds_per_row")),
            "Remark": entry.get("note", ""),
        }
        for entry in embedding.get("candidates") or ()
    ]


def trials(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The settings of the regression that were tried on the tuning samples, the best first."""
    tuning = summary.get("tuning") or {}
    chosen = tuning.get("chosen") or {}
    tried = sorted(tuning.get("trials") or (), key=lambda t: -_or(t.get("spearman"), -2.0))
    return [
        {
            "Kernel": KERNEL_NAMES.get(entry["kernel"], entry["kernel"]),
            "Bandwidth": f"{entry['bandwidth_factor']:g}",
            "Ridge": f"{entry['ridge']:g}",
            "Scaled": "yes" if entry["standardise"] else "no",
            "Taken": "yes" if all(entry.get(name) == value for name, value in chosen.items()) else "",
            "Spearman": _two(entry.get("spearman")),
        }
        for entry in tried
    ]


def rounds(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The adaptive rounds: how many landmarks, and how good the scores were with them."""
    found = (summary.get("adaptive") or {}).get("rounds") or ()
    return [
        {"Round": at + 1, "Landmarks": entry["landmarks"], "Spearman on the tuning samples": _two(entry["spearman"])}
        for at, entry in enumerate(found)
    ]


def costs(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """What every phase cost, beside what it was predicted to cost; runs of earlier versions know seconds alone."""
    entries = summary.get("cost")
    if not entries:
        phases = summary.get("phases", {})
        return [{"Phase": opened(name), "Measured": duration(seconds)} for name, seconds in phases.items()]
    return [_cost(entry) for entry in entries]


def cost_sentence(summary: dict[str, Any]) -> str:
    """The whole run, and how good the prediction was over the phases that had one."""
    entries = summary.get("cost") or ()
    if not entries:
        return ""
    tokens, flops, seconds = (sum(entry[name] or 0 for entry in entries) for name in ("tokens", "flops", "seconds"))
    said = f"In all {count(tokens, 'token')}, {flops:.2g} FLOPs and {duration(seconds)}."
    known = [entry for entry in entries if entry.get("predicted") is not None]
    if not known:
        return said
    predicted, measured = (sum(entry[name] for entry in known) for name in ("predicted", "seconds"))
    return f"{said} The phases with a prediction took {duration(measured)}; predicted were {duration(predicted)}."


def _cost(entry: dict[str, Any]) -> dict[str, Any]:
    predicted = entry.get("predicted")
    return {
        "Phase": opened(entry["name"]),
        "Samples": entry["rows"],
        "Tokens": entry["tokens"],
        "FLOPs": f"{entry['flops']:.2g}" if entry["flops"] else "–",
        "Predicted": duration(predicted) if predicted is not None else "–",
        "Measured": duration(entry["seconds"]),
    }


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _per_row(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1000 * seconds:.2g} ms"


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
