"""The blocks of the Home page: the open project, the list of projects, and the three ways to begin."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine.data.demo import GUIDE
from engine.errors import EngineError
from engine.runs import jobs
from engine.store.project import Project
from pages.parts import paths, state, steps
from pages.parts.mistakes import errors_shown
from pages.parts.shell import PAGES, link
from pages.parts.words import plain

FORBIDDEN = set('/\\:*?"<>|\0')
LONGEST_NAME = 60
STEPS = (
    ("Pool", "bring in the samples to choose from, and some of the task to get better at"),
    ("Score", "measure how much each sample helps that task"),
    ("Map, Review, Compare", "see the pool as a whole, read the best and the worst, and decide"),
    ("Select", "choose the subset, see who is in and why, have it approved"),
    ("Export", "write it to a file, with a manifest that makes it reproducible"),
)


def story() -> None:
    """The way from a pool to a file, for whoever opens the app for the first time."""
    st.markdown("\n".join(f"{at}. **{page}**: {what}." for at, (page, what) in enumerate(STEPS, 1)))


def current(project: Project) -> None:
    """The open project, with its next step as the primary action."""
    with st.container(border=True, key="home_current"):
        _card(project, primary=True)
        if _demo_ready(project):
            st.caption("The demo is ready. It has labelled faults that no method was told of. What to look at:")
            named = [(plain(fault.replace("-", " ").capitalize()), plain(where)) for fault, where in GUIDE.items()]
            st.markdown("\n".join(f"- **{fault}.** {where}" for fault, where in named))
            with st.container(horizontal=True):
                link("Map", "See the map")
                link("Review", "Review the best and the worst")


def cards(folders: Sequence[Path]) -> None:
    """One card per project; a project that cannot be read says why and does not hide the others."""
    for folder in folders:
        with st.container(border=True, key=f"home_project_{paths.project_reference(folder)}"), errors_shown():
            _card(state.project(str(folder)), primary=False)


def demo(place: DeltaGenerator, *, first: bool) -> None:
    """One click from nothing to a scored and mapped pool."""
    with place.container(border=True, height="stretch"):
        st.markdown("**Demo**")
        st.caption("A small pool with known faults, scored with the built-in model and mapped, in minutes.")
        if st.button("Build the demo", type="primary" if first else "secondary", key="home_demo"):
            with errors_shown():
                made = Project.create(_free_folder("demo"))
                jobs.submit(made, "demo", {})
                _enter(made)


def create(place: DeltaGenerator) -> None:
    """A new, empty project under the projects folder."""
    if st.session_state.pop("home_created", False):  # a name that was refused stays, to be mended
        st.session_state["home_name"] = ""
    with place.container(border=True, height="stretch"), st.form("home_create", border=False):
        st.markdown("**New project**")
        st.caption("An empty one, for a pool and targets of your own.")
        name = st.text_input("Name", key="home_name", max_chars=LONGEST_NAME, placeholder="maths-tutor")
        if st.form_submit_button("Create"):
            with errors_shown():
                made = Project.create(named_folder(name))
                st.session_state["home_created"] = True
                state.notify(f"The project {made.path.name} is created. Add a pool and a target set on the Pool page.")
                _enter(made)


def open_existing(place: DeltaGenerator) -> None:
    """A project made from the command line, anywhere in the allowed folders."""
    with place.container(border=True, height="stretch"), st.form("home_open", border=False):
        st.markdown("**Open a project folder**")
        st.caption("One that was made elsewhere, for instance from the command line.")
        typed = st.text_input("Folder", placeholder="/data/projects/maths-tutor")
        if st.form_submit_button("Open"):
            with errors_shown():
                if not typed.strip():
                    raise EngineError("Type the folder of a project. Nothing was opened.")
                state.open_project(str(paths.allowed(typed)))
                st.rerun()


def _card(project: Project, *, primary: bool) -> None:
    found = steps.standing(project)
    left, right = st.columns([4, 1], vertical_alignment="center")
    left.markdown(f"**{plain(project.name)}**")
    left.caption(plain(" · ".join(found.facts)))
    label = {"Pool": "Add data", "Export": "Export"}.get(found.page, f"Go to {found.page}")
    kind = "primary" if primary else "secondary"
    key = f"home_go_{paths.project_reference(project.path)}"
    if right.button(label, type=kind, key=key, help=plain(found.why), width="stretch"):  # type: ignore[arg-type]
        state.open_project(paths.project_reference(project.path))
        st.switch_page(next(path for path, name, _ in PAGES if name == found.page))
    left.caption(f"Next: {plain(found.why)}")


def _demo_ready(project: Project) -> bool:
    return any(job.kind == "demo" and job.state == "done" for job in jobs.jobs(project))


def _enter(project: Project) -> None:
    state.open_project(paths.project_reference(project.path))
    st.rerun()


def named_folder(name: str) -> Path:
    """The folder of a new project of this name. Raises `EngineError` for a bad or a taken name."""
    name = name.strip()
    if not name or name.startswith(".") or FORBIDDEN & set(name) or not name.isprintable():
        raise EngineError(
            f"{name!r} cannot name a project: use letters, digits, spaces, dots or dashes, and no dot at the start. "
            "Nothing was created."
        )
    folder = paths.projects_root() / name
    if folder.exists():
        raise EngineError(f"There is something at {folder} already. Choose another name; it was left untouched.")
    return folder


def _free_folder(stem: str) -> Path:
    root = paths.projects_root()
    names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    return next(root / name for name in names if not (root / name).exists())
