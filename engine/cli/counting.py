"""The command that counts tokens: count-tokens."""

from typing import Annotated

import typer

from engine.cli.app import app, note, project_at
from engine.cli.data import ProjectPath
from engine.cli.following import wait_for
from engine.cli.output import print_json
from engine.errors import EngineError


@app.command("count-tokens")
def count_tokens(
    project: ProjectPath,
    run: Annotated[str, typer.Option(metavar="NAME", help="The run whose model's tokenizer counts.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print versioned JSON instead of the total.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once and print the job's id.")] = False,
) -> None:
    """Count the tokens of every sample as a run's model reads it, and print their sum; none is counted twice.

    Budgets in tokens, quotas and sheets then go by these counts, and in a pool that grows only new samples are counted.
    """
    from engine.runs.token_counts import kept_counts
    from engine.runs.token_counts_job import ask

    place = project_at(project)
    record = place.run(run)
    found = kept_counts(place, record)
    if found is None:
        job_id = ask(place, record)
        if detach:
            print(job_id)
            return
        wait_for(place, job_id)
        found = kept_counts(place, record)
    if found is None:
        raise EngineError("The pool changed while its tokens were counted. Count again: only new samples are left.")
    total, longest = int(found.counts.sum()), int(found.counts.max(initial=0))
    if as_json:
        print_json(run=run, rows=len(found.counts), tokens=total, longest=longest, counted=found.record)
        return
    note(f"{len(found.counts):,} samples hold {total:,} tokens, the longest {longest:,}; {found.said}")
    print(total)
