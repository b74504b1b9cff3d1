"""Commands that compare and tell: runs with each other, versions of selections, and the sheet of one."""

from itertools import combinations
from typing import Annotated, Any

import typer

from engine.cli.app import WrongUsage, app, project_at
from engine.cli.approving import SelectionName
from engine.cli.data import ProjectPath
from engine.cli.output import print_json, print_table

AsJson = Annotated[bool, typer.Option("--json", help="Print versioned JSON instead of a table.")]
Version = Annotated[int | None, typer.Option("--version", min=1, help="Its version; the latest by default.")]


@app.command()
def compare(
    project: ProjectPath,
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Two runs or more, compared pair by pair.")],
    column: Annotated[str, typer.Option(metavar="NAME", help="score, or a target set that all have.")] = "score",
    as_json: AsJson = False,
) -> None:
    """Tell how far runs agree on the samples that both score: rank correlations and overlap of their tops."""
    from engine.curation import agreement
    from engine.curation.facts import AGGREGATE, Facts

    if len(set(runs)) < 2:
        raise WrongUsage("compare needs at least two different runs.")
    facts = Facts(project_at(project))
    scores = {name: facts.scores(facts.run(name).artifact) for name in dict.fromkeys(runs)}
    for name, found in scores.items():
        if column not in (AGGREGATE, *found.sets):
            raise WrongUsage(f"The run {name} has no score {column!r}; it has: {', '.join((AGGREGATE, *found.sets))}.")
    pairs = [
        (one, two, agreement.agreement(scores[one].column(column), scores[two].column(column)))
        for one, two in combinations(scores, 2)
    ]
    if as_json:
        print_json(column=column, pairs=[_agreement(*pair) for pair in pairs])
        return
    head = ("runs", "", "samples", "Spearman", "Kendall", *(f"top {share:.0%}" for share in agreement.TOPS), "")
    print_table(head, [_line(*pair) for pair in pairs], empty="")


def _line(one: str, two: str, found: Any) -> list[str]:
    from engine.curation.agreement import TOPS

    figures = ["-" if value is None else f"{value:.3f}" for value in (found.spearman, found.kendall)]
    tops = [f"{found.top(share)[1]:.1%}" if found.rows else "-" for share in TOPS]
    return [one, two, f"{found.rows:,}", *figures, *tops, found.reason]


def _agreement(one: str, two: str, found: Any) -> dict[str, Any]:
    from engine.curation.agreement import TOPS

    tops = [{"share": s, "rows": found.top(s)[0], "overlap": found.top(s)[1]} for s in TOPS] if found.rows else []
    return {
        "runs": [one, two], "rows": found.rows, "spearman": found.spearman, "kendall": found.kendall,
        "reason": found.reason, "tops": tops, "rank_biased_overlap": found.biased,
        "rank_biased_overlap_by_chance": found.biased_by_chance, "rank_biased_depth": found.depth,
    }  # fmt: skip


@app.command()
def sheet(project: ProjectPath, selection: SelectionName, version: Version = None, as_json: AsJson = False) -> None:
    """Tell what a selection holds: size, signals, fidelity, audit, coverage, and the samples to look at first."""
    from engine.curation.facts import Facts
    from engine.runs.sheets import sheet_of

    place = project_at(project)
    figures = sheet_of(Facts(place), place.selection(selection, version))
    if as_json:
        print_json(sheet=figures)
        return
    _print_sheet(figures)


def _print_sheet(figures: dict[str, Any]) -> None:
    size, people, told = figures["size"], figures["people"], figures["selection"]
    print(f"{told['name']} version {told['version']}: {size['rows']:,} of {size['pool_rows']:,} samples")
    print(f"words {size['words']:,} of {size['pool_words']:,}; " + ", ".join(f"{n:,} {w}" for w, n in people.items()))
    for sentence in figures["missing"]:
        print(sentence)
    spearman = ((figures["run"] or {}).get("fidelity") or {}).get("spearman")
    print(f"fidelity of the run: {'not measured' if spearman is None else f'Spearman {spearman:.2f}'}")
    if added := (figures["run"] or {}).get("added"):
        print(
            f"{added:,} of the samples joined after the run and were estimated; its fidelity was not measured on any."
        )
    print(figures["audit"]["sentence"] if figures["audit"] else "No random audit was made.")
    signals = [(g["name"], g["rows"], g["pool_rows"]) for g in figures["guards"]]
    print_table(("signal", "chosen", "pool"), signals, empty="No signal is known of the pool.")
    shares = [(t["name"], "-" if t["share"] is None else f"{t['share']:.0%}") for t in figures["targets"]]
    print_table(("target", "of the best possible"), shares, empty="No target set is scored.")
    print_table(("look at", "why"), [(r["id"], ", ".join(r["why"])) for r in figures["riskiest"]], empty="")


@app.command()
def changes(
    project: ProjectPath,
    selection: SelectionName,
    version: Version = None,
    against: Annotated[str | None, typer.Option(metavar="SEL", help="Another selection; itself by default.")] = None,
    against_version: Annotated[int | None, typer.Option(min=1, help="Its version; the one before by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what changed between two versions of a selection, or between two selections."""
    from engine.curation import changes as comparing
    from engine.curation.facts import Facts

    place = project_at(project)
    after = place.selection(selection, version)
    before = _before(place, after, against, against_version)
    made, facts = comparing.changes(before, after), Facts(place)
    ids = place.column("id")
    lists = (
        ("added", made.added, comparing.why_added(facts, after, made.added)),
        ("removed", made.removed, comparing.why_removed(facts, after, made.removed)),
    )
    if as_json:
        rows = {side: [{"id": ids[r], "why": w} for r, w in zip(found.tolist(), why)] for side, found, why in lists}
        settings = [{"name": n, "before": old, "after": new} for n, old, new in made.settings]
        names = [[s.name, s.version] for s in (before, after)]
        print_json(between=names, kept=made.kept, reweighted=made.reweighted, settings=settings, **rows)
        return
    print(f"{before.name} version {before.version} to {after.name} version {after.version}:")
    print(f"{len(made.added):,} came in, {len(made.removed):,} went out, {made.kept:,} in both", end="")
    print(f", {made.reweighted:,} of them with another weight" if made.reweighted else "")
    for name, old, new in made.settings:
        print(f"{name}: {old} -> {new}")
    lines = [("+" if side == "added" else "-", ids[r], w) for side, f, why in lists for r, w in zip(f.tolist(), why)]
    print_table(("", "id", "why"), lines, empty="The samples are the same.")


def _before(place: Any, after: Any, against: str | None, version: int | None) -> Any:
    """What it is compared with: what was asked for, else the version before of the same name."""
    if against is not None or version is not None:
        return place.selection(against or after.name, version)
    if after.version == 1:
        raise WrongUsage(f"{after.name} has no version before {after.version}; name another selection with --against.")
    return place.selection(after.name, after.version - 1)
