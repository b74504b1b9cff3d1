"""Commands that compute and show what was computed: plan, score, extend, map, runs, scores."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli.app import WrongUsage, app, note, project_at
from engine.cli.data import ProjectPath
from engine.cli.following import wait_for
from engine.cli.output import print_json, print_table
from engine.cli.settings import configured
from engine.progress import Silent
from engine.runs.config import ScoreConfig
from engine.runs.map_config import MapConfig
from engine.runs.methods import METHODS

AsJson = Annotated[bool, typer.Option("--json", help="Print versioned JSON instead of a table.")]
Method = Annotated[str, typer.Option(metavar="M", help=f"How to score: {', '.join(METHODS)}.")]
Model = Annotated[str | None, typer.Option(help="builtin (default), a model folder, or a hub name.")]
Targets = Annotated[str | None, typer.Option(metavar="A,B", help="Target sets to score for; all by default.")]
Avoid = Annotated[str | None, typer.Option(metavar="A,B", help="Target sets that count against a sample.")]
Landmarks = Annotated[
    int | None, typer.Option(metavar="L", help="Samples measured exactly; 6 % of the pool, at least 64, by default.")
]
Seed = Annotated[int | None, typer.Option(metavar="S", help="Seed of every random choice.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, or preset=paper; repeatable."),
]
Detach = Annotated[bool, typer.Option("--detach", help="Return at once and print the job's id.")]


def _score_config(
    method: str,
    model: str | None,
    targets: str | None,
    avoid: str | None,
    landmarks: int | None,
    seed: int | None,
    pairs: list[str] | None,
) -> ScoreConfig:
    if method not in METHODS:
        raise WrongUsage(f"There is no method {method!r}. Available methods: {', '.join(METHODS)}.")
    options: dict[str, Any] = {"method": method, "model": model, "targets": _names(targets), "avoid": _names(avoid)}
    options |= {"landmarks": landmarks, "seed": seed}
    return configured(ScoreConfig, pairs or [], **options)


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


@app.command()
def plan(
    project: ProjectPath,
    method: Method,
    model: Model = None,
    targets: Targets = None,
    avoid: Avoid = None,
    landmarks: Landmarks = None,
    seed: Seed = None,
    settings: Set = None,
    as_json: AsJson = False,
) -> None:
    """Say what a scoring run would cost: samples, tokens, FLOPs, bytes and seconds per phase; computes no score."""
    from engine.runs.plan import describe_plan
    from engine.runs.plan import plan as make_plan

    config = _score_config(method, model, targets, avoid, landmarks, seed, settings)
    made = make_plan(project_at(project), config)
    if as_json:
        print_json(plan=asdict(made))
        return
    for line in describe_plan(made):
        print(line)


@app.command()
def score(
    project: ProjectPath,
    method: Method,
    model: Model = None,
    targets: Targets = None,
    avoid: Avoid = None,
    landmarks: Landmarks = None,
    seed: Seed = None,
    run: Annotated[str | None, typer.Option(metavar="NAME", help="What the run is called.")] = None,
    settings: Set = None,
    detach: Detach = False,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only write the job folder, to be run elsewhere with run-job; print it.")
    ] = False,
) -> None:
    """Score the pool for the targets and print the run's name; the same scores are never computed twice."""
    from engine.runs.jobs import submit

    config = _score_config(method, model, targets, avoid, landmarks, seed, settings)
    place = project_at(project)
    job_id = submit(place, "score", config, run=run, prepare_only=prepare)
    if detach:
        print(job_id)
        return
    result = wait_for(place, job_id)
    if prepare and "run" not in result:
        folder = place.jobs / job_id
        note(f"Prepared. Run it with `python -m engine run-job {folder}`, here or copied elsewhere; then `resume`.")
        print(folder)
        return
    print(result["run"])


@app.command("map")
def map_command(
    project: ProjectPath,
    features: Annotated[
        str | None, typer.Option(help="auto, hidden (the model's hidden states) or sentence (embeddings).")
    ] = None,
    model: Model = None,
    seed: Seed = None,
    settings: Set = None,
    detach: Detach = False,
) -> None:
    """Lay the pool out as a map with clusters and labels, compute its quality signals, and print the map's name."""
    from engine.runs.jobs import submit

    config = configured(MapConfig, settings or [], features=features, model=model, seed=seed)
    place = project_at(project)
    job_id = submit(place, "map", config)
    print(job_id if detach else wait_for(place, job_id)["map"])


@app.command()
def extend(
    project: ProjectPath,
    run: Annotated[str, typer.Option(metavar="NAME", help="A run of network that reads words or sentences.")],
) -> None:
    """Score samples added to the pool after a run, by the run's own network, and print the run's name."""
    from engine.runs.extending import extend as extend_run

    found = extend_run(project_at(project), run, reporter=_Phases())
    if found.added:
        note(f"{run}: {found.added:,} samples estimated; the run covers {found.run.rows:,}, its audit not the new ones")
    else:
        note(f"{run}: covers all {found.run.rows:,} samples already, nothing changed")
    print(found.run.name)


class _Phases(Silent):
    """Names phases on stderr."""

    def phase(self, name: str, total: int, unit: str = "samples") -> None:
        """Name it."""
        note(f"{name}: {total:,} {unit}")


@app.command()
def runs(project: ProjectPath, as_json: AsJson = False) -> None:
    """List the finished runs: method, model, targets, samples covered, and how far the scores can be trusted."""
    found = project_at(project).runs()
    if as_json:
        print_json(runs=[asdict(run) for run in found])
        return
    rows = [
        (r.name, r.method, r.model or "-", ",".join(r.targets) or "-", f"{r.rows:,}", _fidelity(r.summary))
        for r in found
    ]
    print_table(
        ("run", "method", "model", "targets", "samples", "audit"), rows, empty="No runs yet; score the pool first."
    )


def _fidelity(summary: dict[str, object]) -> str:
    report = summary.get("fidelity")
    if not isinstance(report, dict) or report.get("spearman") is None:
        return "-"
    return f"Spearman {report['spearman']:.2f} on {report.get('n', '?')} samples"


@app.command()
def scores(
    project: ProjectPath,
    run: Annotated[str, typer.Option(metavar="NAME", help="The run.")],
    out: Annotated[Path, typer.Option(metavar="FILE.parquet", help="The file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a run's scores as Parquet: every usable sample in pool order, with the score and one column per target."""
    from engine.runs.scores_file import write_scores

    count = write_scores(project_at(project), run, out, force=force)
    note(f"{out}: {count:,} samples")
