"""`run-job JOBDIR`: the heavy part of a job on a machine without the project. Needs no command-line library."""

import sys
import threading
from pathlib import Path

from engine.cli.follow import follow
from engine.runs.jobfolder import JobFolder
from engine.runs.runjob import run_job

USAGE = """Usage: python -m engine run-job JOBDIR

Compute a prepared job folder by itself, without its project. Only torch, numpy, scipy and transformers are needed.
Copy the folder back afterwards, and `python -m engine resume PROJECT JOB` records the results."""


def run_job_command(words: list[str]) -> int:
    """Run the one job folder named in `words`; returns the exit status, and lets errors through."""
    if words in (["--help"], ["-h"]):
        print(USAGE)
        return 0
    if len(words) != 1 or words[0].startswith("-"):
        print(USAGE, file=sys.stderr)
        return 2
    folder, over = JobFolder(Path(words[0])), threading.Event()
    shown = threading.Thread(target=follow, args=(folder,), kwargs={"until": over}, name="follow", daemon=True)
    try:
        run_job(folder.path, begun=shown.start)
    finally:
        over.set()
        if shown.ident is not None:
            shown.join(timeout=2)
    print(folder.path)
    return 0
