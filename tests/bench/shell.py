"""What the benchmarks share: running the command line, its time and its peak memory."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED_DATA = ROOT.parent / "shared" / "data"


class NotRun(Exception):
    """A benchmark's data or device is absent; the message says which."""


@dataclass(frozen=True)
class Ran:
    """One finished command: its output, wall seconds and peak resident memory in bytes (its children's included)."""

    output: str
    seconds: float
    peak_bytes: int


def engine(*arguments: str | Path) -> Ran:
    """Run `python -m engine ARGUMENTS`; a failure stops the benchmark with the command's own message."""
    command = [sys.executable, "-m", "engine", *map(str, arguments)]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {os.waitstatus_to_exitcode(status)}")
    return Ran(output.strip(), time.perf_counter() - start, usage.ru_maxrss * 1024)
