"""Conflicts of a merge, settled one by one or many at once: a page of ten at a time, and a rule for the rest.

Nothing here changes the project. The choices live in the session, by conflict, and outlast paging, filtering and a look
at a sample in Review; one whose conflict has become another since, because somebody decided, is dropped and told. Ids,
names, notes and samples are data and shown as such. Notation: c conflicts.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import streamlit as st

from engine.data.samples import prompt_text, response_text
from engine.store.conflicts import MINE, OPEN, PREFER, THEIRS, Conflict, Conflicts, Side, places_of, ruled
from engine.store.decisions import DECISIONS
from engine.store.project import Project
from pages.parts import paged, reads, state
from pages.parts.review_acts import PAST
from pages.parts.shell import PAGES
from pages.parts.words import count, moment, plain, shorten, visible

PAGE = 10
REST = {
    "": "Wait until each is settled",
    "mine": "Stay as decided here",
    "theirs": "Become theirs",
    "latest": "The later decision, by the clocks of both machines",
}
_CHOICES, _REST, _SHOW = "ts_merge_choices", "ts_merge_rest", "ts_merge_show"
_ALL, _UNSETTLED = "all", "open"
_NAMES = tuple(DECISIONS)


@dataclass(frozen=True)
class Choices:
    """What was chosen for the conflicts of one file: `sides` int8 (c,), made for the conflicts with these `marks`.

    `dropped`: how many choices were lost because their conflicts are others now. `before`: the sides before the latest
    choice, empty where it cannot be taken back.
    """

    owner: str
    state: str
    rows: np.ndarray
    marks: np.ndarray
    sides: np.ndarray
    dropped: int = 0
    before: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int8))

    @property
    def settled(self) -> dict[int, str]:
        """The side of every row that was chosen."""
        chosen = self.sides != OPEN
        sides = ("mine" if side == MINE else "theirs" for side in self.sides[chosen].tolist())
        return dict(zip(self.rows[chosen].tolist(), sides, strict=True))


def choices(found: Conflicts, owner: str) -> Choices:
    """What was chosen so far for these conflicts of the file that `owner` names."""
    kept = st.session_state.get(_CHOICES)
    if kept is None or kept.owner != owner:
        kept = Choices(owner, found.state, found.rows, found.marks, np.zeros(len(found), np.int8))
    elif kept.state != found.state:
        kept = _carried(kept, found)
    st.session_state[_CHOICES] = kept
    return kept


def _carried(kept: Choices, found: Conflicts) -> Choices:
    """The choices for those conflicts that are still the same."""
    places, there = places_of(found, kept.rows)
    there[there] = found.marks[places[there]] == kept.marks[there]
    sides = np.zeros(len(found), np.int8)
    sides[places[there]] = kept.sides[there]
    dropped = int((kept.sides != OPEN).sum() - (sides != OPEN).sum())
    return Choices(kept.owner, found.state, found.rows, found.marks, sides, dropped)


def settled_for(expected: str) -> dict[int, str]:
    """What was chosen, where that was for the conflicts in this state; else nothing."""
    kept = st.session_state.get(_CHOICES)
    return kept.settled if kept is not None and kept.state == expected else {}


def forget() -> None:
    """Let go of every choice."""
    for name in (_CHOICES, _REST, _SHOW):
        st.session_state.pop(name, None)


def settle(project: Project, found: Conflicts, owner: str) -> tuple[np.ndarray, str | None]:
    """Draw the conflicts and take choices; the side of every conflict as it is now, int8 (c,), and the rule."""
    chosen = choices(found, owner)
    st.warning(f"{count(len(found), 'sample was', 'samples were')} decided differently on both sides. "
               "Choose which decision holds; nothing changes before you take the decisions in.")  # fmt: skip
    if chosen.dropped:
        st.info(f"{count(chosen.dropped, 'choice of yours is', 'choices of yours are')} gone: "
                "somebody decided on those samples meanwhile. Choose again.")  # fmt: skip
    places = _shown(found, chosen)
    _many(found, places, chosen)
    cards = st.container()  # above the buttons that turn the page
    part = paged.part("merging", len(places), what="conflict", owner=(owner, st.session_state.get(_SHOW)), page=PAGE)
    here = places[part]
    listed = reads.by_stamp(
        project, "merge conflicts", lambda: found.listed(project, here), owner, found.state, *here.tolist()
    )
    stored = reads.samples(project, [one.row for one in listed])
    with cards:
        for place, one, sample in zip(here.tolist(), listed, stored, strict=True):
            _card(one, sample, place, int(chosen.sides[place]), their_later=bool(found.later[place]))
    rule = _rest(int((chosen.sides == OPEN).sum()))
    return ruled(found, chosen.sides, rule), rule


def _shown(found: Conflicts, chosen: Choices) -> np.ndarray:
    """Draw what is to be listed; the places of those conflicts, ascending."""
    pairs = found.mine.astype(np.int64) * len(_NAMES) + found.theirs
    numbers = np.bincount(pairs, minlength=len(_NAMES) ** 2)
    unsettled = chosen.sides == OPEN
    names = {_ALL: f"All conflicts: {len(found):,}", _UNSETTLED: f"Not settled one by one yet: {unsettled.sum():,}"}
    for pair in np.flatnonzero(numbers).tolist():
        mine, theirs = (PAST[_NAMES[code]] for code in divmod(pair, len(_NAMES)))
        names[str(pair)] = f"Here {mine}, theirs {theirs}: {numbers[pair]:,}"
    wanted = st.session_state.get(_SHOW)
    st.session_state["merging_show"] = wanted if wanted in names else _ALL
    st.selectbox("Show", list(names), key="merging_show", format_func=names.__getitem__, on_change=_keep,
                 args=("merging_show", _SHOW))  # fmt: skip
    show = st.session_state["merging_show"]
    if show == _ALL:
        return np.arange(len(found))
    return np.flatnonzero(unsettled if show == _UNSETTLED else pairs == int(show))


def _keep(key: str, name: str) -> None:
    st.session_state[name] = st.session_state.get(key)


def _many(found: Conflicts, places: np.ndarray, chosen: Choices) -> None:
    """Buttons that settle all conflicts of the list, on all its pages, and one that takes the latest choice back."""
    later = np.where(found.later[places], THEIRS, MINE).astype(np.int8)
    n = f"{len(places):,}"
    acts = {
        "mine": (f"All {n} stay as here", MINE, ":material/home:"),
        "theirs": (f"All {n} become theirs", THEIRS, ":material/call_received:"),
        "latest": (f"The later one for all {n}", later, ":material/schedule:"),
    }
    with st.container(horizontal=True, vertical_alignment="center"):
        for name, (label, side, icon) in acts.items():
            st.button(label, key=f"merging_all_{name}", icon=icon, disabled=not len(places),
                      on_click=_choose, args=(places, side))  # fmt: skip
        st.button("Undo the latest choice", key="merging_undo", icon=":material/undo:", type="tertiary",
                  disabled=not len(chosen.before), on_click=_undo)  # fmt: skip


def _choose(places: np.ndarray, side: np.ndarray | int) -> None:
    """Choose a side for conflicts, by their places among those that were drawn."""
    kept = st.session_state[_CHOICES]
    sides = kept.sides.copy()
    sides[places] = side
    st.session_state[_CHOICES] = replace(kept, sides=sides, dropped=0, before=kept.sides)


def _undo() -> None:
    kept = st.session_state[_CHOICES]
    st.session_state[_CHOICES] = replace(kept, sides=kept.before, dropped=0, before=np.zeros(0, np.int8))


def _card(one: Conflict, sample: object, place: int, side: int, *, their_later: bool) -> None:
    messages = sample.messages  # type: ignore[attr-defined]
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(visible(shorten(one.id, 60)), width="stretch")
            if st.button("Open in Review", key=f"merging_open_{one.row}", icon=":material/rate_review:",
                         type="tertiary"):  # fmt: skip
                state.put("sample", one.id)
                st.switch_page(next(path for path, name, _ in PAGES if name == "Review"))
        st.text(visible(f"{shorten(prompt_text(messages), 160)} → {shorten(response_text(messages), 160)}"))
        left, right = st.columns(2)
        with left.container(gap="xxsmall"):
            _side("Here", one.mine, later=not their_later and one.mine.at != one.theirs.at)
        with right.container(gap="xxsmall"):
            _side("Theirs", one.theirs, later=their_later)
        _control(one, place, side)


def _side(name: str, side: Side, *, later: bool) -> None:
    st.markdown(f"**{name}: {PAST[side.decision]}**")
    st.caption(plain(f"{shorten(side.by, 60)}, {moment(side.at)} UTC{' (later)' if later else ''}"))
    if side.note:
        st.text(visible(shorten(side.note, 300)))


def _control(one: Conflict, place: int, side: int) -> None:
    key = f"merging_side_{one.row}"
    words = {MINE: f"Stays {PAST[one.mine.decision]}", THEIRS: f"Becomes {PAST[one.theirs.decision]}"}
    st.session_state[key] = side or None
    st.segmented_control(plain(f"Which decision holds for {shorten(one.id, 60)}"), list(words), key=key,
                         format_func=words.__getitem__, label_visibility="collapsed", on_change=_chosen,
                         args=(key, place))  # fmt: skip


def _chosen(key: str, place: int) -> None:
    _choose(np.array([place]), int(st.session_state.get(key) or OPEN))


def _rest(unsettled: int) -> str | None:
    """The rule for what was not settled one by one, None where it waits."""
    if not unsettled:
        return None
    st.session_state["merging_rest"] = st.session_state.get(_REST) or ""
    label = f"All the rest: {count(unsettled, 'conflict')} not settled one by one"
    st.radio(label, list(REST), key="merging_rest", format_func=REST.__getitem__, on_change=_keep,
             args=("merging_rest", _REST))  # fmt: skip
    rule = st.session_state["merging_rest"]
    return rule if rule in PREFER else None
