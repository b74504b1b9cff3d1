"""What a session remembers across pages, and the address that restores it.

The open project, the run in view, the filters, the sample in view and the author live in the session under non-widget
keys, because widgets lose their state when the page changes. `write_address` is the one place that puts them into the
address, `read_address` the one that takes them from it; a link therefore restores the page on a fresh server.
"""

import getpass
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import streamlit as st

from engine.errors import EngineError
from engine.store.project import Project
from pages.parts import filters, paths, signature

_KEYS = {"project": "ts_project", "run": "ts_run", "column": "ts_column", "sample": "ts_sample"}
_FILTERS = "ts_filters"
_AUTHOR = "ts_author"
_TYPED = "ts_author_typed"
_NOTICE = "ts_notice"
_WRITTEN = "ts_address"


def get(name: str) -> Any:
    """One remembered value: project (a path), run, column or sample; None where unset."""
    return st.session_state.get(_KEYS[name])


def put(name: str, value: Any) -> None:
    """Remember one value; None forgets it."""
    st.session_state[_KEYS[name]] = value


def active_filters() -> tuple[filters.Filter, ...]:
    """The filters in force, in the order they were added."""
    return st.session_state.get(_FILTERS, ())


def add_filter(new: filters.Filter) -> None:
    """Put one more filter in force; one on the same subject is replaced."""
    st.session_state[_FILTERS] = (*(f for f in active_filters() if f.slot != new.slot), new)


def drop_filter(old: filters.Filter | None) -> None:
    """Take one filter out of force, or all of them."""
    st.session_state[_FILTERS] = tuple(f for f in active_filters() if old is not None and f != old)


def open_project(reference: str) -> None:
    """Make a project current and forget what belonged to the previous one.

    Raises `EngineError` where the reference is no project; then nothing changes.
    """
    path = str(paths.project_at(reference))
    if path != get("project"):
        for name in ("run", "column", "sample"):
            put(name, None)
        st.session_state[_FILTERS] = ()
    put("project", path)
    write_address()


def current() -> Project | None:
    """The open project, or None. A project that has gone since is forgotten, with a notice."""
    path = get("project")
    if path is None:
        return None
    try:
        return project(path)
    except EngineError as error:
        put("project", None)
        notify(str(error), "error")
        return None


def project(path: str) -> Project:
    """The project object of a path; one per path and process, because opening checks and migrates the catalogue."""
    if not Project.is_project(paths.Path(path)):
        raise EngineError(f"The project at {path} is no longer there. Choose another; nothing was changed.")
    return _opened(path)


@st.cache_resource(max_entries=64, show_spinner=False)
def _opened(path: str) -> Project:
    return Project.open(paths.Path(path))


def author() -> str:
    """Who signs decisions: the signed-in identity, else the name typed here or once before, else the system user."""
    if st.user.get("is_logged_in"):
        return str(st.user.get("email") or st.user.get("name") or "signed-in user")
    if _AUTHOR not in st.session_state:
        st.session_state[_AUTHOR] = signature.remembered()
    return st.session_state[_AUTHOR] or system_user()


def set_author(name: str) -> None:
    """Remember the name typed in the sidebar, in this session and, once the page is drawn, in the browser."""
    st.session_state[_AUTHOR] = name.strip()
    st.session_state[_TYPED] = True


def typed_author() -> str | None:
    """The name typed in this session; None where none was."""
    return str(st.session_state[_AUTHOR]) if st.session_state.get(_TYPED) else None


def system_user() -> str:
    """The name of the user who runs the app, or "curator" where the system has none."""
    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return "curator"


def notify(message: str, kind: str = "success") -> None:
    """Keep one message (success, info, warning or error) for the next time a page is drawn."""
    st.session_state.setdefault(_NOTICE, []).append((kind, message))


def notices() -> list[tuple[str, str]]:
    """The messages kept so far; they are shown once."""
    return st.session_state.pop(_NOTICE, [])


def read_address() -> None:
    """Take what the address says where it differs from what this session last wrote there."""
    given = {k: v for k, v in st.query_params.to_dict().items() if isinstance(v, str)}
    if not given or given == st.session_state.get(_WRITTEN):
        return
    if "project" in given:
        _attempt(lambda: open_project(given["project"]))
    for name in ("run", "column", "sample"):
        if name in given:
            put(name, given[name])
    if "filters" in given:
        _attempt(lambda: st.session_state.update({_FILTERS: filters.decode(given["filters"])}))


def write_address() -> None:
    """Make the address say what the session holds, so that it can be kept or sent."""
    said = {name: str(get(name)) for name in ("run", "column", "sample") if get(name) is not None}
    if get("project") is not None:
        said["project"] = paths.project_reference(paths.Path(get("project")))
    if active_filters():
        said["filters"] = filters.encode(active_filters())
    st.session_state[_WRITTEN] = said
    if st.query_params.to_dict() != said:
        st.query_params.from_dict(said)


def _attempt(action: Callable[[], object]) -> None:
    try:
        action()
    except EngineError as error:
        notify(f"The link could not be followed. {error}", "error")
