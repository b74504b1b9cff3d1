"""Which of the chosen rows are held back for validation: whole groups, drawn by a seed, so that nothing leaks across.

Notation: k chosen rows in pool order, group codes int64 (k,). Rows with the same messages, and near-duplicates where
the quality signals know them, always stay on one side, whatever the groups: groups that share such rows are joined.
A row without a value, or outside every cluster, is a group of its own. Does not write.
"""

import numpy as np
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from engine.curation import signals
from engine.curation.facts import Facts
from engine.errors import EngineError
from engine.export.plan import FIELD, Plan
from engine.store import chosen

_NEAR = "near-duplicate"


def held_back(facts: Facts, rows: np.ndarray, plan: Plan) -> np.ndarray:
    """bool (k,): the rows of the validation split; all False where the plan has none.

    Raises `EngineError` where what the groups go by is missing, or all rows are one group.
    """
    if not plan.split:
        return np.zeros(len(rows), bool)
    return assign(groups(facts, rows, plan.group), plan.validation, seed=plan.seed)


def groups(facts: Facts, rows: np.ndarray, how: str) -> np.ndarray:
    """Group codes int64 (k,) from 0: equal where rows must not be parted."""
    with facts.project.session() as con:
        same = chosen.first_of_equal(con, rows)
    near = _near(facts, rows)
    if how == "near-duplicates" and near is None:
        raise EngineError(
            "The pool has not been checked yet, so near-duplicates are not known: run `signals` first, or split by "
            "exact-duplicates. Nothing was written."
        )
    links = [same, *([] if near is None or how == "exact-duplicates" else [near])]
    if how == "cluster":
        links.append(_clusters(facts, rows))
    elif how.startswith(FIELD):
        links.append(_field(facts, rows, how.removeprefix(FIELD)))
    return joined(links)


def joined(links: list[np.ndarray]) -> np.ndarray:
    """The finest groups that contain those of every array in `links`, int64 (k,)."""
    codes = np.unique(links[0], return_inverse=True)[1]
    for other in links[1:]:
        count, values = int(codes.max()) + 1, np.unique(other, return_inverse=True)[1]
        size = count + int(values.max()) + 1
        graph = coo_array((np.ones(len(codes), np.int8), (codes, values + count)), shape=(size, size))
        codes = connected_components(graph, directed=False)[1][codes].astype(np.int64)
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def assign(codes: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """bool (k,): groups taken in a drawn order while they fit into `share` of the rows, and one more where that comes
    nearer; at least one group on either side."""
    sizes = np.bincount(codes)
    if len(sizes) < 2:
        raise EngineError(
            "All selected samples are one group, so none can be held back for validation. Split by another group; "
            "nothing was written."
        )
    wanted = share * len(codes)
    taken = np.zeros(len(sizes), bool)
    order = np.random.default_rng(seed).permutation(len(sizes))
    room = wanted
    for group, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        if size <= room:
            taken[group], room = True, room - size
        if room < 1:
            break
    left = order[~taken[order]]
    nearest = int(left[np.argmin(sizes[left])])
    if not taken.any() or (sizes[nearest] - room < room and len(left) > 1):
        taken[nearest] = True
    return taken[codes]


def _near(facts: Facts, rows: np.ndarray) -> np.ndarray | None:
    """int64 (k,): the first pool row of each row's group, whether that is chosen itself or not; None if not known."""
    known = signals.signals_of(facts)
    return signals.groups(known, _NEAR)[rows] if _NEAR in known.columns else None


def _clusters(facts: Facts, rows: np.ndarray) -> np.ndarray:
    layout = facts.layout()
    if layout is None:
        raise EngineError("No map yet, so there are no clusters to split by. Make a map first; nothing was written.")
    return _or_alone(np.asarray(layout.cluster), rows, len(rows))


def _or_alone(codes: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """The codes of the rows, a code of its own for a row that has none (-1) or is not covered."""
    values = np.full(k, -1, np.int64)
    covered = rows < len(codes)
    values[covered] = codes[rows[covered]]
    return np.where(values >= 0, values, -1 - np.arange(k))


def _field(facts: Facts, rows: np.ndarray, name: str) -> np.ndarray:
    if name not in facts.fields():
        known = ", ".join(facts.fields()) or "none"
        raise EngineError(f"The samples have no field {name!r} to split by. There are: {known}. Nothing was written.")
    with facts.project.session() as con:
        texts = chosen.field_values(con, rows, name)
    coded = pc.dictionary_encode(pc.if_else(pc.equal(texts, "null"), None, texts)).combine_chunks()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return _or_alone(codes, np.arange(len(rows)), len(rows))
