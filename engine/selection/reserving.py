"""Which rows to hold back so that every minimum can be met, and what is missing where it cannot.

Notation as in `account` and `quotas`; a *cell* is the set of the groups a row is in, so that rows of one cell are alike
to the quotas. With minimums on one column each group holds its own best rows, or where the budget is of tokens or words
its cheapest. With minimums or caps on more columns and a budget of rows, how many rows of each cell suffice is a small
integer program over the cells, solved exactly. With a budget of tokens or words and quotas on more columns, or minimums
that are shares of it, rows are gathered one minimum after the other, scarcest first: that may overlook a way there is,
and the error says so. Pure functions of arrays.
"""

from dataclasses import replace

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array, hstack

from engine.errors import EngineError
from engine.selection.account import Account
from engine.selection.quotas import NONE, Group, Limits

_UNTOUCHED = "Nothing was selected."


def account_for(
    budget: int,
    limits: Limits,
    *,
    inside: np.ndarray,
    order: np.ndarray,
    costs: np.ndarray | None = None,
    exactly: bool = False,
) -> Account:
    """An account with `inside` put in that holds back what the minimums need.

    `inside` are row numbers that are in whatever holds; `order` (m,) the others that may be chosen, best first: of
    equally useful rows the first are held. `exactly`: all of a budget of rows must be used, for quotas on several
    columns, where a greedy choice may end early. Raises `EngineError` where the rows put in break budget or caps, and
    where budget, caps and minimums cannot be met together, naming what lacks how many.
    """
    check_inside(budget, limits, inside, costs)
    if exactly:
        limits = _with_all(limits, budget)
    if not limits.lower:
        found = Account(budget, limits, costs=costs)
    else:
        _check_single(limits, inside, order, costs)
        held = _held(budget, limits, inside, order, costs)
        found = Account(budget, limits, costs=costs, held=held)
    found.put(inside)
    return found


def check_inside(budget: int, limits: Limits, inside: np.ndarray, costs: np.ndarray | None) -> None:
    """Raise `EngineError` where the rows that must be in are too many for the budget or for a cap."""
    spent = len(inside) if costs is None else int(costs[inside].sum())
    if spent > budget:
        held = "" if costs is None else f" and hold {spent:,}"
        raise EngineError(
            f"{len(inside):,} samples are approved{held}, more than the {budget:,} asked for, and approved samples are "
            f"always in. Ask for at least {spent} or take approvals back. {_UNTOUCHED}"
        )
    rows = limits.counts(inside)
    of_cost = rows if costs is None else limits.counts(inside, costs)
    for group, number, cost in zip(limits.groups, rows.tolist(), of_cost.tolist(), strict=True):
        if number > group.most or cost > group.most_cost:
            most, has = (group.most, number) if number > group.most else (group.most_cost, cost)
            raise EngineError(
                f"{group.name} may be at most {most:,}, and {has:,} are approved, which are always in. Allow more, or "
                f"take approvals back. {_UNTOUCHED}"
            )


def shortages(limits: Limits, rows: np.ndarray, costs: np.ndarray | None) -> list[tuple[Group, int, int]]:
    """Each group whose minimum `rows` (numbers) alone do not meet: what is asked and what there is, short of it."""
    number = limits.counts(rows)
    cost = number if costs is None else limits.counts(rows, costs)
    found = []
    for at, group in enumerate(limits.groups):
        if number[at] < group.least:
            found.append((group, group.least, int(number[at])))
        elif cost[at] < group.least_cost:
            found.append((group, group.least_cost, int(cost[at])))
    return found


def _check_single(limits: Limits, inside: np.ndarray, order: np.ndarray, costs: np.ndarray | None) -> None:
    """Refuse minimums of groups that do not have so much, whatever else is asked."""
    lacking = [
        f"{group.name} needs {asked:,} and has {there:,} that can be chosen, {asked - there:,} too few"
        for group, asked, there in shortages(limits, np.concatenate([inside, order]), costs)
        if group.name != _ALL
    ]
    if lacking:
        raise EngineError(f"The quotas cannot be met: {'; '.join(lacking)}. Ask for less of it. {_UNTOUCHED}")


def _held(budget: int, limits: Limits, inside: np.ndarray, order: np.ndarray, costs: np.ndarray | None) -> np.ndarray:
    if len(limits.member) == 1:
        held = _gathered(limits, inside, order, costs)
        _check_total(budget, limits, inside, held, costs)
        return held
    if costs is not None:
        held = _gathered(limits, inside, order, costs)
        _check_total(budget, limits, inside, held, costs)
        return held
    return _by_cells(budget, limits, inside, order)


def _gathered(limits: Limits, inside: np.ndarray, order: np.ndarray, costs: np.ndarray | None) -> np.ndarray:
    """Rows for one minimum after the other, the scarcest group first: the best rows, or by cost the cheapest."""
    there = limits.counts(order) + 1
    needs = sorted(range(len(limits.groups)), key=lambda g: there[g] / max(1, limits.groups[g].least))
    sizes = np.ones(limits.member.shape[1], np.int64) if costs is None else costs
    account = Account(int(np.iinfo(np.int64).max), _caps_only(limits), costs=costs)
    account.put(inside)
    cheap = order if costs is None else order[np.argsort(costs[order], kind="stable")]
    found: list[np.ndarray] = []
    for g in needs:
        group, member = limits.groups[g], limits.member[limits.groups[g].column]
        own = cheap[member[cheap] == g]
        taken = account.taken & (member == g)
        rows, spent = int(taken.sum()), int(sizes[taken].sum())
        want = max(0, group.least - rows)
        if group.least_cost > spent:
            total = np.cumsum(sizes[own])
            want = max(want, int(np.searchsorted(total, group.least_cost - spent)) + 1)
        if not want:
            continue
        own = own[account.may(own)]
        if group.least_cost > spent:
            own, want = _pruned(own[:want], sizes, group.least_cost - spent, max(0, group.least - rows))
        picked = account.fill(own[:want]) if len(limits.member) == 1 else _first(account, own, want)
        found.append(picked)
    held = np.concatenate([np.zeros(0, np.int64), *found])
    _check_caps(limits, np.concatenate([inside, held]), costs)
    return held


def _pruned(rows: np.ndarray, sizes: np.ndarray, cost: int, least: int) -> tuple[np.ndarray, int]:
    """The rows without those that neither `cost` nor `least` rows need, the most expensive left out first; how many."""
    over, count, kept = int(sizes[rows].sum()) - cost, len(rows), []
    for row in reversed(rows.tolist()):
        if sizes[row] <= over and count > least:
            over, count = over - int(sizes[row]), count - 1
        else:
            kept.append(row)
    return np.array(kept[::-1], np.int64), len(kept)


def _first(account: Account, rows: np.ndarray, want: int) -> np.ndarray:
    """The first `want` rows that the caps let in."""
    found: list[int] = []
    for row in rows.tolist():
        if len(found) == want:
            break
        if account.take(row):
            found.append(row)
    return np.array(found, np.int64)


def _check_caps(limits: Limits, rows: np.ndarray, costs: np.ndarray | None) -> None:
    lacking = [
        f"{group.name} lacks {asked - there:,} of {asked:,}" for group, asked, there in shortages(limits, rows, costs)
    ]
    if lacking:
        raise EngineError(
            f"No way was found to meet all quotas at once: under the caps, {'; '.join(lacking)}. Widen a cap or ask "
            f"for less. {_UNTOUCHED}"
        )


def _check_total(budget: int, limits: Limits, inside: np.ndarray, held: np.ndarray, costs: np.ndarray | None) -> None:
    rows = np.concatenate([inside, held])
    spent = len(rows) if costs is None else int(costs[rows].sum())
    if spent > budget:
        rounded = len(limits.member) > 1 or any(group.least_cost for group in limits.groups)
        several = " (at the least that was found)" if rounded else ""
        approved = f" and the {len(inside):,} approved samples" if len(inside) else ""
        raise EngineError(
            f"The minimums{approved} need {spent:,}{several}, {spent - budget:,} more than the budget of {budget:,}. "
            f"Raise the budget or ask for less. {_UNTOUCHED}"
        )


def _by_cells(budget: int, limits: Limits, inside: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The fewest rows that meet all minimums under all caps: how many of each cell, of which the best are held."""
    if not len(order):
        return order
    key = np.zeros(len(order), np.int64)
    for member in limits.member:
        key = key * (len(limits.groups) + 1) + member[order] + 1
    cells, first, cell_of = np.unique(key, return_index=True, return_inverse=True)
    groups = limits.member[:, order[first]]  # (columns, cells)
    column, at = np.nonzero(groups >= 0)
    shape = (len(limits.groups), len(cells))
    matrix = csr_array(coo_array((np.ones(len(at)), (groups[column, at], at)), shape=shape))
    put = limits.counts(inside)
    least = np.maximum([g.least for g in limits.groups] - put, 0).astype(float)
    most = np.array([np.inf if g.most == NONE else g.most - p for g, p in zip(limits.groups, put)], float)
    there = np.bincount(cell_of, minlength=len(cells))
    room = budget - len(inside)
    wanted = _solved(matrix, least, most, there, room)
    if wanted is None:
        raise EngineError(_missing(limits, matrix, least, most, there, room))
    place = np.argsort(cell_of, kind="stable")  # rows of one cell together, best first
    start = np.concatenate([[0], np.cumsum(there)])
    return order[np.concatenate([place[start[c] : start[c] + wanted[c]] for c in range(len(cells))])]


def _solved(matrix: csr_array, least: np.ndarray, most: np.ndarray, there: np.ndarray, room: int) -> np.ndarray | None:
    """min Σx with least ≤ Ax ≤ most, 0 ≤ x ≤ there, Σx ≤ room, in whole numbers; None where there is none."""
    limits = [LinearConstraint(matrix, least, most), LinearConstraint(np.ones((1, len(there))), 0, room)]
    found = milp(np.ones(len(there)), integrality=np.ones(len(there)), bounds=Bounds(0, there), constraints=limits)
    return None if found.x is None else np.round(found.x).astype(np.int64)


def _missing(
    limits: Limits, matrix: csr_array, least: np.ndarray, most: np.ndarray, there: np.ndarray, room: int
) -> str:
    """What the minimums lack at the least, all else kept: Σ of what is missing is made as small as can be."""
    cells, groups = len(there), len(least)
    short = csr_array(coo_array((np.ones(groups), (np.arange(groups), np.arange(groups))), shape=(groups, groups)))
    both = [
        LinearConstraint(hstack([matrix, short]).tocsr(), least, np.inf),
        LinearConstraint(hstack([matrix, csr_array((groups, groups))]).tocsr(), -np.inf, most),
        LinearConstraint(np.concatenate([np.ones(cells), np.zeros(groups)])[None, :], 0, room),
    ]
    cost = np.concatenate([np.zeros(cells), np.ones(groups)])
    upper = np.concatenate([there, np.full(groups, np.inf)])
    found = milp(cost, integrality=np.ones(cells + groups), bounds=Bounds(0, upper), constraints=both)
    lacking = np.zeros(groups) if found.x is None else np.round(found.x[cells:])
    named = [
        f"{'the budget' if g.name == _ALL else g.name} lacks {int(missing):,}"
        for g, missing in zip(limits.groups, lacking) if missing
    ]  # fmt: skip
    return (
        f"The quotas cannot all be met together with the budget: at best {'; '.join(named) or 'some are missed'}. "
        f"Widen a cap, ask for less, or change the budget. {_UNTOUCHED}"
    )


_ALL = "the budget"


def _with_all(limits: Limits, budget: int) -> Limits:
    """The limits and one more: that the whole budget is used."""
    n = limits.member.shape[1]
    everything = np.full((1, n), len(limits.groups), np.int32)
    group = Group(_ALL, len(limits.member), least=budget)
    return replace(limits, groups=(*limits.groups, group), member=np.concatenate([limits.member, everything]))


def _caps_only(limits: Limits) -> Limits:
    """The limits without their minimums."""
    return replace(limits, groups=tuple(replace(group, least=0, least_cost=0) for group in limits.groups))
