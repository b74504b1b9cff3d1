"""What a run's network is worth: true against estimated influence by what it had seen, beside what is easier to fit.

A *quadrant* holds pairs of sample and target sample that were labelled only to judge by; it is named by whether their
samples and their target samples had been seen in the fit. A network of a point-wise teacher has fewer. Errors are mean
squared errors in the teacher's unit. An undefined figure is shown as a dash with its reason.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from plotly.subplots import make_subplots

from engine.store import artifacts
from engine.store.project import Project
from pages.parts import reads
from pages.parts.charts import CONFIG, GREY, LAYOUT, OCHRE, TEAL
from pages.parts.run_choice import View
from pages.parts.tables import table
from pages.parts.words import count, opened, percent, plain

QUADRANT_NAMES = {
    "both": "Known samples, known targets",
    "rows": "Known samples, new targets",
    "items": "New samples, known targets",
    "neither": "New samples, new targets",
}  # in the order of the numbers in `network_shown`
ALONE_NAMES = {"both": "Known samples", "items": "New samples"}  # where no target takes part
BASELINE_NAMES = {"linear": "Linear model", "kernel": "Kernel ridge"}
PANEL, ALONE = 250, 620  # pixels: how high a panel is, and how wide where it is the only one


def show(project: Project, view: View) -> None:
    """The network of a run, where it has one: in a sentence, as panels, in a table, and how it was trained."""
    found = view.scores.summary.get("network")
    if not found:
        return
    st.markdown("**How well the network estimates**")
    st.caption(plain(opened(str(found.get("sentence", "")))))
    added = int((view.scores.summary.get("extended") or {}).get("rows", 0))
    if added:
        st.caption(plain(f"{count(added, 'sample')} added after the run: estimated too, but none is judged below."))
    figures(view, found)
    panels(project, view, found)
    lines = [line(quadrant, found) for quadrant in known(found)]
    if lines:
        table(lines if any(each["Remark"] for each in lines) else [without(each, "Remark") for each in lines])
        st.caption("Errors are mean squares in the teacher's unit; lower is better. The mean says one number for all.")
    training(found.get("fit") or {})


def known(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The quadrants of the report that this page has a name for, in their order."""
    reported = {quadrant.get("name"): quadrant for quadrant in found.get("quadrants", ())}
    return (reported[name] for name in QUADRANT_NAMES if name in reported)


def title(name: str, found: dict[str, Any]) -> str:
    """A quadrant in words."""
    return ALONE_NAMES.get(name, name) if found.get("pointwise") else QUADRANT_NAMES[name]


def panels(project: Project, view: View, found: dict[str, Any]) -> None:
    """True against estimated influence, a panel for each quadrant that exists; all on the same axes."""
    pairs = reads.by_artifact(project, view.scores.artifact, "network pairs", shown_pairs)
    drawn = [(quadrant, pairs[pairs[:, 0] == list(QUADRANT_NAMES).index(quadrant["name"]), 1:]) for quadrant in
             known(found)]  # fmt: skip
    drawn = [(quadrant, points) for quadrant, points in drawn if len(points)]
    if not drawn:
        st.caption("Nothing was kept out of the fit, so there is nothing to show.")
        return
    figure = picture([(heading(quadrant, found), points) for quadrant, points in drawn])
    width = ALONE if len(drawn) == 1 else "stretch"  # a panel by itself is not drawn out over the page
    st.plotly_chart(figure, config=CONFIG, key=f"network_{view.record.name}", width=width)  # type: ignore[arg-type]


def shown_pairs(folder: Path) -> np.ndarray:
    """float32 (k, 3): number of the quadrant, exact and estimated; without what is not finite."""
    if not (folder / "network_shown.npy").is_file():
        return np.zeros((0, 3), np.float32)
    pairs = np.asarray(artifacts.load_array(folder, "network_shown"), np.float32).reshape(-1, 3)
    return pairs[np.isfinite(pairs).all(axis=1)]


def picture(drawn: list[tuple[str, np.ndarray]]) -> go.Figure:
    """The panels (heading, points (k, 2)), at most two beside each other, each with its diagonal."""
    columns = min(2, len(drawn))
    rows = -(-len(drawn) // columns)
    low, high = bounds(np.concatenate([points for _, points in drawn]))
    figure = make_subplots(
        rows, columns, shared_xaxes="all", shared_yaxes="all", subplot_titles=[heading for heading, _ in drawn],
        horizontal_spacing=0.04, vertical_spacing=0.2, x_title="as the teacher says", y_title="as the network says",
    )  # fmt: skip
    for at, (_, points) in enumerate(drawn):
        place = {"row": at // columns + 1, "col": at % columns + 1}
        figure.add_scatter(
            x=[low, high], y=[low, high], mode="lines", line={"color": GREY, "dash": "dot"}, hoverinfo="skip", **place
        )
        figure.add_scattergl(
            x=points[:, 0], y=points[:, 1], mode="markers", marker={"size": 4, "color": TEAL, "opacity": 0.45},
            hovertemplate="teacher %{x:.4g}, network %{y:.4g}<extra></extra>", **place,
        )  # fmt: skip
    figure.update_annotations(font_size=13)
    figure.update_xaxes(range=[low, high])
    figure.update_yaxes(range=[low, high])
    margin = {"l": 60, "r": 10, "t": 50, "b": 60}
    figure.update_layout(**{**LAYOUT, "margin": margin}, height=PANEL * rows + 110)
    return figure


def bounds(values: np.ndarray) -> tuple[float, float]:
    """The range of all axes: what both true and estimated influence reach, with a little room."""
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


def heading(quadrant: dict[str, Any], found: dict[str, Any]) -> str:
    """A panel's title: what it holds, how well the order is kept, and the error beside the mean's."""
    spearman, _ = figure_of(quadrant["estimates"]["network"]["pairs"])
    share = quadrant.get("share_of_mean")
    error = "" if share is None else f" · error {percent(share, 0)} of the mean's"
    return f"<b>{title(quadrant['name'], found)}</b><br>Spearman {spearman}{error}"


def figure_of(measure: dict[str, Any]) -> tuple[str, str]:
    """A figure with two decimals (a dash where undefined), and why it is undefined."""
    value = measure.get("value")
    return ("–", str(measure.get("reason") or "undefined")) if value is None else (f"{value:.2f}", "")


def line(quadrant: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """One quadrant as a line of the table."""
    estimates = quadrant["estimates"]
    by_pair, why = figure_of(estimates["network"]["pairs"])
    by_row, why_row = figure_of(estimates["network"]["rows"])
    told = {
        "Judged on": title(quadrant["name"], found),
        "Pairs": quadrant["pairs"],
        "Spearman of pairs": by_pair,
        "Spearman of samples": by_row,
        "Network's error": f"{estimates['network']['mse']:.3g}",
        "Mean's error": f"{quadrant['mse_of_mean']:.3g}",
        "At random": f"{quadrant['mse_of_random']:.3g}",
        **{words: f"{estimates[name]['mse']:.3g}" for name, words in BASELINE_NAMES.items() if name in estimates},
        "Remark": "; ".join(dict.fromkeys(each for each in (why, why_row) if each)),
    }
    return without(told, "Spearman of pairs") if found.get("pointwise") else told  # a sample is its only pair


def without(values: dict[str, Any], name: str) -> dict[str, Any]:
    """All entries but one."""
    return {key: value for key, value in values.items() if key != name}


def figures(view: View, found: dict[str, Any]) -> None:
    """What was labelled, and what that saved."""
    labelled, passes = found.get("labelled") or {}, view.scores.summary.get("passes") or {}
    saved = passes.get("saved")
    error = (found.get("fit") or {}).get("error")
    places = st.columns([5, 4, 4])
    places[0].metric(
        "Language-model passes saved", "–" if saved is None else percent(saved, 0), border=True,
        help=plain(saving(passes)),
    )  # fmt: skip
    places[1].metric(
        "Labelled samples", percent(labelled.get("share", 0.0), 0), border=True,
        help=plain(f"{count(labelled.get('rows', 0), 'sample')} that the network learnt from, of all that can be "
                   "scored. The audit samples come beside them."),
    )  # fmt: skip
    places[2].metric(
        "Validation error", "–" if error is None else f"{error:.2f}", border=True,
        help="On labelled samples kept out of the fit, as a share of the labels' variance: 1 is as good as the mean.",
    )  # fmt: skip
    if saved is None:
        st.caption(plain(saving(passes)))


def saving(passes: dict[str, Any]) -> str:
    """The language-model passes that were run, beside those of the teacher asked of everything."""
    if not passes.get("full_equivalents"):
        return "The teacher runs no language model, so there were no passes to save."
    done, whole = passes.get("equivalents", 0), passes["full_equivalents"]
    return (
        f"Language-model passes, a backward one counting three: {done:,} were run, and {whole:,} would have been, had "
        "the teacher been asked of every sample and target sample."
    )


def training(fit: dict[str, Any]) -> None:
    """How the network was trained, one click away: its error on the validation samples by epoch."""
    details = st.expander("How the network was trained", key="run_network_training", on_change="rerun")
    if not details.open:
        return
    errors = np.asarray(fit.get("errors") or (), np.float32)
    with details:
        if len(errors) == 0:
            said = "All labels were the same, so there was nothing to learn." if fit.get("constant") else (
                "There were too few labelled samples to keep some for validation, so all epochs were run."
            )  # fmt: skip
            st.caption(plain(said))
            return
        best = int(fit.get("best", 1))
        st.caption(plain(
            f"Kept were the weights of epoch {best} of {len(errors)}, where the validation error was lowest."
        ))  # fmt: skip
        st.plotly_chart(curve(errors, best), config=CONFIG, key="network_training")


def curve(errors: np.ndarray, best: int) -> go.Figure:
    """Validation error by epoch, the epoch kept marked."""
    epochs = np.arange(1, len(errors) + 1)
    figure = go.Figure()
    figure.add_scatter(x=epochs, y=errors, mode="lines+markers", line_color=TEAL, marker_size=4,
                       hovertemplate="epoch %{x}: %{y:.3f}<extra></extra>")  # fmt: skip
    if 1 <= best <= len(errors):
        figure.add_scatter(x=[best], y=[errors[best - 1]], mode="markers", marker={"size": 11, "color": OCHRE},
                           hoverinfo="skip")  # fmt: skip
        figure.add_vline(x=best, line_color=GREY, line_dash="dot")
    figure.update_layout(**LAYOUT, height=240, xaxis_title="epoch", yaxis_title="error, of the labels' variance")
    return figure
