"""Server time of every page and of the common interactions, one run of the page's script each.

The pages run in this process by `AppTest`: the whole script with all that is packed for the map, serialised messages
included; sending them and drawing are not. A fragment (the desk, the map) is run with its whole page, which a server
would not do, so interactions inside one cost less there. Filters are set as the pages set them, each time other ones,
so nothing answers from the cache what was not asked before. A page that fails is told as `failed`.
"""

import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from desk_clock import repeated, resident
from shell import ROOT
from streamlit.testing.v1 import AppTest

REPEATS = int(os.environ.get("TOUCHSTONE_REPEATS", 50))
EXPORTS = max(1, REPEATS // 10)
PAGES = ("app.py", "1_Pool.py", "2_Score.py", "3_Map.py", "4_Review.py", "5_Compare.py", "6_Select.py", "8_Export.py")
CORNERS = 32
Figures = dict[str, Any]


def measure(project: Path) -> Figures:
    """All figures; decides and exports in the project, so give a copy."""
    logging.getLogger("streamlit").setLevel(logging.ERROR)
    os.environ["TOUCHSTONE_HOME"] = str(project.parent)
    figures: Figures = {"pages": {name: _attempt(partial(_page, page=name), project) for name in PAGES}}
    figures["interactions"] = {name: _attempt(act, project) for name, act in _INTERACTIONS.items()}
    return {**figures, "memory": resident()}


class PageFailed(Exception):
    """A page shows an error, or its script failed."""


def _attempt(act: Callable[[Path], Figures], project: Path) -> Figures:
    try:
        return act(project)
    except PageFailed as error:
        return {"failed": str(error)}


def opened(project: Path, page: str, **kept: Any) -> AppTest:
    """A page of the app with the project open, not yet run; `kept` is put into the session."""
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=300)
    test.query_params["project"] = project.name
    for name, value in kept.items():
        test.session_state[name] = value
    if page != "app.py":
        test.switch_page(str(ROOT / "pages" / page))
    return test


def run(test: AppTest) -> None:
    """Run the page. Raises `PageFailed` where its script does, or where it shows an error."""
    test.run()
    if test.exception:
        raise PageFailed(test.exception[0].message)
    if test.error:
        raise PageFailed(test.error[0].value)


def _page(project: Path, page: str) -> Figures:
    test = opened(project, page)
    return repeated([partial(run, test)] * (REPEATS + 1))


def _filtered(project: Path, page: str, made: Iterator[Any]) -> Figures:
    """The page with one other filter each time."""
    test = opened(project, page)
    run(test)

    def act() -> None:
        test.session_state["ts_filters"] = (next(made),)
        run(test)

    return repeated([act] * (REPEATS + 1))


def _scores() -> Iterator[Any]:
    from engine.curation.filters import Filter

    return (Filter("score", "landmark/score", (round(-0.1 + 0.003 * at, 4), None)) for at in count())


def _fields() -> Iterator[Any]:
    from desk_rows import SOURCES, TASKS

    from engine.curation.filters import Filter

    pairs = [(a, b) for a in range(len(SOURCES)) for b in range(a + 1, len(SOURCES))]
    more = [Filter("field", "task", (a, b)) for a in TASKS for b in TASKS if a < b]
    return iter([*(Filter("field", "source", (SOURCES[a], SOURCES[b])) for a, b in pairs), *more])


def _words() -> Iterator[Any]:
    """Two words, other ones each time."""
    from desk_rows import vocabularies

    from engine.curation.filters import Filter

    known = sorted({word for text in vocabularies() for word in text[:2000] if len(word) > 3})
    return (Filter("text", "words/both", (f"{known[at % len(known)]} {known[(7 * at + 3) % len(known)]}",))
            for at in count())  # fmt: skip


def _lassos(project: Path) -> Iterator[Any]:
    """Ragged rings of `CORNERS` corners somewhere on the map."""
    from engine.curation.filters import Filter
    from engine.store.project import Project

    record, rng = Project.open(project).latest_map(), np.random.default_rng(0)
    assert record is not None
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    while True:
        reach = rng.uniform(0.2, 0.4, CORNERS)
        ring = rng.uniform(-0.5, 0.5, 2) + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        yield Filter("lasso", record.artifact, tuple(round(float(v), 4) for v in ring.ravel()))


def _recolour(project: Path) -> Figures:
    test = opened(project, "3_Map.py")
    run(test)
    places = count(1)

    def act() -> None:
        choice = test.selectbox(key="map_colour")
        choice.set_value(choice.options[next(places) % len(choice.options)])
        run(test)

    return repeated([act] * (REPEATS + 12), warm=12)  # every colouring once, then as in use


def _desk(project: Path, press: Callable[[dict[str, Any]], dict[str, Any]]) -> Figures:
    """Presses on the desk of the Review page, as the browser's component sends them."""
    from pages.parts import review_keys

    drawn: dict[str, Any] = {}
    events: list[dict[str, Any]] = []
    mount, told = review_keys.mount, review_keys.told
    review_keys.mount = lambda **given: drawn.update(given["data"])  # type: ignore[assignment]
    review_keys.told = lambda: review_keys.parsed({"client": "bench", "events": events[-1:]})
    try:
        test = opened(project, "4_Review.py")
        run(test)

        def act() -> None:
            here = next(sample for sample in drawn["samples"] if sample["at"] == drawn["at"])
            base = {"seq": len(events) + 1, "list": drawn["list"], "at": drawn["at"], "row": here["row"]}
            events.append({**base, "seen": here["code"], **press(drawn)})
            run(test)

        return repeated([act] * (REPEATS + 1))
    finally:
        review_keys.mount, review_keys.told = mount, told


def _lists(project: Path) -> Figures:
    """The list of best samples, page after page."""
    test = opened(project, "4_Review.py", ts_review_as_list=True)
    run(test)

    def act() -> None:
        test.button(key="review_page_on").click()
        run(test)

    return repeated([act] * (REPEATS + 1))


def _selecting(project: Path) -> Figures:
    """Selecting a tenth of the pool, by one row more each time."""
    test, sizes = opened(project, "6_Select.py"), count(_tenth(project))
    run(test)

    def act() -> None:
        test.text_input(key="select_size").set_value(str(next(sizes)))
        run(test)

    return repeated([act] * (REPEATS + 1))


def _tenth(project: Path) -> int:
    from engine.store.project import Project

    return Project.open(project).counts().pool // 10


def _exporting(project: Path) -> Figures:
    """Writing the approved tenth, original rows, over the file before."""
    test = opened(project, "8_Export.py")
    run(test)
    test.toggle(key="export_force").set_value(True)

    def act() -> None:
        test.button(key="export_go").click()
        run(test)

    return repeated([act] * (EXPORTS + 1))


_INTERACTIONS: dict[str, Callable[[Path], Figures]] = {
    "filter by score (Map)": lambda project: _filtered(project, "3_Map.py", _scores()),
    "filter by field (Map)": lambda project: _filtered(project, "3_Map.py", _fields()),
    "filter by words of the text (Map)": lambda project: _filtered(project, "3_Map.py", _words()),
    "filter by score (Review)": lambda project: _filtered(project, "4_Review.py", _scores()),
    f"lasso of {CORNERS} corners (Map)": lambda project: _filtered(project, "3_Map.py", _lassos(project)),
    "recolour (Map)": _recolour,
    "next sample (Review)": lambda project: _desk(project, lambda drawn: {"act": "go", "at": drawn["at"] + 1}),
    "decide (Review)": lambda project: _desk(project, lambda drawn: {"act": "approve"}),
    "page of the top list (Review)": _lists,
    "select a tenth (Select)": _selecting,
    "export a tenth (Export)": _exporting,
}
