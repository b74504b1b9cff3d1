"""Commands that say how far a run can be trusted and why a row has its score: report, explain."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from engine.cli.app import app, project_at
from engine.cli.data import ProjectPath
from engine.cli.output import print_json, print_table

AsJson = Annotated[bool, typer.Option("--json", help="Print versioned JSON instead of text.")]
RunName = Annotated[str, typer.Option(metavar="NAME", help="The run.")]


@app.command()
def report(project: ProjectPath, run: RunName, as_json: AsJson = False) -> None:
    """Say how far a run's scores can be trusted, what it measured, and what it cost beside what was predicted."""
    from engine.runs.within import sentence, within

    place = project_at(project)
    record = place.run(run)
    summary = record.summary
    if as_json:
        print_json(run=run, **{name: value for name, value in summary.items() if name != "problems"})
        return
    inside = sentence(within(place, record))
    fidelity, *others = described(summary)
    for line in (fidelity, *([inside] if inside else []), *others):
        print(line)
    cost = [_cost(entry) for entry in summary.get("cost", [])]
    print_table(("phase", "samples", "tokens", "FLOPs", "predicted", "measured"), cost, empty="No cost was recorded.")


def _cost(entry: dict[str, Any]) -> tuple[str, ...]:
    counts = f"{entry['rows']:,}", f"{entry['tokens']:,}", f"{entry['flops']:.2g}"
    return entry["name"], *counts, _seconds(entry["predicted"]), _seconds(entry["seconds"])


def described(summary: dict[str, Any]) -> list[str]:
    """The report in lines: fidelity first, then what carried the scores, then the notes."""
    lines = [*_fidelity(summary.get("fidelity"))]
    for part in ("uncertainty", "embedding", "tuning", "refinement"):
        sentence = (summary.get(part) or {}).get("sentence")
        lines += [sentence] if sentence else []
    adaptive = (summary.get("adaptive") or {}).get("note")
    lines += [adaptive] if adaptive else []
    lines += _network(summary)
    further = [f"note: {note}" for note in summary.get("notes", ()) if note not in lines]
    counts = ", ".join(f"{count:,} {name}" for name, count in summary.get("counts", {}).items())
    return [*lines, f"samples: {counts}", *further]


def _network(summary: dict[str, Any]) -> list[str]:
    """What the network is worth, on everything that was kept out of its fit, and what it saved."""
    found = summary.get("network")
    if not found:
        return []
    labelled, inputs, passes = found["labelled"], found["inputs"], summary.get("passes") or {}
    items = "" if found["pointwise"] else f" against {labelled['items']:,} items"
    lines = [
        found["sentence"],
        f"The teacher {found['teacher']} labelled {labelled['rows']:,} samples ({labelled['share']:.1%}){items} to "
        f"learn from, and {labelled['audit_rows']:,} audit samples to judge by.",
        f"The network reads {inputs['name']}" + (f": {inputs['why']}." if inputs["why"] else "."),
        *(_quadrant(each) for each in found["quadrants"]),
    ]
    if passes.get("saved") is not None:
        done, whole = passes["equivalents"], passes["full_equivalents"]
        lines.append(f"Language-model passes saved: {passes['saved']:.0%} ({done:,} of {whole:,}, backward as three).")
    second = (summary.get("pool_network") or {}).get("sentence")
    return lines + ([f"Second network, of pool samples on pool samples: {second}"] if second else [])


def _quadrant(found: dict[str, Any]) -> str:
    """One quadrant in a line: how well the order is kept, and the errors beside each other."""
    own = found["estimates"]["network"]
    errors = {"network": own["mse"], "mean": found["mse_of_mean"], "random": found["mse_of_random"]}
    errors |= {name: each["mse"] for name, each in found["estimates"].items() if name != "network"}
    said = ", ".join(f"{name} {error:.3g}" for name, error in errors.items())
    pairs, rows = (_measured(own[name]) for name in ("pairs", "rows"))
    return f"  {found['said']} ({found['pairs']:,} pairs): Spearman of pairs {pairs}, of samples {rows}; errors: {said}"


def _measured(found: dict[str, Any]) -> str:
    """A figure, or why it is undefined."""
    return f"{found['value']:.2f}" if found["value"] is not None else f"undefined ({found['reason']})"


def _fidelity(found: dict[str, Any] | None) -> list[str]:
    if not found:
        return ["This run has no audit: every score is exact, or none was propagated."]
    if found.get("spearman") is None:
        return [f"The audit cannot judge this run: {found.get('reasons', {}).get('spearman', 'undefined')}."]
    low, high = found["interval"] or (None, None)
    between = "" if low is None else f" (90 % interval {low:.2f} to {high:.2f})"
    lines = [f"Spearman with exact scores {found['spearman']:.2f}{between} on {found['n']} audit samples."]
    if found.get("top_overlap") is not None:
        lines.append(f"Of the exact best 10 % of them, {found['top_overlap']:.0%} are among the estimated best 10 %.")
    lines += [
        f"  {name}: Spearman {each['spearman']:.2f}"
        for name, each in found.get("per_set", {}).items()
        if each.get("spearman") is not None
    ]
    return lines


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f} s"


@app.command()
def explain(
    project: ProjectPath,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Sample ids.")],
    run: RunName,
    as_json: AsJson = False,
) -> None:
    """Say why samples have their scores: the landmarks behind each, and the target items it helps most and least."""
    from engine.runs.explaining import explain as explain_rows

    place = project_at(project)
    found = explain_rows(place, place.run(run), [place.row_of(row_id) for row_id in ids])
    if as_json:
        print_json(run=run, explanations=[asdict(each) for each in found])
        return
    names = place.column("id")
    for row_id, each in zip(ids, found):
        print(f"{row_id}: {each.note}")
        carried = [
            (names[c.row], f"{c.coefficient:+.3f}", f"{c.score:+.3f}", f"{c.contribution:+.4f}") for c in each.carriers
        ]
        if carried:
            print_table(("landmark", "coefficient", "its score", "contribution"), carried, empty="")
        for title, items in (("helps most", each.best), ("helps least", each.worst)):
            print(f"{title}: " + (", ".join(f"{name} {score:+.3f}" for name, score in items) or "not known"))
