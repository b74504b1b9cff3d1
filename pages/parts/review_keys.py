"""The reviewer's desk in the browser: keys, note, tags and the sample's text, as a component of our own.

    told = desk(key="review_keys", list_token="…", at=3, n=500, samples=[…], on_keys=take)

Streamlit joins two presses of one button that come before it has answered, and a press is lost. Here each press is a
numbered `Press` that names the sample in view; all that are not acknowledged travel together and in order, so none is
lost and each goes to the sample it was meant for. The samples around the present one are sent ahead: the next is
shown at once, and the server follows; what stands beside the sample (`side`) is drawn once the reviewer rests on it.
Sample text, notes and tags are shown as text, never as markup.
Does not know projects or decisions (`review_acts`) or which samples these are (`review_window`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

ACTS = ("approve", "reject", "skip", "undo", "go", "tag", "untag")
KEY = "review_keys"
MOST = 1000  # presses in one message
_HERE = Path(__file__).parent

# Registered once per process, when this module is first imported.
mount = st.components.v2.component(
    "touchstone_review_keys",
    css=(_HERE / "review_keys.css").read_text(encoding="utf-8"),
    js=(_HERE / "review_keys.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class Press:
    """One act of the reviewer: its number, what was done, on which pool row (-1: none) at which place of which list.

    `seen` is the decision shown when a decision was made, `note` what was written with it, `tag` the tag concerned.
    """

    seq: int
    act: str
    list_token: str
    at: int
    row: int
    seen: str = "none"
    note: str = ""
    tag: str = ""


@dataclass(frozen=True)
class Told:
    """What one desk in a browser has not seen acknowledged, oldest first."""

    client: str
    presses: tuple[Press, ...]


def desk(
    *, list_token: str, at: int, n: int, samples: Sequence[Mapping[str, Any]], on_keys: Callable[[], None],
    acknowledged: Mapping[str, int], suggestions: Sequence[str] = (), lines: Sequence[str] = (), said: str = "",
    said_at: int = 0, trouble: str = "",
) -> None:  # fmt: skip
    """Draw the desk at place `at` of a list of `n`, with the samples known around it (see `review_window.Shown`).

    `acknowledged`: per desk the number of its last press that was dealt with. `lines` stand above the sample; `said`
    is told once per `said_at`; `trouble` says why presses could not be dealt with. `on_keys` runs before the rerun.
    """
    mount(
        key=KEY,
        data={
            "list": list_token,
            "at": at,
            "n": n,
            "samples": [dict(sample) for sample in samples],
            "ack": dict(acknowledged),
            "suggestions": list(suggestions),
            "lines": list(lines),
            "said": said,
            "saidAt": said_at,
            "trouble": trouble,
        },
        on_keys_change=on_keys,
    )


def side(name: str, *, list_token: str, at: int) -> None:
    """Mark what is drawn beside the sample at a place of a list: call it in the fragment that draws it, by its name.

    The fragment is rerun when the reviewer rests on another sample and all presses are dealt with.
    """
    mount(key=f"{KEY}_{name}", data={"side": f"{list_token} {at}", "name": name}, on_rested_change=_nothing)


def told() -> Told | None:
    """What the desk in the browser last said; None where it said nothing."""
    return parsed((st.session_state.get(KEY) or {}).get("keys"))


def parsed(value: Any) -> Told | None:
    """Only well-formed presses pass, in the order of their numbers: what comes from a browser may be anything."""
    if not isinstance(value, Mapping) or not isinstance(value.get("client"), str) or len(value["client"]) > 80:
        return None
    events = value.get("events")
    made = [_press(event) for event in events[:MOST]] if isinstance(events, list) else []
    presses = sorted((press for press in made if press is not None), key=lambda press: press.seq)
    return Told(value["client"], tuple(presses))


def _nothing() -> None:
    """The callback that makes a state of the component known."""


def _press(event: Any) -> Press | None:
    if not isinstance(event, Mapping) or event.get("act") not in ACTS:
        return None
    numbers = [event.get(name) for name in ("seq", "at", "row")]
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        return None
    texts = {name: str(event.get(name) or "") for name in ("list", "seen", "note", "tag")}
    seq, at, row = (int(number) for number in numbers if number is not None)
    return Press(
        seq, str(event["act"]), texts["list"], at, row, texts["seen"] or "none", texts["note"][:500], texts["tag"][:60]
    )
