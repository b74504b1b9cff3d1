"""Groups of copies, one beside the other: which one stays, and one press that rejects the others.

Shown first are repeated samples, prompt and answer: near-duplicates that only share a long prompt hold answers of their
own, and are rejected only by whoever asks for all near-duplicates.
Which stays is chosen by a rule for all groups (`engine.curation.signals.Keep`). Samples that a person has approved are
never rejected here. What is rejected is one batch, which one undo takes back.
"""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from engine.curation.signals import COPIES, KEEPS, Keep, copies, groups, signals_of, version
from engine.data.samples import prompt_text, response_text
from engine.errors import EngineError
from engine.store.decisions import DECISIONS
from engine.store.project import Project
from pages.parts import filters, reads, state
from pages.parts.tables import table
from pages.parts.words import count, plain, shorten

PER_PAGE, MOST_LINES = 5, 20
REPEATS = "what is repeated"
KEEP_WORDS = {
    "first": "the first of the pool",
    "longest": "the longest",
    "highest score": "the one with the highest score",
    "approved first": "an approved one, else the first",
}


@dataclass(frozen=True)
class Groups:
    """The rows of groups of two and more, group by group: rows[starts[g]:starts[g+1]]; the largest group first."""

    rows: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        """How many groups there are."""
        return len(self.starts) - 1


def browser(project: Project) -> None:
    """A closed box that opens on the groups."""
    box = st.expander("Browse the groups and keep one of each", key="copies_box", on_change="rerun")
    if box.open:
        with box:
            _browse(project)


def _browse(project: Project) -> None:
    found = signals_of(reads.facts(project))
    there = [name for name in COPIES if name in found.columns]
    line = st.container(horizontal=True, vertical_alignment="bottom")  # one below the other where narrow
    name = line.segmented_control("Copies", there, default=there[-1], required=True, key="copies_kind",
                                  format_func=lambda name: found.columns[name].title)  # fmt: skip
    run = reads.facts(project).guide()
    policies = [keep for keep in KEEPS if keep != "highest score" or run is not None]
    keep = line.selectbox("Of each group stays", policies, key="copies_keep", width=300,
                          format_func=KEEP_WORDS.__getitem__)  # fmt: skip
    st.caption(plain(found.columns[str(name)].explanation))
    all_groups = _groups(project, str(name))
    others = copies(reads.facts(project), str(name), keep=keep, run=run.name if run else "")
    _reject(project, str(name), keep, others, len(all_groups))
    if len(all_groups):
        _page(project, str(name), all_groups, others)


def _groups(project: Project, name: str) -> Groups:
    facts = reads.facts(project)

    def compute() -> Groups:
        first = groups(signals_of(facts), name)
        sizes = np.bincount(first, minlength=facts.n)
        inside = np.flatnonzero(sizes[first] > 1)
        order = inside[np.lexsort((inside, first[inside], -sizes[first[inside]]))]
        begins = np.flatnonzero(np.r_[True, first[order][1:] != first[order][:-1]]) if len(order) else order
        return Groups(order, np.append(begins, len(order)))

    return reads.by_pool(project, "groups of copies", compute, name, version(facts))


def _repeats(project: Project, rows: list[int]) -> list[str] | None:
    """What each row repeats of near-duplicates before it, "" for nothing; None where the check did not tell."""
    found = signals_of(reads.facts(project))
    if REPEATS not in found.columns:
        return None
    codes, names = found.array(REPEATS), found.columns[REPEATS].categories
    return [names[int(codes[row])] if row < len(codes) and codes[row] else "" for row in rows]


def _reject(project: Project, name: str, keep: Keep, others: np.ndarray, number: int) -> None:
    codes = reads.decisions(project)
    spared = others & (codes == DECISIONS["approve"])
    rows = np.flatnonzero(others & ~spared & (codes != DECISIONS["reject"]))
    done = int((others & (codes == DECISIONS["reject"])).sum())
    said = [f"{count(number, 'group')} with {count(int(others.sum()), 'sample')} beside those that stay"]
    said += [f"{count(done, 'of them is', 'of them are')} rejected already"] if done else []
    left = int(spared.sum())
    said += [f"{count(left, 'approved one')} will be left as {'it is' if left == 1 else 'they are'}"] if left else []
    st.caption(plain("; ".join(said) + "."))
    with st.container(horizontal=True):
        st.button(f"Reject the other {len(rows):,}", key="copies_reject", icon=":material/close:",
                  disabled=not len(rows), on_click=_decide,
                  args=(project, rows, f"{name}: kept {KEEP_WORDS[keep]}"))  # fmt: skip
        st.button("Undo", key="copies_undo", icon=":material/undo:", on_click=_undo, args=(project,),
                  help="Takes back your latest decision, however many samples it was about.")  # fmt: skip


def _decide(project: Project, rows: np.ndarray, note: str) -> None:
    try:
        project.decide(rows, "reject", by=state.author(), note=note)
    except EngineError as error:
        state.notify(str(error), "error")
    else:
        state.notify(f"{count(len(rows), 'sample')} rejected. One undo takes all of it back.")


def _undo(project: Project) -> None:
    try:
        touched = project.undo(by=state.author())
    except EngineError as error:
        state.notify(str(error), "error")
    else:
        state.notify(
            f"{count(touched, 'sample')} set back." if touched else "There is nothing of yours to undo.", "info"
        )


def _page(project: Project, name: str, found: Groups, others: np.ndarray) -> None:
    """A few groups, each as a table of its samples."""
    pages = -(-len(found) // PER_PAGE)
    page = int(st.number_input("Page of groups", 1, pages, 1, key="copies_page", width=160)) if pages > 1 else 1
    decisions = reads.decisions(project)
    for number in range((page - 1) * PER_PAGE, min(page * PER_PAGE, len(found))):
        rows = found.rows[found.starts[number] : found.starts[number + 1]]
        rows = rows[np.argsort(others[rows], kind="stable")]  # the one that stays first
        st.caption(f"Group {number + 1:,}: {count(len(rows), 'sample')}")
        shown = rows[:MOST_LINES].tolist()
        repeats = _repeats(project, shown) if name == "near-duplicate" else None
        table(
            [
                {
                    "Stays": "yes" if not others[row] else "",
                    "Sample": shorten(stored.id, 40),
                    "Decision": filters.decision_name(int(decisions[row])),
                    **({"Repeats": repeats[at]} if repeats is not None else {}),
                    "Words": stored.words,
                    "Prompt": shorten(prompt_text(stored.messages), 120),
                    "Response": shorten(response_text(stored.messages), 120),
                }
                for at, (row, stored) in enumerate(zip(shown, reads.samples(project, shown), strict=True))
            ]
        )
        if len(rows) > MOST_LINES:
            st.caption(f"and {len(rows) - MOST_LINES:,} more")
