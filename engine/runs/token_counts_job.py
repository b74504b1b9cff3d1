"""Counting the tokens of a pool as a job: it outlives the tab that asked, tells its rate, is cancelled and resumed.

Its configuration is {"model": NAME}, the model whose tokenizer counts. What it makes is an artifact that `token_counts`
finds; nothing is recorded in the catalogue. It runs beside other jobs of the project, because someone waits for it.
"""

from engine.models.sources import resolve
from engine.runs import jobs
from engine.runs.jobfolder import JobFolder
from engine.runs.reporter import FileReporter
from engine.runs.results import clear
from engine.runs.token_counts import counted_by, source_of
from engine.store.project import Project
from engine.store.records import RunRecord

KIND: jobs.Kind = "token-counts"
AT_ONCE_ROWS = 5_000
"""A command that only needs the counts on its way counts so many rows itself: under two seconds of one core."""


def work_token_counts(project: Project, folder: JobFolder, reporter: FileReporter) -> None:
    """Count by the tokenizer of the model that `folder.spec` names.

    The pool as it was when the job first began, so that its shards serve a resume; then what was added since.
    """
    source = resolve(str(folder.spec["config"]["model"]))
    reporter.log("device: cpu, where tokenizers run")
    if "view" not in folder.spec:
        folder.update_spec(view=project.extent("pool", ""))
    rows, pool = folder.spec["view"]
    counted_by(project, source, (int(rows), str(pool)), work=folder.work, reporter=reporter)
    kept = counted_by(project, source, project.extent("pool", ""), work=folder.work, reporter=reporter)
    folder.write_result(tokens=kept.name)
    clear(folder)


def ask(project: Project, run: RunRecord) -> str:
    """The id of the job that counts for the run's model: the one at work, the latest if it ended early, or a new one.

    Raises `EngineError` where the run has no model, or its files are gone; nothing is started then.
    """
    source_of(run)
    latest = next((job for job in jobs.jobs(project) if job.kind == KIND and counts_for(job, run)), None)
    if latest is not None and latest.active:
        return latest.id
    if latest is not None and latest.state != "done":
        return jobs.resume(project, latest.id)
    return jobs.submit(project, KIND, {"model": run.model})


def counts_for(job: jobs.Job, run: RunRecord) -> bool:
    """Whether a job of this kind counts for the run's model."""
    return bool(job.spec["config"].get("model") == run.model)
