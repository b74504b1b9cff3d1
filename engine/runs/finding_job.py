"""What a search needs beforehand, as a job: the texts of the pool as columns, or the meaning of one side of its rows.

Its configuration is {"what": "texts"}, {"what": "prompt"} or {"what": "response"}. What it makes are artifacts that
the search finds; nothing is recorded in the catalogue. It runs beside other jobs of the project.
"""

from engine.curation import texts
from engine.errors import EngineError
from engine.runs.finding import encode_side
from engine.runs.jobfolder import JobFolder
from engine.runs.reporter import FileReporter
from engine.runs.results import clear
from engine.store.project import Project

PARTS = ("texts", "prompt", "response")


def work_search(project: Project, folder: JobFolder, reporter: FileReporter) -> None:
    """Prepare what `folder.spec` says; raises `EngineError` for anything else."""
    what = folder.spec["config"].get("what")
    if what not in PARTS:
        raise EngineError(f"{what!r} is nothing to prepare: expected {', '.join(PARTS)}. Nothing was prepared.")
    if what == "texts":
        texts.prepare(project, reporter=reporter)
    else:
        encode_side(project, what, work=folder.work, reporter=reporter)
    folder.write_result(prepared=what)
    clear(folder)
