"""Choosing k rows that together represent the pool, a target, what is not owned yet, or that are good and diverse.

Notation as in `strategies`, `kernels` and `objectives`. Included rows are taken first and count towards k; excluded
rows are never taken and are represented all the same, unless `represented` leaves them out. A row without features is
taken only if included. In place of k stands a `Room` where the budget is of tokens or words, or there are quotas.
METHODS section 2, "Subset selection". Pure functions of arrays: knows no decisions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np

from engine.errors import EngineError
from engine.progress import Reporter
from engine.selection.account import Account
from engine.selection.greedy import Picks, lazy_greedy, sample_size, stochastic_greedy
from engine.selection.kernels import Kernel
from engine.selection.menu import GREEDY_NAMES, Greedy
from engine.selection.objectives import (
    Diverse,
    GraphCut,
    Objective,
    conditional_gain,
    facility_location,
    mutual_information,
    quality_of,
)
from engine.selection.room import Room
from engine.selection.strategies import Chosen, Rows, masks_of, wanted_of

Submodular = Literal["facility-location", "mutual-information", "conditional-gain", "graph-cut", "diverse"]
SUBMODULAR_NAMES: tuple[str, ...] = get_args(Submodular)
LAZY_UP_TO = 300_000  # candidates; `auto` samples beyond


@dataclass(frozen=True)
class _Asked:
    """What the objectives are made from; `own` (n,) is the array that the strategy needs, empty where it needs none."""

    kernel: Kernel
    k: int
    represented: np.ndarray | None
    own: np.ndarray
    eta: float
    nu: float
    cut: float
    tradeoff: float


def select_submodular(
    kernel: Kernel,
    k: int | Room,
    *,
    strategy: Submodular,
    score: np.ndarray | None = None,
    target_best: np.ndarray | None = None,
    owned_best: np.ndarray | None = None,
    include: Rows = None,
    exclude: Rows = None,
    represented: np.ndarray | None = None,
    greedy: Greedy = "auto",
    epsilon: float = 0.1,
    seed: int = 0,
    eta: float = 1.0,
    nu: float = 1.0,
    cut: float = 2.0,
    tradeoff: float = 0.5,
    ties: Rows = None,
    reporter: Reporter | None = None,
) -> Chosen:
    """The included rows and those that add most to the objective of `strategy`, k in all, with `order` and `gains`.

    `target_best` (n,) is what `mutual-information` needs, `owned_best` (n,) `conditional-gain`, `score` (n,)
    `diverse` (rows of NaN are not chosen); each is refused elsewhere. `represented` bool (n,) is V, all rows if None.
    Rows that add equally much go by `ties` (n,), highest first, then by row.
    `greedy` auto is lazy up to `LAZY_UP_TO` candidates and stochastic beyond; the notes say which it was.
    Raises `EngineError` as `select_top` does, and on what the objectives refuse.
    """
    _check_names(strategy, greedy)
    own = _own(strategy, {"score": score, "target_best": target_best, "owned_best": owned_best})
    inside, free = masks_of(len(kernel), k, include, exclude)
    able = kernel.usable if score is None else kernel.usable & ~np.isnan(_row_values(score, len(kernel)))
    candidates = np.flatnonzero(free & able)
    lacking = "features" if score is None else "features or a score"
    room = k if isinstance(k, Room) else None
    expected = k if not isinstance(k, Room) else max(k.expected(candidates), len(inside) + 1)
    wanted = expected - len(inside) if room else wanted_of(expected, inside, len(candidates), lacking=lacking)
    shown = None if represented is None else _row_values(represented, len(kernel)).astype(bool)
    if strategy == "graph-cut" and shown is not None and not shown[np.concatenate([inside, candidates])].all():
        raise EngineError(
            "Graph cut needs all samples that may be chosen to be represented, or adding a sample could make the "
            "choice worth less. Exclude the others; nothing was selected."
        )
    asked = _Asked(kernel, expected, shown, own, eta, nu, cut, tradeoff)
    lazily = greedy == "lazy" or (greedy == "auto" and len(candidates) <= LAZY_UP_TO)
    search = _Search(lazily, candidates, inside, epsilon, seed, ties, reporter)
    made = partial(_OBJECTIVES[strategy], asked)
    picks = search.run(made(), expected) if room is None else _in_room(search, made, room, expected)
    how = _lazy_note() if lazily else _stochastic_note(sample_size(len(candidates), wanted, epsilon), epsilon)
    return _chosen(picks, len(inside), (how, *_notes(picks, kernel)))


@dataclass(frozen=True)
class _Search:
    """How the rows are searched; see `greedy`."""

    lazily: bool
    candidates: np.ndarray
    inside: np.ndarray
    epsilon: float
    seed: int
    ties: Rows
    reporter: Reporter | None

    def run(self, objective: Objective, k: int, *, account: Account | None = None, expected: int = 0) -> Picks:
        """k rows, or as many as the account lets in."""
        common = {"candidates": self.candidates, "start": self.inside, "ties": self.ties, "account": account}
        if self.lazily:
            return lazy_greedy(objective, k, reporter=self.reporter, **common)  # type: ignore[arg-type]
        drawn = {"epsilon": self.epsilon, "seed": self.seed, "expected": expected}
        return stochastic_greedy(objective, k, reporter=self.reporter, **common, **drawn)  # type: ignore[arg-type]


def _in_room(search: _Search, objective: Callable[[], Objective], room: Room, expected: int) -> Picks:
    """As many rows as fit; once more with all of the budget held where quotas on several columns ended it early."""
    inside, candidates = search.inside, search.candidates
    order = candidates if search.ties is None else candidates[np.argsort(-search.ties[candidates], kind="stable")]
    most = len(inside) + len(candidates)
    most = min(most, room.budget) if room.exact else most
    account = room.account(inside, order)
    picks = search.run(objective(), most, account=account, expected=expected)
    if room.tangled and room.short(account.counted) and len(inside) + len(candidates) >= room.budget:
        account = room.account(inside, order, exactly=True)
        picks = search.run(objective(), most, account=account, expected=expected)
    room.refuse(account.counted, len(inside) + len(candidates))
    return picks


def knee(gains: np.ndarray) -> int:
    """After how many picks the curve of what was gained bends most, from the `gains` (k,) in the order of the picks.

    The point of the curve furthest above the straight line from nothing to all of it (Satopää et al. 2011). k where the
    curve does not bend, 0 where nothing was gained.
    """
    added = np.asarray(gains, np.float64)
    if added.ndim != 1 or not np.isfinite(added).all():
        raise EngineError(f"The gains of the picks in their order are needed, got shape {added.shape}.")
    total = float(added.sum())
    if total <= 0:
        return 0
    above = np.cumsum(added) / total - np.arange(1, len(added) + 1) / len(added)
    at = int(np.argmax(above))
    return at + 1 if above[at] > 1e-9 else len(added)


# how each strategy's objective is made
_OBJECTIVES: dict[str, Callable[[_Asked], Objective]] = {
    "facility-location": lambda a: facility_location(a.kernel, represented=a.represented),
    "mutual-information": lambda a: mutual_information(a.kernel, a.own, eta=a.eta, represented=a.represented),
    "conditional-gain": lambda a: conditional_gain(a.kernel, a.own, nu=a.nu, represented=a.represented),
    "graph-cut": lambda a: GraphCut(a.kernel, cut=a.cut, represented=a.represented),
    "diverse": lambda a: Diverse(a.kernel, quality_of(a.own), a.k, tradeoff=a.tradeoff, represented=a.represented),
}
# the array that a strategy needs beside the kernel; the others need none
NEEDS: dict[str, str] = {"mutual-information": "target_best", "conditional-gain": "owned_best", "diverse": "score"}


def _chosen(picks: Picks, included: int, notes: tuple[str, ...]) -> Chosen:
    """The picks as a choice in row order, each with its reason."""
    total = float(picks.gains.sum())
    texts = ["approved"] * included
    for turn, gain in enumerate(picks.gains[included:].tolist(), start=1):
        share = f"{100 * gain / total:.2g} % of what was gained" if gain > 0 else "nothing"
        texts.append(f"pick {turn:,}, adds {share}")
    order = np.argsort(picks.order)
    reasons = [texts[at] for at in order.tolist()]
    return Chosen(picks.order[order], reasons, notes=notes, order=picks.order, gains=picks.gains)


def _notes(picks: Picks, kernel: Kernel) -> tuple[str, ...]:
    """What a reader should know of the outcome."""
    idle, blank = int((picks.gains <= 0).sum()), int((~kernel.usable).sum())
    notes = []
    if idle:
        notes.append(f"{idle:,} of the {len(picks.gains):,} samples added nothing: fewer would do as well.")
    if blank:
        notes.append(f"{blank:,} samples are without features; no other sample represents them.")
    return tuple(notes)


def _lazy_note() -> str:
    return "Lazy greedy: what is gained is at least 1 − 1/e (63 %) of what the best samples would gain."


def _stochastic_note(size: int, epsilon: float) -> str:
    return (
        f"Stochastic greedy, {size:,} random candidates a pick: what is gained is at least 1 − 1/e − {epsilon:g} "
        f"({100 * (1 - np.exp(-1) - epsilon):.0f} %) of what the best samples would gain, on average."
    )


def _check_names(strategy: str, greedy: str) -> None:
    if strategy not in SUBMODULAR_NAMES:
        raise EngineError(f"Unknown strategy {strategy!r}: expected one of {', '.join(SUBMODULAR_NAMES)}.")
    if greedy not in GREEDY_NAMES:
        raise EngineError(f"Unknown search {greedy!r}: expected one of {', '.join(GREEDY_NAMES)}.")


def _own(strategy: str, arrays: dict[str, np.ndarray | None]) -> np.ndarray:
    """The array that the strategy needs, if any; raises if it is missing or another one is given."""
    for name, array in arrays.items():
        if (NEEDS.get(strategy) == name) != (array is not None):
            verb = "needs" if array is None else "does not use"
            raise EngineError(f"The strategy {strategy} {verb} {name}. Nothing was selected.")
    given = next((array for array in arrays.values() if array is not None), None)
    return np.zeros(0) if given is None else np.asarray(given)


def _row_values(values: np.ndarray, n: int) -> np.ndarray:
    given = np.asarray(values)
    if given.shape != (n,):
        raise EngineError(f"One value per sample is needed ({n:,}), got shape {given.shape}. Nothing was selected.")
    return given
