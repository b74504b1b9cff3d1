"""Commands by which people choose: select, decide."""

import getpass
from typing import Annotated, Any, get_args

import typer

from engine.cli.app import WrongUsage, app, note, project_at
from engine.cli.data import ProjectPath
from engine.cli.following import wait_for
from engine.errors import EngineError
from engine.progress import Silent
from engine.selection.menu import GREEDY_NAMES, STRATEGIES, STRATEGY_NAMES, users_of

By = Annotated[str | None, typer.Option(metavar="NAME", help="Who does this; the login name by default.")]


_KEEPS = ("first", "longest", "highest score", "approved first")
LONG = 20_000  # units of a phase that are worth telling of
_NEEDED = {"targets": "target sets", "map": "a map", "owned": "owned data"}
_COVERING = "For strategies that need a map."


def _told(name: str) -> str:
    """One strategy in the help."""
    found = STRATEGIES[name]
    needs = [_NEEDED[need] for need in found.needs if need in _NEEDED]
    return f"{name}: {found.does} {found.when}" + (f" Needs {' and '.join(needs)}." if needs else "")


def _for(setting: str) -> str:
    return f"For {', '.join(users_of(setting))}."


class _LongPhases(Silent):
    """Names phases that take a while on stderr."""

    def phase(self, name: str, total: int, unit: str = "samples") -> None:
        """Name it if it is long."""
        if total >= LONG:
            note(f"{name}: {total:,} {unit}")


@app.command(epilog="\n\n".join(_told(name) for name in STRATEGIES))
def select(
    project: ProjectPath,
    run: Annotated[str, typer.Option(metavar="NAME", help="The run whose scores choose.")],
    size: Annotated[
        str,
        typer.Option(
            help="How many samples: 500, or 10% of the usable samples; or what they may hold together: 200k tokens, "
            "short 200000t, or 80k words. Such a budget takes samples in the strategy's order, each that still fits."
        ),
    ],
    name: Annotated[str, typer.Option(metavar="SEL", help="What the selection is called.")],
    strategy: Annotated[str, typer.Option(help=f"How to choose, as told below: {', '.join(STRATEGY_NAMES)}.")] = "top",
    among: Annotated[
        str, typer.Option(metavar="SHARE", help=f"Choose among the best share by score, such as 30%. {_COVERING}")
    ] = "",
    tradeoff: Annotated[
        float, typer.Option(help=f"Weight of coverage against score, from 0 to 1. {_for('tradeoff')}")
    ] = 0.5,
    targets: Annotated[
        str, typer.Option(metavar="A,B", help=f"Target sets to cover; those of the run by default. {_for('targets')}")
    ] = "",
    greedy: Annotated[
        str,
        typer.Option(
            help=f"The search, one of {', '.join(GREEDY_NAMES)}; auto is lazy up to some 100,000 samples. {_COVERING}"
        ),
    ] = "auto",
    kernel: Annotated[
        str,
        typer.Option(help=f"Likeness by the map, or by the network of a run with pool_network=true. {_for('kernel')}"),
    ] = "map",
    seed: Annotated[int, typer.Option(min=0, help="Seed of turns of the targets, and of random candidates.")] = 0,
    score: Annotated[str, typer.Option(metavar="COLUMN", help="The score that decides: score, or a target set.")] = (
        "score"
    ),
    guard: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Leave out samples with this signal, as in leak or leak=0.3; may be repeated."
        ),
    ] = None,
    keep: Annotated[
        str, typer.Option(help=f"Which of several copies a guard leaves in: {', '.join(_KEEPS)}.")
    ] = "first",
    where: Annotated[
        str, typer.Option(metavar="JSON", help='Only samples that pass: filters as [["words", "", 10, 500], …].')
    ] = "",
    at_most: Annotated[
        list[str] | None,
        typer.Option(
            metavar="QUOTA", help="COLUMN:VALUE=AMOUNT in samples or %, as in field/source:web=30%; VALUE * is each."
        ),
    ] = None,
    at_least: Annotated[
        list[str] | None, typer.Option(metavar="QUOTA", help="The same, at least: cluster:3=50. May be repeated.")
    ] = None,
    tokens_by: Annotated[
        str, typer.Option(help="How tokens are counted: tokenizer (the run's), or words (1.4 tokens a word).")
    ] = "tokenizer",
    by: By = None,
) -> None:
    """Choose a subset by a run's scores and save it as a draft: approved samples are in, rejected ones out."""
    from engine.runs.choice import Choice
    from engine.runs.choosing import select as choose_and_save
    from engine.selection.curve import curve_of

    _one_of(strategy, STRATEGY_NAMES, "strategy")
    names = tuple(part.strip() for part in targets.split(",") if part.strip())
    options: dict[str, Any] = {"among": among, "tradeoff": tradeoff, "greedy": greedy, "kernel": kernel, "seed": seed}
    options |= {"column": score, "guards": tuple(guard or ()), "keep": keep, "tokens_by": tokens_by}
    try:
        bounds: dict[str, Any] = {"quotas": _quotas(at_most, at_least), "within": _filters(where)}
        choice = Choice(size=size, strategy=strategy, targets=names, **options, **bounds)
    except EngineError as error:
        raise WrongUsage(str(error)) from error
    place = project_at(project)
    if choice.unit == "tokens" and choice.tokens_by == "tokenizer":
        _count_tokens(place, run)
    saved, chosen = choose_and_save(place, choice, run=run, name=name, by=by or _login(), reporter=_LongPhases())
    approved = sum(reason == "approved" for reason in chosen.reasons)
    extra = f", {approved:,} of them because a person approved them" if approved else ""
    note(f"{saved.name} version {saved.version}: {len(saved.rows):,} samples{extra}")
    curve = curve_of(chosen.gains)
    for told in (*((curve.sentence,) if curve else ()), *chosen.notes):
        note(told)
    print(saved.name)


@app.command()
def decide(
    project: ProjectPath,
    ids: Annotated[list[str], typer.Argument(metavar="ID... DECISION", help="Sample ids, then the decision.")],
    by: By = None,
    comment: Annotated[str, typer.Option("--note", help="Why.")] = "",
) -> None:
    """Record a decision about samples: approve, reject, skip, or clear to take a decision back."""
    from engine.store.decisions import Decision

    *named, decision = ids
    if not named:
        raise WrongUsage("decide needs at least one ID and then the decision.")
    _one_of(decision, get_args(Decision), "decision")
    place = project_at(project)
    batch = place.decide([place.row_of(row_id) for row_id in named], decision, by=by or _login(), note=comment)
    note(f"{decision}: {len(named):,} samples (batch {batch})")


def _count_tokens(place: Any, run: str) -> None:
    """Have the tokens of a large pool counted by a job, which tells its progress; a small one's are on the way."""
    from engine.runs.token_counts import kept_counts
    from engine.runs.token_counts_job import AT_ONCE_ROWS, ask

    record = place.run(run)
    if place.counts().pool > AT_ONCE_ROWS and kept_counts(place, record) is None:
        wait_for(place, ask(place, record))


def _quotas(at_most: list[str] | None, at_least: list[str] | None) -> tuple[Any, ...]:
    from engine.selection.quotas import quota_of

    lower = [quota_of(text, "at-least") for text in at_least or ()]
    return (*lower, *(quota_of(text, "at-most") for text in at_most or ()))


def _filters(text: str) -> tuple[Any, ...]:
    from engine.curation.filters import decode

    try:
        return decode(text) if text else ()
    except EngineError as error:
        raise EngineError(
            f"where is not readable as a list of filters, each a kind, a subject and values: {error}"
        ) from error


def _one_of(value: str, allowed: tuple[str, ...], what: str) -> None:
    if value not in allowed:
        raise WrongUsage(f"There is no {what} {value!r}; available: {', '.join(allowed)}.")


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without an entry in the password file
        return "unknown"
