"""When the jobs that prepare a search are begun: on demand, and after a large intake so that nobody waits later.

What such a job does is `finding_job`'s matter. A pool of fewer than `LARGE` samples is prepared within a second or two
when it is first searched, so no job is begun for it.
"""

from engine.curation import texts
from engine.runs import jobs
from engine.store.project import Project

LARGE = 50_000


def begin(project: Project, what: str) -> str:
    """The id of the job that prepares `what` (see `finding_job`): the one that waits or runs, else a new one.

    A running job takes in what was added to the pool meanwhile.
    """
    for job in jobs.jobs(project):
        if job.active and job.kind == "search" and job.spec["config"].get("what") == what:
            return job.id
    return jobs.submit(project, "search", {"what": what})


def begin_if_large(project: Project) -> str | None:
    """Begin to prepare the texts where at least `LARGE` samples lack that; the job's id, None where none is needed."""
    lacking = sum(part.count for part in texts.missing(project))
    return begin(project, "texts") if lacking >= LARGE else None
