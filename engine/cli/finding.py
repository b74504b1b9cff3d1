"""The command that searches the pool: find."""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer

from engine.cli.app import app, note, project_at
from engine.cli.data import ProjectPath
from engine.cli.following import wait_for
from engine.cli.output import print_json, print_table
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.store.project import Project

Mode = Literal["words", "phrase", "regex", "meaning", "like"]
In = Literal["prompt", "response", "both"]
MANY_ROWS = 20_000  # beyond, what a search needs is prepared by a job, which tells its progress
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


@app.command()
def find(
    project: ProjectPath,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for; with --mode like a sample's id.")],
    mode: Annotated[Mode, typer.Option(help="Words, phrase, RE2, meaning, or like a sample.")] = "words",
    where: Annotated[In, typer.Option("--in", help="Where to look; both means the whole sample.")] = "both",
    limit: Annotated[int, typer.Option(min=0, help="Most samples to print, 0 for all that match.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print versioned JSON instead of a table.")] = False,
) -> None:
    """Find samples of the pool by their words or their meaning; prints their ids and where they match.

    In words, "quotes" hold a phrase together, an asterisk stands for the end of a word, and a minus leaves samples out.
    """
    from engine.curation.search_marks import bracketed

    place = project_at(project)
    rows = place.counts().pool
    if not rows:
        raise EngineError(f"The pool of {place.path} is empty. Add samples with add-pool first. Nothing was searched.")
    if mode in ("meaning", "like"):
        found, alike = _by_likeness(place, query, mode, where, limit or rows)
        total = len(found)
    else:
        matching = np.flatnonzero(_by_text(place, query, mode, where))
        total, alike = len(matching), None
        found = matching[:limit] if limit else matching
    listed = _described(place, found, alike, query, mode, where)
    if as_json:
        plain = [{name: value for name, value in match.items() if name != "pieces"} for match in listed]
        print_json(query=query, mode=mode, where=where, searched=rows, found=total, matches=plain)
        return
    head = ("id", *(("likeness",) if alike is not None else ()), "in", "text")
    cells = [
        (
            _shown(m["id"]),
            *((f"{m['likeness']:.3f}",) if alike is not None else ()),
            m["in"],
            _shown(bracketed(m["pieces"])),
        )
        for m in listed
    ]
    print_table(head, cells, empty="Nothing found.")
    if alike is None:
        note(f"{total:,} of {rows:,} samples match" + (f"; {len(found):,} are shown" if len(found) < total else ""))


def _by_text(place: "Project", query: str, mode: str, where: str) -> Any:
    from engine.curation import texts
    from engine.curation.search_text import search
    from engine.curation.search_words import TextQuery
    from engine.runs import search_jobs

    asked = TextQuery.of(query, mode)
    if sum(part.count for part in texts.missing(place)) > MANY_ROWS:
        wait_for(place, search_jobs.begin(place, "texts"))
    return search(place, asked, where=where)


def _by_likeness(place: "Project", query: str, mode: str, where: str, k: int) -> tuple[Any, Any]:
    from engine.curation.facts import Facts
    from engine.curation.search_filters import ranked
    from engine.runs import search_jobs
    from engine.runs.finding import prepare_question, side_encoded

    facts = Facts(place)
    if mode == "like":
        found = ranked(facts, "sample", (query, k + 1))
        others = found.rows != place.row_of(query)
        return found.rows[others][:k], found.likeness[others][:k]
    side = "sample" if where == "both" else where
    if facts.latest_map() is not None and not side_encoded(place, side):
        wait_for(place, search_jobs.begin(place, side))
    prepare_question(place, query, side=side)
    found = ranked(facts, "query" if side == "sample" else f"query/{side}", (query, k))
    return found.rows, found.likeness


def _described(place: "Project", rows: Any, alike: Any, query: str, mode: str, where: str) -> list[dict[str, Any]]:
    """What is printed of each row: where it is, which text it is found in, and an excerpt."""
    from engine.curation.search_marks import first_excerpt
    from engine.curation.search_words import MODES, TextQuery
    from engine.curation.texts import sides

    asked = TextQuery.of(query, mode) if mode in MODES else None
    found = []
    for at, row in enumerate(place.rows(rows)):
        turns = sides([(message.role, message.content) for message in row.messages])
        side, pieces = first_excerpt(turns if where == "both" else {where: turns[where]}, asked)
        entry = {"id": row.id, "row": int(rows[at]), "file": row.file, "line": row.line, "in": side}
        if alike is not None:
            entry["likeness"] = float(alike[at])
        matched = [piece for piece, is_found in pieces if is_found]
        found.append({**entry, "excerpt": "".join(piece for piece, _ in pieces), "matched": matched, "pieces": pieces})
    return found


def _shown(text: str) -> str:
    """Text of the pool on a terminal: nothing in it moves the cursor, colours or turns the reading direction."""
    return _CONTROL.sub("\ufffd", text)
