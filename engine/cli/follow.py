"""Showing a job's progress on stderr while it runs elsewhere or in another thread. Standard library only.

On a terminal one line is redrawn; otherwise a line is written when a phase begins or ends and every ten seconds.
"""

import shutil
import sys
import threading
import time
from typing import TextIO

from engine.runs.jobfolder import JobFolder
from engine.runs.reporter import Progress, observed, read_progress

POLL_S = 0.2
SPARSE_S = 10.0
ENDED = ("done", "computed", "failed", "cancelled", "prepared")


def follow(folder: JobFolder, *, stream: TextIO | None = None, until: threading.Event | None = None) -> Progress:
    """Show the job's progress until it has ended (or `until` is set) and return the last one."""
    display = Display(stream or sys.stderr)
    try:
        while True:
            progress = observed(read_progress(folder))
            display.show(progress)
            if progress.state in ENDED or (until is not None and until.is_set()):
                return progress
            time.sleep(POLL_S)
    finally:
        display.close()


class Display:
    """Writes progress to one stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._tty = stream, stream.isatty()
        self._shown: tuple[str, str] | None = None
        self._closed_phases, self._written = 0, 0.0
        self._width = 0

    def show(self, progress: Progress) -> None:
        """Show `progress`; finished phases leave a line of their own."""
        for phase in progress.phases[self._closed_phases :]:
            self._line(f"{phase.name}: {_amount(phase.done, phase.unit)}{_duration(phase.seconds)}")
        self._closed_phases = len(progress.phases)
        if progress.state in ENDED:
            return
        text = describe(progress)
        if self._tty:
            self._redraw(text)
            return
        told = (progress.phase or "starting", progress.message if progress.state == "queued" else "")
        if told != self._shown or time.monotonic() - self._written >= SPARSE_S:
            self._line(text)
        self._shown = told

    def close(self) -> None:
        """Leave the terminal on a fresh line."""
        if self._tty and self._width:
            self._redraw("")
            self._stream.write("\r")
            self._stream.flush()

    def _redraw(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)

    def _line(self, text: str) -> None:
        if self._tty:
            self._redraw("")
            self._stream.write("\r")
            self._width = 0
        self._stream.write(text + "\n")
        self._stream.flush()
        self._written = time.monotonic()


def describe(progress: Progress) -> str:
    """One line: phase, part done, rate, time left, device; or the state where there is no phase."""
    if progress.state == "queued":
        return progress.message or "starting"
    parts = [progress.phase or "starting"]
    if progress.total:
        parts.append(f"{progress.done:,} of {progress.total:,} {progress.unit} ({progress.fraction:.0%})")
    if progress.rate:
        parts.append(f"{progress.rate:,.3g} {progress.unit}/s")
    if progress.eta_s is not None:
        parts.append(f"{duration(progress.eta_s)} left")
    if progress.device:
        parts.append(progress.device)
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """A readable time: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _duration(seconds: float) -> str:
    return f"in {duration(seconds)}"


def _amount(done: int, unit: str) -> str:
    return f"{done:,} {unit} " if done else ""
