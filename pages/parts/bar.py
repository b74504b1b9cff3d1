"""An engine's `Reporter` shown as one progress bar, for work short enough to be done while the page waits."""

import time

import streamlit as st

from pages.parts.words import plain

SHOW_EVERY_S = 0.2


class BarReporter:
    """Implements `engine.progress.Reporter` on the page; it never cancels. Remove it with `close`."""

    def __init__(self) -> None:
        self._place = st.empty()
        self._name, self._total, self._done, self._unit = "", 0, 0, "samples"
        self._shown = 0.0

    def phase(self, name: str, total: int, unit: str = "samples") -> None:
        """Begin a phase."""
        self._name, self._total, self._done, self._unit = name, total, 0, unit
        self._show(always=True)

    def advance(self, n: int) -> None:
        """Count `n` units; the bar is redrawn a few times a second."""
        self._done += n
        self._show()

    def check(self) -> None:
        """Never cancels."""

    def log(self, message: str) -> None:
        """The page shows the outcome instead."""

    def close(self) -> None:
        """Take the bar away."""
        self._place.empty()

    def _show(self, *, always: bool = False) -> None:
        now = time.monotonic()
        if not always and now - self._shown < SHOW_EVERY_S:
            return
        self._shown = now
        of = f" of {self._total:,}" if self._total else ""
        share = min(1.0, self._done / self._total) if self._total else 0.0
        self._place.progress(share, text=plain(f"{self._name}: {self._done:,}{of} {self._unit}"))
