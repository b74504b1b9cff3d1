"""What the points of the map can be coloured by, and the colours that follow.

One entry per choice: its name and how it makes uint8 (n, 4) colours with a legend. Rows that a run, a map or the
signals do not cover are drawn as missing. Costly colours are kept per choice, so that switching back is instant.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.store.project import Project
from pages.parts import colours, filters, reads
from pages.parts.run_choice import View

Coloured = tuple[np.ndarray, colours.Legend]


def choices(project: Project, view: View | None) -> dict[str, Callable[[bool], Coloured]]:
    """Name shown → function of "by rank" that gives the colours of all n rows; field names are plain text."""
    found: dict[str, Callable[[bool], Coloured]] = {}
    if view is not None:
        found[f"Score – {view.title}"] = lambda by_rank: _score(project, view, by_rank)
        found["Status of the score"] = lambda _: _status(project, view)
        if view.scores.sigma is not None or view.scores.variance is not None:
            found["Uncertainty of the score"] = lambda _: _uncertainty(project, view)
    found["Decision"] = lambda _: _decision(project)
    found["Signal"] = lambda _: _signal(project)
    found["Cluster"] = lambda _: _cluster(project)
    found["Length in words"] = lambda _: _words(project)
    for name in reads.by_state(project, "columns"):
        found[f"Field {name}"] = lambda _, name=name: _field(project, name)  # type: ignore[misc]
    return found


def _score(project: Project, view: View, by_rank: bool) -> Coloured:
    n, dark = reads.pool_size(project), colours.is_dark()

    def compute(_: Any) -> Coloured:
        if not by_rank:
            return colours.diverging(whole(view.values, n), title=f"Score of {view.title}", unit=view.unit, dark=dark)
        place = reads.ranks(project, view.scores.artifact, view.column)
        scored = max(1, int(place.max(initial=0)))
        share = np.where(place > 0, 100 * (scored - place + 1) / scored, np.nan).astype(np.float32)
        title = f"Percentile of {view.title}"
        return colours.sequential(whole(share, n), title=title, unit="%", dark=dark)

    return reads.by_artifact(project, view.scores.artifact, "score colours", compute, view.column, by_rank, n, dark)


def _uncertainty(project: Project, view: View) -> Coloured:
    """The calibrated standard deviation of the overall score, in its unit; of runs without one, the kernel's."""
    n, dark, sigma = reads.pool_size(project), colours.is_dark(), view.scores.sigma

    def compute(_: Any) -> Coloured:
        if sigma is not None:
            title = "Standard deviation of the overall score; 0: measured exactly"
            return colours.sequential(whole(sigma, n), title=title, unit=view.unit, dark=dark)
        values = whole(np.sqrt(np.maximum(np.asarray(view.scores.variance), 0)), n)
        return colours.sequential(values, title="Uncertainty of the propagated score", unit="relative", dark=dark)

    return reads.by_artifact(project, view.scores.artifact, "uncertainty colours", compute, n, dark)


def _status(project: Project, view: View) -> Coloured:
    codes = whole_codes(view.scores.status, reads.pool_size(project), missing=-1)
    return colours.categorical(codes, list(reads.STATUS.values()), title="How the score came about")


def _decision(project: Project) -> Coloured:
    names = [filters.decision_name(code) for code in sorted(filters.DECISION_OF)]
    fixed = {filters.decision_name(code): colours.DECISIONS[name] for code, name in filters.DECISION_OF.items()}
    return colours.categorical(reads.decisions(project), names, title="Decision", fixed=fixed)


def _signal(project: Project) -> Coloured:
    n = reads.pool_size(project)
    codes, names = np.zeros(n, np.int32), ["nothing marked"]
    for name in (
        "landmark",
        "warm-up",
        filters.SURPRISING,
        "looks truncated",
        "near-duplicate",
        "leak",
    ):  # the gravest is painted last
        covered = filters.marked(project, name)[:n]
        if covered.any():
            names.append(name)
            codes[: len(covered)][covered] = len(names) - 1
    return colours.categorical(codes, names, title="Signal", fixed={"nothing marked": colours.OTHER})


def _cluster(project: Project) -> Coloured:
    layout, n = reads.layout(project), reads.pool_size(project)
    codes = np.full(n, -1, np.int32) if layout is None else whole_codes(layout.cluster, n, missing=-1)
    return colours.categorical(codes, [] if layout is None else layout.labels, title="Cluster")


def _field(project: Project, name: str) -> Coloured:
    found = reads.categories(project, name)
    return colours.categorical(found.codes, found.names, title=name)


def _words(project: Project) -> Coloured:
    dark = colours.is_dark()

    def compute() -> Coloured:
        return colours.sequential(
            reads.column(project, "words").astype(np.float32), title="Length", unit="words", dark=dark
        )

    return reads.by_pool(project, "word colours", compute, dark)


def whole(values: np.ndarray, n: int) -> np.ndarray:
    """float32 (n,): values of the covered rows, NaN behind."""
    return np.concatenate([np.asarray(values[:n], np.float32), np.full(max(0, n - len(values)), np.nan, np.float32)])


def whole_codes(codes: np.ndarray, n: int, *, missing: int) -> np.ndarray:
    """int32 (n,): codes of the covered rows, `missing` behind."""
    return np.concatenate([np.asarray(codes[:n], np.int32), np.full(max(0, n - len(codes)), missing, np.int32)])
