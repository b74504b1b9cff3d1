"""Estimating all pairs with an InfluenceNetwork: against a loop over pairs, streamed from a file, and means by sorting.

(a) A block of rows x items for the published preset and for the defaults, beside the released way: one forward pass of
the published module on the concatenated pair at a time, timed on a few thousand pairs and extended to the block. For
the defaults there is also a loop over their own pairs. (b) A pool in a memory-mapped file reduced row by row, in a
process of its own whose peak resident memory is read from inside; it counts the mapped pages it holds, and stands
beside the file's size and the same imports alone. (c) The mean over as many items as rows by the sorted form, compared
with the mean of all pairs for a sample of the rows, whose time is extended to all rows.

Weights and embeddings are random: neither speed nor memory depends on them. TOUCHSTONE_BLOCK (default 100,000),
TOUCHSTONE_ITEMS (64), TOUCHSTONE_ROWS (1,000,000), TOUCHSTONE_MEANS (1,000,000) and TOUCHSTONE_WIDTH (384) set the
size of (a), of (a) and (b), of (b), of (c), and of the embeddings.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from shell import ROOT
from small_models import CPU_CLOCK, conditions, setting, significant, timed

from engine.influence.network.config import PAPER, NetworkConfig
from engine.influence.network.estimate import Estimator
from engine.influence.network.inputs import Scaling
from engine.influence.network.network import InfluenceNetwork

BLOCK = setting("BLOCK", 100_000)
ITEMS = setting("ITEMS", 64)
ROWS = setting("ROWS", 1_000_000)
MEANS = setting("MEANS", 1_000_000)
WIDTH = setting("WIDTH", 384)
LOOPED = 3000  # pairs that the loop is timed on
SAMPLE = 32  # rows whose mean is compared
PIECE = 16_384
WORK = """
import json, sys, time
import numpy as np
sys.path[:0] = sys.argv[1:3]
from network_speed import random_estimator
from engine.influence.network.config import NetworkConfig
from engine.influence.network.estimate import top_mean
figures = {}
if sys.argv[3]:
    pool = np.load(sys.argv[3] + "/rows.npy", mmap_mode="r")
    estimator = random_estimator(NetworkConfig(), np.load(sys.argv[3] + "/items.npy"))
    clock = getattr(time, sys.argv[4])
    start = clock()
    found = estimator.by_row(pool, top_mean(8))
    figures["seconds"] = clock() - start
    assert found.shape == (len(pool),) and np.isfinite(found).all()
try:
    lines = open("/proc/self/status").read().splitlines()
    figures["peak_bytes"] = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
except OSError:
    import resource
    unit = 1 if sys.platform == "darwin" else 1024
    figures["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(json.dumps(figures))
"""


def run(folder: Path) -> dict[str, object]:
    """The figures of all three; `folder` takes the embeddings."""
    return {
        "size": f"{BLOCK} x {ITEMS} at once, {ROWS} x {ITEMS} streamed, means of {MEANS} x {MEANS}; {WIDTH} numbers",
        "conditions": conditions(),
        "block": block(),
        "streamed": streamed(folder),
        "means": means(folder),
    }


def random_estimator(config: NetworkConfig, items: np.ndarray) -> Estimator:
    """Random weights over embeddings of the items' width."""
    width = items.shape[1]
    network = InfluenceNetwork(width, width, config).eval().requires_grad_(False)
    few, labels = embeddings(512, seed=9, width=width), np.zeros((512, 1), np.float32)
    scaling = Scaling.of(few, labels, parts=(width,), items_alike=True, on=config.standardise)
    return Estimator(network, scaling, items)


def embeddings(count: int, *, seed: int, width: int = WIDTH) -> np.ndarray:
    """Unit vectors (count, width) float32."""
    found = np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def block() -> dict[str, object]:
    """Seconds of the estimators and of the loops, and how many times slower these are."""
    rows, items = embeddings(BLOCK, seed=0), embeddings(ITEMS, seed=1)
    pairs = BLOCK * ITEMS
    loop_s, difference = released(rows, items)
    figures: dict[str, object] = {
        "loop_us_a_pair": significant(1e6 * loop_s),
        "loop_s": significant(loop_s * pairs),
        "loop_pairs_timed": LOOPED,
        "largest_difference": significant(difference),
    }
    for name, config in (("paper", PAPER), ("defaults", NetworkConfig())):
        estimator = random_estimator(config, items)
        estimator(rows[:5000])
        seconds = min(timed(lambda made=estimator: made(rows))[1] for _ in range(3))
        told = {
            "seconds": significant(seconds),
            "pairs_per_s": significant(pairs / seconds),
            "faster_by": significant(loop_s * pairs / seconds, 3),
        }
        if name == "defaults":
            told["faster_by_than_its_own_loop"] = significant(looped(estimator, rows) * pairs / seconds, 3)
        figures[name] = told
    return figures


@torch.no_grad()
def released(rows: np.ndarray, items: np.ndarray) -> tuple[float, float]:
    """Seconds a pair of the published module, one concatenated pair at a time; and the largest difference to ours."""
    network = random_estimator(PAPER, items).network
    first, last = torch.nn.Linear(2 * WIDTH + 1, PAPER.hidden), torch.nn.Linear(PAPER.hidden, 1)
    first.weight.copy_(torch.cat([network.rows_in[0], network.zero_in[0], network.items_in[0]]).T)
    first.bias.copy_(network.bias[0, 0])
    last.weight.copy_(network.out)
    last.bias.copy_(network.offset[0, 0])
    module, zero = torch.nn.Sequential(first, torch.nn.ReLU(), last), torch.zeros(1)
    left, right = torch.from_numpy(rows), torch.from_numpy(items)

    def loop(count: int) -> list[float]:
        return [module(torch.cat([left[k % len(left)], zero, right[k % ITEMS]])).item() for k in range(count)]

    loop(LOOPED // 10)
    found, seconds = timed(lambda: loop(LOOPED))
    ours = network.pairs(left[torch.arange(LOOPED) % len(left)], right[torch.arange(LOOPED) % ITEMS])[0]
    return seconds / LOOPED, float((torch.tensor(found) - ours).abs().max())


@torch.no_grad()
def looped(estimator: Estimator, rows: np.ndarray) -> float:
    """Seconds a pair of a network asked about one pair at a time."""
    left, right = estimator.scaling.rows(rows[:LOOPED]), estimator.scaling.items(estimator.items)

    def loop(count: int) -> list[float]:
        one = [(k % len(left), k % ITEMS) for k in range(count)]
        return [float(estimator.network.pairs(left[i : i + 1], right[j : j + 1]).mean()) for i, j in one]

    loop(LOOPED // 10)
    return timed(lambda: loop(LOOPED))[1] / LOOPED


def written(folder: Path, count: int) -> Path:
    """A file of embeddings, written in pieces."""
    place = folder / "rows.npy"
    whole = np.lib.format.open_memmap(place, mode="w+", dtype=np.float32, shape=(count, WIDTH))
    for start in range(0, count, PIECE):
        whole[start : start + PIECE] = embeddings(min(PIECE, count - start), seed=start)
    whole.flush()
    return place


def streamed(folder: Path) -> dict[str, object]:
    """Pairs a second of the defaults and peak memory, from a file."""
    place = written(folder, ROWS)
    np.save(folder / "items.npy", embeddings(ITEMS, seed=1))
    baseline, figures = measured(""), measured(str(folder))
    return {
        "seconds": significant(figures["seconds"]),
        "pairs_per_s": significant(ROWS * ITEMS / figures["seconds"]),
        "peak_mb": significant(figures["peak_bytes"] / 1e6),
        "baseline_mb": significant(baseline["peak_bytes"] / 1e6),
        "file_mb": significant(place.stat().st_size / 1e6),
    }


def measured(folder: str) -> dict[str, float]:
    """What the process prints: seconds of its own clock, bytes."""
    clock = "process_time" if CPU_CLOCK else "perf_counter"
    command = [sys.executable, "-c", WORK, str(ROOT), str(Path(__file__).parent), folder, clock]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"The estimation ended with status {done.returncode}.")
    return json.loads(done.stdout)


def means(folder: Path) -> dict[str, object]:
    """The mean over all items by the sorted form; the direct one for a sample."""
    rows = np.load(written(folder, MEANS), mmap_mode="r")
    estimator = random_estimator(PAPER, embeddings(MEANS, seed=2))
    found, seconds = timed(lambda: estimator.mean_over_items(rows))
    sample = np.linspace(0, MEANS - 1, min(SAMPLE, MEANS)).astype(np.int64)
    direct, direct_s = timed(lambda: estimator(rows[sample]).mean(axis=1, dtype=np.float64))
    return {
        "seconds": significant(seconds),
        "largest_difference": significant(float(np.abs(found[sample] - direct).max())),
        "spread_of_means": significant(float(found.std())),
        "direct_s": significant(direct_s * MEANS / len(sample)),
        "faster_by": significant(direct_s * MEANS / len(sample) / seconds, 3),
    }
