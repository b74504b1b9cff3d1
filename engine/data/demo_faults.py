"""The faults laid into the demo pool, and the guide that says where each can be seen.

Notation: a *planted* row is a draft with the messages it will have in the pool and the fault it carries, if any.
A fault changes a row or adds one; at most one fault per row. Finding faults is not done here (`signals`, the scores).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from engine.data.demo_samples import Draft

Fault = Literal["wrong-answer", "swapped-answer", "truncated", "duplicate", "leak"]

GUIDE: dict[Fault, str] = {
    "wrong-answer": "A result, a name or a line of code is wrong. On the map or in Review, filter by the signal "
    "'surprising answer': the model finds the response far less likely than those of similar samples. It misses some.",
    "swapped-answer": "The answer belongs to another question. The same signal finds nearly all of them.",
    "truncated": "The answer stops in the middle. Filter by the signal 'looks truncated'.",
    "duplicate": "The sample repeats an earlier one, word for word or nearly. Filter by the signal 'near-duplicate'.",
    "leak": "The sample is an item of a target set, so its score says nothing. Filter by the signal 'leak' before "
    "trusting the top of a list.",
}


@dataclass(frozen=True, slots=True)
class Planted:
    """One row of the pool to be: its draft, its response as it will stand there, its fault and what that refers to.

    `key` names the row until ids are given; `of` is the key of the row, or the id of the target item, concerned.
    """

    key: int
    draft: Draft
    fault: Fault | None = None
    of: int | str | None = None


def plant(drafts: Sequence[Draft], leaks: Sequence[tuple[str, Draft]], *, share: float, rng: Random) -> list[Planted]:
    """The drafts with faults: `share` of them for each kind but leaks, of which every one of `leaks` is added.

    Wrong, swapped and truncated answers replace the right ones; duplicates and leaks are further rows. Order: the
    drafts, then the added rows.
    """
    rows = [Planted(at, draft) for at, draft in enumerate(drafts)]
    count = round(share * len(rows))
    order = rng.sample(range(len(rows)), len(rows))
    for spoil in (_wrong, _swapped, _truncated):
        spoil(rows, _take(rows, order, count, _FIT[spoil]), rng)
    copies = [replace(rows[at], fault="duplicate", of=at) for at in _take(rows, order, count, lambda _: True)]
    added = [replace(row, draft=_retouched(row.draft, rng)) for row in copies]
    added += [Planted(0, _retouched(draft, rng), "leak", item) for item, draft in leaks]
    return rows + [replace(row, key=len(rows) + at) for at, row in enumerate(added)]


def _take(rows: list[Planted], order: list[int], count: int, fit: Callable[[Draft], bool]) -> list[int]:
    """Take the first `count` fitting rows out of `order`, so that no row is taken twice."""
    taken = [at for at in order if fit(rows[at].draft)][:count]
    chosen = set(taken)
    order[:] = [at for at in order if at not in chosen]
    return taken


def _wrong(rows: list[Planted], chosen: list[int], rng: Random) -> None:
    for at in chosen:
        draft = rows[at].draft
        rows[at] = replace(rows[at], draft=replace(draft, response=draft.wrong or ""), fault="wrong-answer")


def _swapped(rows: list[Planted], chosen: list[int], rng: Random) -> None:
    """Exchange answers pair by pair: half of the pairs within one source, the others as they come."""
    half = len(chosen) // 2
    within = sorted(chosen[:half], key=lambda at: rows[at].draft.source)
    for group in (within, chosen[half:]):
        for one, two in zip(group[::2], group[1::2]):
            first, second = rows[one].draft, rows[two].draft
            if first.response == second.response:
                continue
            rows[one] = Planted(one, replace(first, response=second.response), "swapped-answer", two)
            rows[two] = Planted(two, replace(second, response=first.response), "swapped-answer", one)


def _truncated(rows: list[Planted], chosen: list[int], rng: Random) -> None:
    for at in chosen:
        text = rows[at].draft.response
        cut = text[: rng.randint(len(text) * 3 // 10, len(text) * 8 // 10)].rstrip()
        rows[at] = replace(rows[at], draft=replace(rows[at].draft, response=cut), fault="truncated")


_FIT: dict[Callable[[list[Planted], list[int], Random], None], Callable[[Draft], bool]] = {
    _wrong: lambda draft: draft.wrong is not None,
    _swapped: lambda draft: True,
    _truncated: lambda draft: len(draft.response) >= 24,
}


def _retouched(draft: Draft, rng: Random) -> Draft:
    """The draft as a careless scraper would repeat it: half the time unchanged, else with a small change."""
    prompt = draft.prompt
    changed = rng.choice(
        (
            prompt,
            prompt,
            prompt,
            f"Question: {prompt}",
            f"{prompt} Thank you!",
            prompt[:1].lower() + prompt[1:],
        )
    )
    return replace(draft, prompt=changed)
