"""The frame every page shares: window, navigation, project, author, heading, and errors shown once.

    with open_page("Review", "Look at single samples and decide.") as project:
        ...

is idempotent and enough for any page to be the first one a fresh server is asked for. An `EngineError` raised inside
the block is shown where it arose and ends the page; anything else is a defect and is left to Streamlit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import streamlit as st

from engine.errors import EngineError
from engine.store.project import Project
from pages.parts import job_panel, paths, reads, signature, state
from pages.parts.mistakes import errors_shown
from pages.parts.words import plain

_HERE = Path(__file__).parent
# the only styling beside the theme: less empty room at the sides, sample text that may be long in a line, and small
# text dark enough to be read by everyone (a contrast of 4.5 and more, in both themes); the map does not fade meanwhile
_STYLE = """<style>
.stMainBlockContainer { padding-left: clamp(1rem, 3vw, 3rem); padding-right: clamp(1rem, 3vw, 3rem); }
.stText { overflow-wrap: anywhere; }
[data-testid="stCaptionContainer"] { opacity: 0.78; overflow-wrap: anywhere; }
[data-testid^="stBaseButton-primary"]:enabled, [data-testid="stMultiSelect"] :is([data-tag], [data-tag] *) {
  color: light-dark(#ffffff, #0c1d1d) !important;
}
[class*="st-key-map_map-"] { opacity: 1 !important; }
.js-plotly-plot .main-svg text:not(.hoverlayer text) { fill: currentColor !important; fill-opacity: 0.8 !important; }
</style>"""
Need = Literal["project", "pool", "targets", "run", "map"]
PAGES = (
    ("app.py", "Home", ":material/home:"),
    ("pages/1_Pool.py", "Pool", ":material/dataset:"),
    ("pages/2_Score.py", "Score", ":material/speed:"),
    ("pages/3_Map.py", "Map", ":material/scatter_plot:"),
    ("pages/4_Review.py", "Review", ":material/rate_review:"),
    ("pages/5_Compare.py", "Compare", ":material/compare_arrows:"),
    ("pages/6_Select.py", "Select", ":material/checklist:"),
    ("pages/7_Prove.py", "Prove", ":material/science:"),
    ("pages/8_Export.py", "Export", ":material/output:"),
)
_EMPTY: dict[Need, tuple[str, str, str]] = {
    "project": ("No project is open", "Open or create one on the Home page, or build the demo there.", "Home"),
    "pool": ("This project has no samples yet", "Add a pool file first; everything else works on it.", "Pool"),
    "targets": ("This project has no target set yet", "Add the samples of the task you want to get better at.", "Pool"),
    "run": ("Nothing has been scored yet", "Score the pool first: one click with the built-in model.", "Score"),
    "map": ("There is no map yet", "Build it on the Map page.", "Map"),
}


@contextmanager
def open_page(title: str, purpose: str, *, needs: tuple[Need, ...] = ("project",)) -> Iterator[Project]:
    """Draw the frame and yield the open project; what `needs` names and is missing ends the page with what to do."""
    project = open_frame(title, purpose)
    with errors_shown():
        for need in needs:
            if not _has(project, need):
                empty(*_EMPTY[need])
                st.stop()
        if project is None:
            st.stop()
        yield project


def open_frame(title: str, purpose: str) -> Project | None:
    """Draw window, navigation and heading; the open project, or None."""
    st.set_page_config(page_title=f"{title} · Touchstone", page_icon=str(_HERE / "touchstone.svg"), layout="wide")
    st.html(_STYLE)
    st.logo(str(_HERE / "touchstone_wordmark.svg"), icon_image=str(_HERE / "touchstone.svg"), size="large")
    _require_login()
    state.read_address()
    project = state.current()
    if project is not None:
        _forget_missing_run(project)
    state.write_address()
    with st.sidebar:
        _navigation()
        _project_choice(project)
        _author()
        if project is not None:
            job_panel.badge(project)
    st.title(title, anchor=False)
    st.caption(purpose)
    with st.container():  # there with and without a notice, so that nothing below is drawn anew when one comes or goes
        for kind, message in state.notices():
            {"success": st.success, "info": st.info, "warning": st.warning, "error": st.error}[kind](plain(message))
    return project


def empty(title: str, what_next: str, page: str | None = None) -> None:
    """An empty state: what is not there and what to do next, with a link to the page that does it."""
    with st.container(border=True):
        st.markdown(f"**{plain(title)}**")
        st.caption(plain(what_next))
        if page:
            link(page, f"Go to {page}")


def link(page: str, label: str | None = None) -> None:
    """A link to a page by its name, carrying the open project."""
    path, name, icon = next(entry for entry in PAGES if entry[1] == page)
    project = state.get("project")
    query = {"project": paths.project_reference(Path(project))} if project else None
    st.page_link(path, label=label or name, icon=icon, query_params=query)


def _has(project: Project | None, need: Need) -> bool:
    if project is None or need == "project":
        return project is not None
    if need == "pool":
        return reads.pool_size(project) > 0
    if need == "map":
        return reads.by_state(project, "latest_map") is not None
    return bool(reads.by_state(project, {"targets": "targets", "run": "runs"}[need]))


def _forget_missing_run(project: Project) -> None:
    """A run that a link names, or that was deleted since, is told of once, and another is in view."""
    asked = state.get("run")
    with errors_shown():
        if asked is not None and all(run.name != asked for run in reads.by_state(project, "runs")):
            state.put("run", None)
            state.notify(f"There is no run {asked!r} in this project; another is in view.", "warning")


def _require_login() -> None:
    """Where `[auth]` is configured, every page asks for it before it shows anything."""
    if not (st.secrets.load_if_toml_exists() and "auth" in st.secrets) or st.user.get("is_logged_in"):
        return
    st.title("Touchstone", anchor=False)
    st.caption("This app asks you to sign in; your identity signs your decisions.")
    st.button("Sign in", type="primary", on_click=st.login)
    st.stop()


def _navigation() -> None:
    for path, name, _ in PAGES:
        if (paths.APP / path).exists():
            link(name)


def _project_choice(project: Project | None) -> None:
    known = [paths.project_reference(path) for path in paths.listed_projects()]
    current = paths.project_reference(project.path) if project is not None else None
    options = known if current is None or current in known else [current, *known]
    if not options:
        return
    st.session_state["shell_project"] = current  # whatever opened the project, the choice shows it
    st.selectbox(
        "Project",
        options,
        index=None if current is None else 0,
        key="shell_project",
        placeholder="None is open",
        on_change=_choose_project,
    )


def _choose_project() -> None:
    chosen = st.session_state.get("shell_project")
    if chosen is None:
        return
    try:
        state.open_project(chosen)
    except EngineError as error:
        state.notify(str(error), "error")


def _author() -> None:
    if st.user.get("is_logged_in"):
        st.caption(f"Signed in as {plain(state.author())}")
        return
    st.text_input(
        "Your name",
        value=state.author(),
        key="shell_author",
        max_chars=80,
        on_change=lambda: state.set_author(st.session_state.get("shell_author", "")),
        help="Signs your decisions and approvals. This browser remembers it.",
    )
    if (name := state.typed_author()) is not None:
        signature.remember(name)
