"""Exporting a tenth of the pool: seconds, and peak memory above a process that has the project open and does nothing.

Each form runs in a process of its own, which opens the project, reads what an idle app has read, notes its memory, and
exports. The peak is read from the process itself.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from shell import ROOT

FORMS = {"original": ("original", "jsonl"), "chat": ("chat", "jsonl"), "parquet": ("chat", "parquet")}
WORK = """
import json, sys, time
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests/bench"]
from desk_clock import resident
from engine.curation.facts import Facts
from engine.export.export import export
from engine.export.plan import Plan
from engine.store.project import Project

project = Project.open(sys.argv[2])
selection = project.selection("best tenth")
facts = Facts(project)
facts.decisions(), len(selection.rows)
open("/proc/self/clear_refs", "w").write("5")  # the peak so far is forgotten
idle = resident()
begun = time.perf_counter()
report = export(project, selection, sys.argv[3], plan=Plan(form=sys.argv[4], container=sys.argv[5]), facts=facts)
seconds, after = time.perf_counter() - begun, resident()
print(json.dumps({"rows": report.rows, "megabytes": round(report.bytes / 1e6, 1), "seconds": round(seconds, 2),
                  "idle_mb": idle["all_mb"], "peak_mb": after["peak_mb"],
                  "above_idle_mb": after["peak_mb"] - idle["all_mb"]}))
"""


def measure(project: Path) -> dict[str, Any]:
    """Figures of each form."""
    return {name: _export(project, name, *form) for name, form in FORMS.items()}


def _export(project: Path, name: str, form: str, container: str) -> dict[str, Any]:
    out = project / "exports" / f"{name}.{container}"
    command = [sys.executable, "-c", WORK, str(ROOT), str(project), str(out), form, container]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"The export {name} ended with status {done.returncode}.")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
