"""The heavy part of a job, from a complete `input/` to a complete `output/`, wherever the folder lies.

Imports nothing beyond the standard library until the kind of work is known; scoring then needs torch, numpy, scipy
and transformers only, so that a machine without a catalogue, a page or `datasets` can do it. It never opens a project.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from engine.errors import EngineError
from engine.progress import Reporter
from engine.runs.jobfolder import JobFolder, held
from engine.runs.reporter import reporting

RUNNERS: dict[str, tuple[str, str]] = {
    "score": ("engine.runs.scoring", "run_score"),
    "map": ("engine.runs.mapping", "run_map"),
    "signals": ("engine.runs.signal_making", "run_signals"),
}


def compute(folder: JobFolder, reporter: Reporter) -> None:
    """Fill `folder.output`, continuing from finished shards; nothing to do where it is complete.

    Raises `EngineError` where the inputs are not complete or the kind of work is unknown.
    """
    if folder.output_complete:
        reporter.log("the results are complete already: nothing is computed again")
        return
    if not folder.input_complete:
        raise EngineError(
            f"The inputs of {folder.path} are not complete (no input/manifest.json). Resume the job in its project, "
            "which prepares them, or copy the folder again. Nothing was computed."
        )
    _runner(folder.spec["kind"])(folder, reporter)


def _runner(kind: str) -> Callable[[JobFolder, Reporter], None]:
    if kind not in RUNNERS:
        raise EngineError(f"A job of kind {kind!r} cannot be run by itself; kinds that can: {', '.join(RUNNERS)}.")
    module, name = RUNNERS[kind]
    runner: Callable[[JobFolder, Reporter], None] = getattr(import_module(module), name)
    return runner


def run_job(path: Path, *, begun: Callable[[], None] | None = None) -> JobFolder:
    """Run the job folder at `path` by itself, without its project; it ends in the state `computed`.

    `begun` is called once the folder is held and its state is running. Carried back to its project, `resume` imports
    the results. Raises `EngineError` where another process works on it.
    """
    folder = JobFolder.open(path)
    with held(folder.path / "lock") as got:
        if not got:
            raise EngineError(f"Another process works on {path}; wait for it or cancel it. Nothing was started.")
        folder.withdraw_cancel()
        with reporting(folder, done="computed") as reporter:
            if begun is not None:
                begun()
            compute(folder, reporter)
    return folder
