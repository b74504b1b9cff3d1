"""How far a project has come, and the one thing to do next."""

from dataclasses import dataclass

from engine.store.project import Project
from pages.parts import job_panel, reads
from pages.parts.words import count

WATCHED = {"score": "Score", "demo": "Score", "map": "Map"}  # the page to watch a job on; for others nothing waits


@dataclass(frozen=True)
class Standing:
    """The facts of a project that Home shows, and the page that carries on, with why."""

    facts: tuple[str, ...]
    page: str
    why: str


def standing(project: Project) -> Standing:
    """Read the facts of a project and choose the next page."""
    counts = reads.by_state(project, "counts")
    runs, selections = reads.by_state(project, "runs"), reads.by_state(project, "selections")
    decided = sum(number for name, number in counts.decisions.items() if name in {"approve", "reject", "skip"})
    approved = sum(selection.state == "approved" for selection in selections)
    facts = (
        count(counts.pool, "sample"),
        count(len(counts.targets), "target set"),
        *([count(counts.owned, "owned sample")] if counts.owned else []),
        count(len(runs), "run"),
        f"{decided:,} decided",
        count(len(selections), "selection") + (f" ({approved} approved)" if approved else ""),
    )
    page, why = _next(project, pool=counts.pool, targets=len(counts.targets), runs=len(runs), decided=decided,
                      selections=len(selections), approved=approved)  # fmt: skip
    return Standing(facts, page, why)


def _next(
    project: Project, *, pool: int, targets: int, runs: int, decided: int, selections: int, approved: int
) -> tuple[str, str]:
    if job := next(iter(job_panel.active(project, tuple(WATCHED))), None):
        return WATCHED[job.kind], f"{job_panel.TITLES[job.kind]} is under way; watch it there."
    steps = (
        (not pool, "Pool", "Add the samples to choose from."),
        (not targets and not runs, "Pool", "Add a target set: samples of the task to get better at."),
        (not runs, "Score", "Score the pool against the targets."),
        (reads.by_state(project, "latest_map") is None, "Map", "Build the map, to see the pool as a whole."),
        (not decided and not selections, "Review", "Look at the best and the worst samples and decide."),
        (not selections, "Select", "Choose the subset by size and strategy."),
        (not approved, "Select", "Approve a selection, so that it is frozen for training."),
    )
    return next(((page, why) for missing, page, why in steps if missing), ("Export", "Export the approved selection."))
