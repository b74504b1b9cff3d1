"""Facility location: 100,000 rows by their nearest neighbours, and 10,000 densely beside apricot-select, in one run.

Rows are random around random centres, 200 to a centre. The sparse part counts the neighbour search by itself (a map has
done it already) and then works in a process of its own that loads the neighbours, builds the kernel and chooses; its
peak resident memory is read from inside and stands beside that of the same imports and nothing else. The dense part
gives apricot the same similarities, as the float64 it needs; NUMBA_NUM_THREADS sets its threads. It compiles its loops
on each fit: what a fit to 50 rows takes is given as its start, and the ratio is of the seconds after it (none where the
start is most of them). Values are Σ max s over the rows, recomputed from the chosen rows alone.

TOUCHSTONE_ROWS (default 100,000), TOUCHSTONE_DENSE (10,000), TOUCHSTONE_WIDTH (64) and TOUCHSTONE_NEIGHBOURS (32) set
the size; a tenth of the rows is chosen.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from shell import ROOT
from small_models import CPU_CLOCK, conditions, setting, significant, timed

from engine.maps.neighbours import nearest
from engine.selection.greedy import lazy_greedy, stochastic_greedy
from engine.selection.kernels import DenseKernel
from engine.selection.objectives import facility_location

ROWS = setting("ROWS", 100_000)
DENSE = setting("DENSE", 10_000)
WIDTH = setting("WIDTH", 64)
NEIGHBOURS = setting("NEIGHBOURS", 32)
PER_CENTRE = 200
SPREAD = 0.5
PEAK = """
def peak():
    try:
        lines = open("/proc/self/status").read().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""
WORK = f"""
import json, sys, time
import numpy as np
sys.path.insert(0, sys.argv[1])
from engine.selection.greedy import lazy_greedy, stochastic_greedy
from engine.selection.kernels import SparseKernel
from engine.selection.objectives import facility_location
{PEAK}
figures = {{}}
if sys.argv[2]:
    index, distance = (np.load(sys.argv[2] + name) for name in ("/index.npy", "/distance.npy"))
    clock = getattr(time, sys.argv[3])
    start = clock()
    kernel = SparseKernel.of_neighbours(index, distance)
    built = clock()
    lazy = lazy_greedy(facility_location(kernel), len(kernel) // 10)
    chosen = clock()
    figures = {{"kernel_s": built - start, "lazy_s": chosen - built, "peak_bytes": peak()}}
    sampled = stochastic_greedy(facility_location(kernel), len(kernel) // 10)
    figures["stochastic_s"] = clock() - chosen
    figures["stochastic_share"] = float(sampled.gains.sum() / lazy.gains.sum())
    figures["value_share"] = float(lazy.gains.sum() / len(kernel))
    figures["kernel_bytes"] = kernel.start.nbytes + kernel.rows.nbytes + kernel.values.nbytes
print(json.dumps({{"peak_bytes": peak(), **figures}}))
"""


def run(folder: Path) -> dict[str, object]:
    """Seconds, peak memory and the value reached, sparse and dense; `folder` takes the neighbours."""
    return {
        "size": f"n {ROWS} with {NEIGHBOURS} neighbours and n {DENSE} densely, {WIDTH} coordinates, a tenth chosen",
        "conditions": conditions(),
        "sparse": sparse(folder),
        "dense": dense(),
    }


def pool(n: int) -> np.ndarray:
    """Rows (n, d) float32 around random centres."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(max(n // PER_CENTRE, 2), WIDTH))
    rows = centres[generator.integers(0, len(centres), n)] + SPREAD * generator.normal(size=(n, WIDTH))
    return rows.astype(np.float32)


def sparse(folder: Path) -> dict[str, object]:
    """The neighbours' kernel in a process of its own."""
    found, search_s = timed(lambda: nearest(pool(ROWS), NEIGHBOURS))
    np.save(folder / "index.npy", found.index)
    np.save(folder / "distance.npy", found.distance)
    baseline, figures = measured(""), measured(str(folder))
    return {
        "neighbour_search_s": significant(search_s),
        **{name: significant(figures[name]) for name in ("kernel_s", "lazy_s", "stochastic_s")},
        "value_per_row": significant(figures["value_share"]),
        "stochastic_value_over_lazy": significant(figures["stochastic_share"]),
        "kernel_mb": significant(figures["kernel_bytes"] / 1e6),
        "peak_mb": significant(figures["peak_bytes"] / 1e6),
        "baseline_mb": significant(baseline["peak_bytes"] / 1e6),
    }


def measured(folder: str) -> dict[str, float]:
    """What the process prints: seconds of its own clock, bytes, shares."""
    clock = "process_time" if CPU_CLOCK else "perf_counter"
    command = [sys.executable, "-c", WORK, str(ROOT), folder, clock]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"The selection ended with status {done.returncode}.")
    return json.loads(done.stdout)


def dense() -> dict[str, object]:
    """All similarities, ours and apricot's choice."""
    kernel, kernel_s = timed(lambda: DenseKernel.of_features(pool(DENSE)))
    lazy, lazy_s = timed(lambda: lazy_greedy(facility_location(kernel), DENSE // 10))
    sampled, stochastic_s = timed(lambda: stochastic_greedy(facility_location(kernel), DENSE // 10))
    precise = kernel.across.astype(np.float64)
    few = precise[:50, :50].copy()
    peer(few, 2)  # the first fit also loads the compiler
    _, start_s = timed(lambda: peer(few, 2))
    theirs, theirs_s = timed(lambda: peer(precise, DENSE // 10))
    values = [float(precise[:, rows].max(axis=1).sum()) for rows in (lazy.order, sampled.order, theirs)]
    return {
        "kernel_s": significant(kernel_s),
        "lazy_s": significant(lazy_s),
        "stochastic_s": significant(stochastic_s),
        "apricot_s": significant(theirs_s),
        "apricot_threads": numba_threads(),
        "apricot_start_s": significant(start_s),
        "faster_by": significant((theirs_s - start_s) / lazy_s, 3) if theirs_s > 2 * start_s else None,
        "value_over_apricot": significant(values[0] / values[2], 9),
        "stochastic_value_over_apricot": significant(values[1] / values[2]),
        "same_rows_in_order": bool(np.array_equal(lazy.order, theirs)),
    }


def peer(similarities: np.ndarray, k: int) -> np.ndarray:
    """apricot's lazy greedy choice of k rows, in order; imported last, as it changes the threads of everything else."""
    import apricot

    return apricot.FacilityLocationSelection(k, metric="precomputed", optimizer="lazy").fit(similarities).ranking


def numba_threads() -> int:
    """The threads that apricot's compiled loops run on."""
    import numba

    return numba.get_num_threads()
