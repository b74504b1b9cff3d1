"""From labels and estimates to the arrays of a run: exact values in their places, estimates made comparable with them.

Estimates are shrunken, as propagated scores are; what was said of the validation rows before they were fitted to tells
by how much, target set by target set (`influence.comparable`). The audit rows judge the estimates as they are ranked.
"""

import numpy as np

from engine.influence.comparable import AffineMap, comparable_map
from engine.influence.fidelity import fidelity
from engine.influence.scores import EXACT, PROPAGATED, Combination
from engine.runs.by_function import NOT_SCORED, columns_of, combination, unscored
from engine.runs.functions import ItemSet, Materials
from engine.runs.network_draw import Draw
from engine.runs.network_inputs import Learnt
from engine.runs.scored import AUDIT, LABELLED, Scored
from engine.runs.trust import fidelity_values, warnings_of

NOT_READ = "no estimate: the network cannot read this sample"


def settle(
    job: Materials,
    drawn: Draw,
    labels: np.ndarray,
    matrix: np.ndarray,
    sets: tuple[ItemSet, ...],
    learnt: Learnt,
    problems: dict[int, str],
) -> Scored:
    """Columns, scores and the audit: estimates made comparable, exact values in their places."""
    config = job.config
    audit = drawn.audit
    if drawn.items is None:
        return _settled_alone(job, drawn, labels, matrix, learnt, problems)
    maps = _comparable(job, drawn, labels, learnt, sets)
    for each, rule in zip(sets, maps):
        matrix[:, list(each.items)] = rule(matrix[:, list(each.items)])
    estimated = matrix[audit]
    matrix[np.ix_(drawn.rows, drawn.items)] = labels
    columns = columns_of(matrix, sets, config)
    kept = np.array([item for each in sets for item in each.items], np.int64)
    whole = np.isin(kept, drawn.items).all()
    score = combination(config, sets)(columns)
    status = np.where(np.isfinite(score), PROPAGATED, 0).astype(np.uint8)
    status[drawn.rows[np.isfinite(score[drawn.rows])]] = EXACT if whole else PROPAGATED
    part = tuple(each.without(set(each.items) - set(drawn.items.tolist())) for each in sets)
    judged = [(each, at) for at, each in enumerate(part) if each.items]
    exact = columns_of(matrix[audit], [each for each, _ in judged], config)
    said = columns_of(estimated, [each for each, _ in judged], config)
    scored = Scored(_arrays(job, drawn, score, columns, np.ascontiguousarray(matrix[:, kept]), status))
    scored.summary["comparable"] = [vars(rule) | {"set": rule.name} for rule in maps]
    _audit(scored, job, audit, exact, said, [each.name for each, _ in judged])
    if not whole:
        scored.notes.append(
            f"The teacher scored {len(np.intersect1d(kept, drawn.items))} of the {len(kept)} target items, so labelled "
            "samples are exact for those alone, and the audit compares them alone."
        )
    scored.problems = _reasons(job, drawn, score, problems)
    return scored


def _settled_alone(
    job: Materials, drawn: Draw, labels: np.ndarray, matrix: np.ndarray, learnt: Learnt, problems: dict[int, str]
) -> Scored:
    """The point-wise form: one value a row, no target set."""
    validated = np.flatnonzero(drawn.fit_rows)[learnt.fitted.validation]
    rule = _map_of("score", labels[validated, 0], learnt.fitted.held_out[:, 0])
    score = rule(matrix[:, 0])
    said = score[drawn.audit][:, None].copy()
    score[drawn.rows] = labels[:, 0]
    status = np.where(np.isfinite(score), PROPAGATED, 0).astype(np.uint8)
    status[drawn.rows[np.isfinite(labels[:, 0])]] = EXACT
    nothing = np.zeros((job.rows, 0), np.float32)
    scored = Scored(_arrays(job, drawn, score, nothing, nothing, status))
    scored.summary["comparable"] = [vars(rule) | {"set": rule.name}]
    _audit(scored, job, drawn.audit, labels[~drawn.fit_rows], said, ["score"])
    scored.problems = _reasons(job, drawn, score, problems)
    return scored


def _reasons(job: Materials, drawn: Draw, score: np.ndarray, problems: dict[int, str]) -> dict[str, str]:
    """Why rows have no score: what the teacher said of labelled ones, and for the others that they cannot be read."""
    labelled = {int(row): NOT_SCORED for row in drawn.rows[~np.isfinite(score[drawn.rows])]}
    return unscored(job, score, {**labelled, **problems}, why=NOT_READ)


def _comparable(
    job: Materials, drawn: Draw, labels: np.ndarray, learnt: Learnt, sets: tuple[ItemSet, ...]
) -> tuple[AffineMap, ...]:
    """One map per target set, from the validation rows' exact and held-out columns over the items fitted to."""
    fitted = drawn.labelled_items
    places = np.flatnonzero(drawn.fit_rows)[learnt.fitted.validation]
    truth = np.full((len(places), job.item_count), np.nan, np.float32)
    said_of = truth.copy()
    truth[:, drawn.asked_items] = labels[places]
    said_of[:, fitted] = learnt.fitted.held_out
    found = []
    for each in sets:
        part = each.without(set(each.items) - set(fitted.tolist()))
        if not part.items:
            found.append(AffineMap(each.name, 1.0, 0.0, None, "none of its items was fitted to"))
            continue
        exact, said = (columns_of(values, [part], job.config)[:, 0] for values in (truth, said_of))
        found.append(_map_of(each.name, exact, said))
    return tuple(found)


def _map_of(name: str, exact: np.ndarray, said: np.ndarray) -> AffineMap:
    good = np.isfinite(exact) & np.isfinite(said)
    return comparable_map(name, exact[good].astype(np.float64), said[good].astype(np.float64))


def _arrays(
    job: Materials, drawn: Draw, score: np.ndarray, columns: np.ndarray, matrix: np.ndarray, status: np.ndarray
) -> dict[str, np.ndarray]:
    roles = np.zeros(job.rows, np.uint8)
    roles[drawn.rows[drawn.fit_rows]] |= LABELLED
    roles[drawn.audit] |= AUDIT
    loss = np.full(job.rows, np.nan, np.float32)
    return {"score": score, "columns": columns, "matrix": matrix, "status": status, "roles": roles, "loss": loss}


def _audit(
    scored: Scored, job: Materials, rows: np.ndarray, exact: np.ndarray, said: np.ndarray, names: list[str]
) -> None:
    """Fidelity on the audit rows, as every run with estimates reports it."""
    config = job.config
    weights = config.set_weights([each.name for each in job.sets])
    combine = Combination(tuple(weights.get(name, 1.0) for name in names), config.across) if names else None
    lengths = job.pool.lengths[rows] if job.folder.spec.get("model") else None
    found = fidelity(
        exact,
        said,
        names=names,
        generator=np.random.default_rng((config.seed, 4)),
        lengths=lengths,
        combine=combine,
    )
    report = fidelity_values(found)
    scored.summary |= {"fidelity": report, "audited": names}
    scored.notes += warnings_of(report, None)
    scored.arrays |= {"audit_rows": rows, "audit_exact": exact, "audit_estimated": said}
