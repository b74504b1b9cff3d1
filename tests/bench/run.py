"""The benchmarks: `python tests/bench/run.py [NAME ...] --json OUT`.

Each module named in `BENCHMARKS` has a `run(folder) -> dict` that works inside an empty scratch folder and returns
plain figures. A benchmark that needs data or a device this machine lacks is reported as not run, with the reason.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from shell import NotRun  # noqa: E402

BENCHMARKS: dict[str, str] = {
    "landmark_fidelity": "Landmark against exact scores of the real mixture: cost, Spearman, top 10 %, intervals.",
    "real_pool": "The full pass over the real mixture: seconds per phase, share on target, Spearman against exact.",
    "demo_faults": "The demo from one click to a scored map, and precision and recall on each kind of fault.",
    "intake_memory": "Seconds and peak memory of adding a JSONL pool of one gigabyte.",
    "first_page": "Seconds from `streamlit run` to the first page visible in Chromium.",
    "gradient_speed": "JVP against the published loop, directional against exact, the exact engines, every embedding.",
    "peers": "Projected gradients against the packages bergson and dattri: speed and agreement.",
    "deep_model": "Landmark scoring against exact scoring on a model with 24 blocks.",
    "propagation_speed": "Propagation for 64 targets against solving each by itself; share of the matrix-product peak.",
    "delift_reuse": "DELIFT with and without shared prefixes: tokens, seconds, largest difference of the scores.",
    "signals_speed": "Rows per second of every signal of the pool on one core, and the peak memory.",
    "memory": "Peak memory of propagating a million rows to 64 targets from a memory-mapped file.",
    "facility_location": "Subset selection: 100,000 rows by nearest neighbours; 10,000 densely beside apricot-select.",
    "network_speed": "Estimating 100,000 x 64 pairs against a loop, a million rows streamed, means of all by sorting.",
    "network_fidelity": "The InfluenceNetwork against every teacher on real rows, beside its baselines.",
    "desk": "The curator's desk on a million rows: server times, Chromium, 200 decisions by key, export, memory.",
    "gpu": "The gradient engines and influence functions at 0.5B and 1.5B parameters on a CUDA device.",
}


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {"cores": os.cpu_count(), "device": device, "torch": torch.__version__, "python": platform.python_version()}


def measure(name: str) -> dict[str, object]:
    """One benchmark's figures, with its wall time in seconds."""
    with tempfile.TemporaryDirectory(prefix=f"touchstone-{name}-") as folder:
        start = time.perf_counter()
        try:
            figures = importlib.import_module(name).run(Path(folder))
        except NotRun as error:
            return {"not_run": str(error)}
        return {**figures, "wall_s": round(time.perf_counter() - start, 1)}


def main() -> None:
    """Run the named benchmarks (all by default) and print or save the figures."""
    listing = "\n".join(f"  {name:15} {text}" for name, text in BENCHMARKS.items())
    parser = argparse.ArgumentParser(description=listing, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run; all where none is named")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    results: dict[str, object] = {"machine": machine()}
    for name in options.names or BENCHMARKS:
        results[name] = measure(name)
        print(json.dumps({name: results[name]}, indent=2), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
