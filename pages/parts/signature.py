"""Who signs decisions, kept by the browser: a name typed once outlives a reload and a new tab.

The name is a cookie of this app (a year, same site), written by a component that shows nothing and read when a session
begins. With `[auth]` configured the signed-in identity signs instead, and no cookie is read.
"""

from pathlib import Path
from urllib.parse import unquote

import streamlit as st

COOKIE = "touchstone_name"
LONGEST = 80
_SCRIPT = (Path(__file__).parent / "signature.js").read_text(encoding="utf-8")

# Registered once per process, when this module is first imported.
mount = st.components.v2.component("touchstone_signature", js=_SCRIPT)


def remembered() -> str:
    """The name that this browser was told to keep, on one line and cut to `LONGEST`; "" where there is none."""
    name = unquote(st.context.cookies.get(COOKIE, ""))
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())[:LONGEST]


def remember(name: str) -> None:
    """Have the browser keep `name` ("" forgets it); drawn with the page."""
    mount(key="signature", data={"cookie": COOKIE, "name": name})
