"""What filters, guards and quotas go by besides the pool: the runs, map, signals, tags and selections they look at.

    record(facts, parts=choice.within, guards=choice.guards, columns=["cluster"])

A mark goes by the latest run, a cluster by the latest map, a guard by the latest signals, and none of them says which;
so a selection keeps the record of those that were the latest when it was made (`went_by`), and can be made again as it
was. Decisions are not told: a selection knows the batch of them. What a filter names by itself (the run of a score, the
texts of a search) stands in the filter. Reads what there is now and computes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engine.curation import guards, marks, signals, tagged
from engine.curation.facts import ROLES, Facts
from engine.curation.filters import Filter

What = Literal["map", "signals", "near", "guide", "judge", "tags", "selection"]
_ON_MAP = {"lasso", "box", "cluster", "similar"}


@dataclass(frozen=True)
class Need:
    """One thing that is looked at; `name` tells which artifact of nearness (near), or "VERSION/NAME" (selection)."""

    what: What
    name: str = ""


def record(
    facts: Facts, *, parts: Sequence[Filter] = (), guards: Sequence[str] = (), columns: Sequence[str] = ()
) -> dict[str, Any]:
    """What filters, guards (as texts) and further columns go by, as it stands now, in JSON values.

    `map` and `signals` are artifacts, `near` the artifacts of nearness to sets beside the pool, `runs` names, `tags`
    the number of the latest batch of tags, `selections` lists of name and version. Nothing that is not needed or is not
    there is told.
    """
    needs = {*_of_parts(facts, parts), *_of_guards(facts, guards)}
    needs |= {need for name in columns for need in _of_column(facts, name)}
    asked = {need.what for need in needs}
    finders = (("guide", facts.guide), ("judge", facts.judge))  # the judge reads scores: looked for where it is needed
    runs = [run for what, found_by in finders if what in asked and (run := found_by())]
    found: dict[str, Any] = {
        "map": facts.latest_map() if "map" in asked else None,
        "signals": facts.latest_signals() if "signals" in asked else None,
        "near": sorted(need.name for need in needs if need.what == "near"),
        "runs": list(dict.fromkeys(run.name for run in runs)),
        "tags": int(tagged.version(facts)) if "tags" in asked else None,
        "selections": [[*_named(need.name)] for need in sorted(needs, key=_place) if need.what == "selection"],
    }
    return {name: value for name, value in found.items() if value not in (None, [])}


def _of_parts(facts: Facts, parts: Sequence[Filter]) -> Iterator[Need]:
    for part in parts:
        if part.kind in _ON_MAP:
            yield Need("map")
        elif part.kind in ("number", "value"):
            yield from _of_column(facts, part.subject)
        elif part.kind == "mark":
            for name in part.values:
                yield from _of_mark(facts, str(name))


def _of_guards(facts: Facts, texts: Sequence[str]) -> Iterator[Need]:
    known = guards.known(facts)
    for text in texts:
        yield from _of_mark(facts, guards.guard_of(text, known).name)


def _of_column(facts: Facts, name: str) -> Iterator[Need]:
    family, _, rest = name.partition("/")
    if family == "cluster":
        yield Need("map")
    elif family == "tag":
        yield Need("tags")
    elif family in ("selection", "weight"):
        yield Need("selection", rest)
    elif family == "signal":
        yield from _of_mark(facts, rest)


def _of_mark(facts: Facts, name: str) -> Iterator[Need]:
    """A mark or a signal, looked for where `marks.marked` looks for it."""
    found = signals.signals_of(facts)
    if name in found.columns:
        folder = found.folders[name].name
        near = folder.startswith(f"{signals.CLOSENESS}-")
        yield from (Need("map"), Need("near", folder)) if near else (Need("signals"),)
    elif name == marks.SURPRISING:
        yield from (Need("judge"), Need("map"), Need("signals"))
    elif name in ROLES.values():
        yield Need("guide")


def _place(need: Need) -> tuple[str, int]:
    name, version = _named(need.name) if need.what == "selection" else ("", 0)
    return name, version


def _named(rest: str) -> tuple[str, int]:
    version, _, name = rest.partition("/")
    return name, int(version)
