"""Peak memory of propagating a pool of one million rows x 4,096 coordinates to 64 targets from a memory-mapped file.

The embeddings (16 GB of float32) are written to disk in pieces first; a process of its own then maps them, fits 4,096
landmarks, and writes the scores (n, t). Its peak resident memory, read from the process itself (what a parent is told
of a child includes the parent's own pages at the fork), counts the mapped pages it holds, Python and the libraries. Its
baseline, the same imports and nothing else, is measured too. TOUCHSTONE_ROWS, TOUCHSTONE_WIDTH,
TOUCHSTONE_LANDMARKS and TOUCHSTONE_TARGETS set the size, TOUCHSTONE_SCRATCH the folder for the file.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from shell import ROOT, NotRun

ROWS = int(os.environ.get("TOUCHSTONE_ROWS", 1_000_000))
WIDTH = int(os.environ.get("TOUCHSTONE_WIDTH", 4096))
LANDMARKS = int(os.environ.get("TOUCHSTONE_LANDMARKS", 4096))
TARGETS = int(os.environ.get("TOUCHSTONE_TARGETS", 64))
PIECE = 16_384
LIMIT_GB = 4.0
SPARE = 1.1

WORK = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from engine.influence.regression import KernelRidge

folder, landmarks, targets = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if landmarks:
    pool = np.load(folder + "/embeddings.npy", mmap_mode="r")
    generator = np.random.default_rng(1)
    rows = np.sort(generator.choice(len(pool), size=landmarks, replace=False))
    scores = generator.standard_normal((landmarks, targets))
    model = KernelRidge.fit(np.asarray(pool[rows]), scores)
    found = model.predict(pool)
    assert found.shape == (len(pool), targets) and np.isfinite(found).all()
    np.save(folder + "/scores.npy", found)
try:
    lines = open("/proc/self/status").read().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
except OSError:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(peak)
"""


def run(folder: Path) -> dict[str, object]:
    """Peak resident memory in GB and the seconds of the propagating process."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TOUCHSTONE_SCRATCH", folder)) as scratch:
        place = Path(scratch)
        size = 4 * ROWS * (WIDTH + TARGETS)
        free = shutil.disk_usage(place).free
        if free < SPARE * size:
            raise NotRun(f"{size / 1e9:.1f} GB are needed on disk and {free / 1e9:.1f} GB are free in {place}")
        write_pool(place / "embeddings.npy")
        baseline, _ = measured(place, 0)
        peak, seconds = measured(place, LANDMARKS)
    return {
        "size": f"n {ROWS}, e {WIDTH}, l {LANDMARKS}, t {TARGETS}; {size / 1e9:.2f} GB on disk",
        "peak_gb": round(peak / 1e9, 3),
        "baseline_gb": round(baseline / 1e9, 3),
        "limit_gb": LIMIT_GB,
        "below_limit": peak < LIMIT_GB * 1e9,
        "seconds": round(seconds, 1),
    }


def write_pool(path: Path) -> None:
    """Random embeddings (n, e) float32 as .npy, piece by piece."""
    generator = np.random.default_rng(0)
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (ROWS, WIDTH)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, ROWS, PIECE):
            generator.standard_normal((min(PIECE, ROWS - start), WIDTH), dtype=np.float32).tofile(file)


def measured(folder: Path, landmarks: int) -> tuple[int, float]:
    """Peak resident bytes and wall seconds of the process; no landmarks: of its imports alone."""
    command = [sys.executable, "-c", WORK, str(ROOT), str(folder), str(landmarks), str(TARGETS)]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"The propagation ended with status {done.returncode}.")
    return int(done.stdout), time.perf_counter() - start
