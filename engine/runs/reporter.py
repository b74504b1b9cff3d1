"""A job's state and progress in progress.json, and who may trust it.

`FileReporter` implements `engine.progress.Reporter`: it replaces progress.json at most four times a second, and a
background heartbeat keeps it fresh while a long call says nothing. A reader tells a living job from a dead one by
process id *and* process start time (ids are reused), or, on another machine, by the age of the heartbeat.

States: queued (not begun), prepared (inputs ready, waits to be run elsewhere), running, computed (results ready,
not yet imported), done, failed, cancelled. Standard library only.
"""

import json
import os
import platform
import re
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from engine.errors import Cancelled, EngineError
from engine.runs.jobfolder import JobFolder
from engine.store.artifacts import write_json

State = Literal["queued", "prepared", "running", "computed", "done", "failed", "cancelled"]
STATES: tuple[State, ...] = get_args(State)
_DEVICE = re.compile(r"device:? ([a-z]+(?::[0-9]+)?)\b")
WRITE_EVERY_S = 0.25
HEARTBEAT_S = 5.0
RATE_WINDOW_S = 30.0
INTERRUPTED = "interrupted; what was complete is kept, and resume continues from it"
SILENT_AFTER_S = 60.0  # a job of another machine, or one never begun, counts as dead after this long without news


@dataclass(frozen=True)
class PhaseTime:
    """How long one finished phase took."""

    name: str
    seconds: float
    done: int
    unit: str


@dataclass(frozen=True)
class Progress:
    """The content of progress.json. Times are seconds since the epoch; rate in units per second."""

    state: State = "queued"
    phase: str = ""
    done: int = 0
    total: int = 0
    unit: str = "samples"
    rate: float | None = None
    eta_s: float | None = None
    device: str = ""
    message: str = ""
    pid: int | None = None
    pid_started: float | None = None
    host: str = ""
    started: float | None = None
    updated: float = 0.0
    phases: tuple[PhaseTime, ...] = ()
    exit_status: int = 0

    @property
    def fraction(self) -> float:
        """The part of the current phase that is done, 0 to 1 (0 where its size is unknown)."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0


def read_progress(folder: JobFolder) -> Progress:
    """The progress last written, or a queued one where there is none; unknown entries are ignored."""
    try:
        raw: dict[str, Any] = json.loads(folder.progress_path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Progress()
    except ValueError:  # replaced atomically, so only a foreign hand breaks it
        return Progress("failed", message=f"{folder.progress_path} is broken; resume the job, which writes it anew")
    known = {field.name for field in fields(Progress)}
    phases = tuple(PhaseTime(**phase) for phase in raw.get("phases", ()))
    return Progress(**{**{name: value for name, value in raw.items() if name in known}, "phases": phases})


def write_progress(folder: JobFolder, progress: Progress) -> None:
    """Replace progress.json atomically, stamped with the time of writing."""
    write_json(folder.progress_path, asdict(replace(progress, updated=time.time())))


def process_start(pid: int) -> float | None:
    """When process `pid` began, in clock ticks since boot; None where it is gone, a zombie, or the system tells not."""
    try:
        # the command name, in parentheses, may contain anything: count fields after its end
        values = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if values[0] in "ZX" else float(values[19])


def process_lives(pid: int, started: float | None) -> bool:
    """Whether the process that had id `pid` and began at `started` still runs on this machine."""
    if Path("/proc/self/stat").exists():
        now = process_start(pid)
        return now is not None and (started is None or now == started)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def observed(progress: Progress) -> Progress:
    """`progress` as a reader should show it: a job whose process died is `failed` and says so."""
    silent = time.time() - progress.updated
    if progress.state == "queued" and progress.pid is None:
        dead = progress.updated > 0 and silent > SILENT_AFTER_S
    elif progress.state in ("queued", "running"):
        here = progress.host == platform.node() and progress.pid is not None
        dead = not process_lives(progress.pid or 0, progress.pid_started) if here else silent > SILENT_AFTER_S
    else:
        dead = False
    if not dead:
        return progress
    where = f"during “{progress.phase}”" if progress.phase else "before it began"
    text = f"died {where}: its process has ended without a word. Resume it; what was complete is kept."
    return replace(progress, state="failed", message=text, rate=None, eta_s=None, exit_status=1)


@runtime_checkable
class CountsSkipped(Protocol):
    """A reporter that tells rows found complete from rows computed now, so that its rate stays honest."""

    def skip(self, n: int) -> None:
        """Count `n` units as done earlier."""


class FileReporter:
    """Reports one job's progress into its folder; begin with `begin`, end with `finish` (or use `reporting`)."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._progress = Progress()
        self._window: deque[tuple[float, int]] = deque()  # (monotonic time, units computed now in this phase)
        self._computed = 0
        self._phase_began = self._written = time.monotonic()
        self._unwritten = False
        self.end_state: State = "done"
        self.end_message = ""
        self._stop = threading.Event()

    @property
    def progress(self) -> Progress:
        """What was reported so far."""
        return self._progress

    def begin(self) -> None:
        """Enter the state running, as this process, and start the heartbeat."""
        pid = os.getpid()
        self._progress = Progress(
            "running", pid=pid, pid_started=process_start(pid), host=platform.node(), started=time.time()
        )
        self._write()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def finish(self, state: State, message: str = "", *, exit_status: int = 0) -> None:
        """Enter an end state, with the status a shell should see; later reports are ignored."""
        with self._lock:
            self._stop.set()
            self._close_phase()
            self._progress = replace(
                self._progress, state=state, message=message, rate=None, eta_s=None, exit_status=exit_status
            )
            self._write()

    def end_as(self, state: State, message: str) -> None:
        """Choose the state in which `reporting` ends, where the block raises nothing."""
        self.end_state, self.end_message = state, message

    def wait(self, message: str) -> None:
        """Say, in the state queued, what the job waits for."""
        self._set(state="queued", message=message)

    def go_on(self) -> None:
        """Return from waiting to the state running."""
        self._set(state="running", message="")

    def phase(self, name: str, total: int, unit: str = "samples") -> None:
        """Begin a phase of `total` units; the one before it is closed and its time kept."""
        with self._lock:
            self._close_phase()
            self._computed, self._phase_began = 0, time.monotonic()
            self._window = deque([(self._phase_began, 0)])
            self._set(phase=name, done=0, total=int(total), unit=unit, rate=None, eta_s=None, message="")
        self.check()

    def advance(self, n: int) -> None:
        """Count `n` further units as computed now."""
        with self._lock:
            self._computed += int(n)
            self._count(int(n))

    def skip(self, n: int) -> None:
        """Count `n` further units as found complete: they move the bar but not the rate."""
        with self._lock:
            self._count(int(n))

    def check(self) -> None:
        """Raise `Cancelled` where the job was asked to stop."""
        if self.folder.cancel_asked:
            raise Cancelled(
                f"Job {self.folder.id} was cancelled; what was complete is kept, and resume continues from it."
            )

    def log(self, message: str) -> None:
        """Keep one line in log.txt and as the latest message; one that begins "device NAME" also names the device."""
        self.folder.append_log(message)
        named = _DEVICE.match(message)
        with self._lock:
            device = named[1] if named else self._progress.device
            self._progress = replace(self._progress, message=message, device=device)
            self._write(sparse=True)

    def _set(self, **changes: Any) -> None:
        with self._lock:
            self._progress = replace(self._progress, **changes)
            self._write()

    def _count(self, n: int) -> None:
        now = time.monotonic()
        self._window.append((now, self._computed))
        while len(self._window) > 2 and now - self._window[1][0] > RATE_WINDOW_S:
            self._window.popleft()
        done, rate = self._progress.done + n, self._rate(now)
        left = max(0, self._progress.total - done)
        self._progress = replace(self._progress, done=done, rate=rate, eta_s=left / rate if rate else None)
        self._write(sparse=True)

    def _rate(self, now: float) -> float | None:
        began, computed = self._window[0]
        elapsed = now - began
        return (self._computed - computed) / elapsed if elapsed > 0.05 and self._computed > computed else None

    def _close_phase(self) -> None:
        if self._progress.phase:
            spent = time.monotonic() - self._phase_began
            closed = PhaseTime(self._progress.phase, round(spent, 3), self._progress.done, self._progress.unit)
            self._progress = replace(self._progress, phases=(*self._progress.phases, closed))

    def _write(self, *, sparse: bool = False) -> None:
        with self._lock:
            now = time.monotonic()
            if sparse and (self._stop.is_set() or now - self._written < WRITE_EVERY_S):
                self._unwritten = True  # the heartbeat writes it
                return
            self._written, self._unwritten = now, False
            write_progress(self.folder, self._progress)

    def _beat(self) -> None:
        while not self._stop.wait(min(WRITE_EVERY_S, HEARTBEAT_S)):
            with self._lock:
                stale = time.monotonic() - self._written >= HEARTBEAT_S
                if (self._unwritten or stale) and not self._stop.is_set():
                    self._write()


@contextmanager
def reporting(folder: JobFolder, *, done: State = "done") -> Iterator[FileReporter]:
    """A reporter whose end state follows how the block ends: `done`, cancelled, or failed with the reason.

    The exception goes on to the caller; one that is no `EngineError` leaves its traceback in the log.
    """
    reporter = FileReporter(folder)
    reporter.end_as(done, "")
    reporter.begin()
    try:
        yield reporter
    except (Cancelled, KeyboardInterrupt) as error:
        reporter.finish("cancelled", str(error) or INTERRUPTED, exit_status=Cancelled.exit_status)
        raise
    except EngineError as error:
        folder.append_log(f"failed: {error}")
        reporter.finish("failed", str(error), exit_status=error.exit_status)
        raise
    except BaseException as error:
        for line in traceback.format_exc().splitlines():
            folder.append_log(line)
        told = f"{type(error).__name__}: {error} (a defect; the details are in {folder.log_path})"
        reporter.finish("failed", told, exit_status=1)
        raise
    reporter.finish(reporter.end_state, reporter.end_message)
