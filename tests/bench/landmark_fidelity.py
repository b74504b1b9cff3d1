"""Landmark scoring of the real mixture against exact scores of every row: cost ratio and fidelity, in one run.

Every row is measured exactly once, with the engine of the method `exact`; every embedding is computed once; then each
number of landmarks is drawn, propagated, judged on the rows that were not measured, and refined for the top 10 %.
Labels (`source`) are read only here, after scoring, to judge inside each source. The share of those rows whose 90 %
interval holds the exact score is given overall and as the least and the largest of ten deciles of variance.

Costs are seconds of this run: an embedding pass, plus the exact rows a setting needs (landmarks, audit, refinement) at
the seconds per row of the *fastest* exact engine, products and true norms without item scores. Warm-up and target
gradients are the same for every method and left out. `TOUCHSTONE_EVERY=4` takes every fourth row.
"""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from shell import SHARED_DATA, NotRun, engine

EVERY = int(os.environ.get("TOUCHSTONE_EVERY", "1"))
LANDMARKS = (128, 256, 512, 1024)
REFINED = 512  # the landmarks that the refinement is judged at: 6 % of the whole mixture
TARGETS = ("gsm8k", "codegen")
SETTINGS: dict[str, dict[str, Any]] = {
    "paper": {"preset": "paper"},
    "hidden states": {"embedding": "hidden"},
    "last layer": {"embedding": "last-layer"},
    "gradients (default)": {},
    "gradients, exit after a third": {"early_exit": 2},
}
SPEED_ROWS = 256


def run(folder: Path) -> dict[str, object]:
    """Per setting and number of landmarks: cost ratio, Spearman overall and within source, overlap before and after."""
    from engine.models.table import TokenTable
    from engine.progress import Silent
    from engine.runs.config import PRESETS, ScoreConfig
    from engine.runs.embedding import row_embedding
    from engine.runs.jobfolder import JobFolder
    from engine.runs.ledger import Ledger
    from engine.runs.measuring import Measurer
    from engine.runs.parameters import parameters_of
    from engine.runs.warming import prepare_model

    if not SHARED_DATA.exists():
        raise NotRun("the real data is absent: shared/data/ beside the checkout")
    lines = (SHARED_DATA / "pool_mixture.jsonl").read_bytes().splitlines(keepends=True)[::EVERY]
    job = JobFolder.open(_prepared(folder, lines))
    sources = np.array([json.loads(line)["source"] for line in lines])
    base = ScoreConfig.from_dict(job.spec["config"])
    pool = TokenTable.load(job.input / "pool")
    usable = np.flatnonzero(pool.response_lengths > 0)
    ledger, quiet = Ledger(base), Silent()
    lm, warmed = prepare_model(job, base, pool, quiet)
    parameters = parameters_of(lm, base, warmed)
    measurer = Measurer(job, lm, base, parameters, ledger, quiet)
    tables = [(name, TokenTable.load(job.input / "targets" / str(i))) for i, name in enumerate(TARGETS)]
    targets = measurer.targets(tables)
    exact = measurer.exact("exact gradients", pool, usable, targets)
    fastest = _seconds_per_token(lm, parameters.sites, targets.directions, pool, usable, base)
    tokens = int(pool.lengths[usable].sum())
    whole = fastest * tokens
    found: dict[str, object] = {
        "rows": len(usable),
        "threads": torch.get_num_threads(),
        "exact, with item scores, s": ledger.entries[-1].seconds,
        "exact, fastest, s": round(whole, 1),
    }
    for name, changes in SETTINGS.items():
        preset = PRESETS.get(changes.get("preset", ""), {})
        config = replace(base, **{**preset, **{k: v for k, v in changes.items() if k != "preset"}})
        embedding = row_embedding(config.embedding, lm, config)
        began = time.perf_counter()
        table = measurer.embeddings(embedding, pool, usable, name=f"embeddings {name}".replace(",", ""))
        seconds = time.perf_counter() - began
        features = np.asarray(table.arrays["0"])
        found[name] = {
            "embedding, s": round(seconds, 1),
            "dimensions": embedding.dim,
            **_judged(config, features, exact.measured, sources[usable], seconds / whole, measurer, targets),
        }
        if name == "gradients (default)":
            found["baseline without landmarks"] = _baseline(
                lm, config, features, tables, exact.measured, sources[usable]
            )
    return found


def _prepared(folder: Path, lines: list[bytes]) -> Path:
    project, pool = folder / "project", folder / "pool.jsonl"
    pool.write_bytes(b"".join(lines))
    engine("add-pool", project, pool)
    for name in TARGETS:
        engine("add-target", project, name, SHARED_DATA / f"target_{name}.jsonl")
    done = engine("score", project, "--method", "landmark", "--targets", ",".join(TARGETS), "--prepare")
    return Path(done.output.splitlines()[-1])


def _seconds_per_token(lm: Any, sites: Any, directions: Any, pool: Any, usable: np.ndarray, config: Any) -> float:
    """The fastest exact engine on a seeded sample of rows: products and true norms from one backward pass."""
    from engine.gradients.exact import exact_products, stack_directions
    from engine.models.batches import collate, plan_batches

    rows = np.sort(np.random.default_rng(0).permutation(usable)[:SPEED_ROWS])
    stacked, best = stack_directions(directions, sites), float("inf")
    for batch_tokens in (1024, config.batch_tokens):
        parts = plan_batches(pool.lengths[rows], max_tokens=batch_tokens)
        batches = [collate(pool, rows[part], pad_id=lm.pad_id, device=lm.device) for part in parts]
        exact_products(lm, batches[0], stacked, sites)
        began = time.perf_counter()
        for batch in batches:
            exact_products(lm, batch, stacked, sites)
        best = min(best, (time.perf_counter() - began) / int(pool.lengths[rows].sum()))
    return best


def _judged(
    config: Any,
    features: np.ndarray,
    exact: Any,
    sources: np.ndarray,
    embedding_share: float,
    measurer: Any,
    targets: Any,
) -> dict[str, object]:
    """Figures for every number of landmarks; rows are positions in the usable rows."""
    from engine.influence.distillation import Measured, distil
    from engine.influence.scores import Combination
    from engine.influence.uncertainty import coverage
    from engine.runs.refining import refine_scores
    from engine.runs.scored import Scored
    from engine.runs.trust import trust_in, tuned

    n = len(features)

    def rows_of(rows: np.ndarray) -> Measured:
        return Measured(rows, exact.columns[rows], exact.items[rows][:, :0])

    drawn, found = np.random.default_rng(0).permutation(n), {}
    audit_share = config.audit_count(n) / n
    for count in [c for c in LANDMARKS if c < n // 2]:
        rows = np.sort(drawn[:count])
        held = max(20, count // 4) if config.tune else 0
        tuning, first = rows_of(np.sort(drawn[:held])), rows_of(np.sort(drawn[held:count]))
        setting = tuned(config, features, first, tuning, Combination())
        per_target = {}
        for j, target in enumerate(targets.names):
            weights = tuple(1.0 if at == j else 1e-9 for at in range(len(targets.names)))
            combine = Combination(weights)
            distilled = distil(
                features, landmarks=rows_of(rows), sets=targets.names, config=setting.ridge, combine=combine
            )
            truth, said = exact.columns[:, j].astype(float), distilled.score.astype(float)
            unseen = np.setdiff1d(np.arange(n), rows)
            trust = trust_in(distilled, uniform=rows, combine=combine)
            arrays = {
                "score": distilled.score.copy(),
                "columns": distilled.columns.copy(),
                "matrix": distilled.matrix,
                "status": distilled.status.copy(),
                "roles": np.zeros(n, np.uint8),
                **{name: values.copy() for name, values in trust.arrays.items()},
            }
            scored = Scored(arrays)
            asked = replace(config, refine="10%" if count == REFINED else "", refine_budget=0.15, confidence=0.95)
            report = refine_scores(
                asked,
                scored,
                features,
                rows_of(rows),
                distilled,
                trust,
                combine,
                lambda _, r: rows_of(r),
                setting.ridge,
            )
            refined = report["rows"] if report else 0
            held_in = coverage(trust.shown, truth[unseen], said[unseen], distilled.variance[unseen])
            per_target[target] = {
                "spearman": _spearman(truth, said, unseen),
                "within": round(
                    float(np.mean([_spearman(truth, said, unseen[sources[unseen] == s]) for s in set(sources)])), 3
                ),
                "top 10 % overlap": _overlap(truth, said, n // 10),
                "after refinement": _overlap(truth, arrays["score"].astype(float), n // 10),
                "refined rows": round(refined / n, 3),
                "interval coverage": [
                    round(float(c), 3) for c in (held_in.overall, min(held_in.deciles), max(held_in.deciles))
                ],
                "interval width, standard deviations": round(float(held_in.relative_width), 2),
                "cost": round(embedding_share + count / n + audit_share, 3),
                "cost with refinement": round(embedding_share + count / n + audit_share + refined / n, 3),
            }
        found[f"{count} landmarks"] = {"settings": setting.sentence[:120], **per_target}
    return found


def _baseline(
    lm: Any, config: Any, features: np.ndarray, tables: Any, exact: Any, sources: np.ndarray
) -> dict[str, object]:
    """<φ_i, φ_T> with the mean unit feature of the target items: a score without any landmark."""
    from engine.models.batches import collate, plan_batches
    from engine.runs.embedding import row_embedding

    embedding, everyone, found = row_embedding(config.embedding, lm, config), np.arange(len(features)), {}
    for j, (name, table) in enumerate(tables):
        parts = plan_batches(table.lengths, max_tokens=config.batch_tokens)
        batches = [collate(table, part, pad_id=lm.pad_id, device=lm.device) for part in parts]
        side = torch.cat([embedding.measure(batch)[0] for batch in batches]).nanmean(dim=0).numpy()
        truth, said = exact.columns[:, j].astype(float), (features @ side).astype(float)
        within = [_spearman(truth, said, everyone[sources == s]) for s in set(sources)]
        found[name] = {"spearman": _spearman(truth, said, everyone), "within": round(float(np.mean(within)), 3)}
    return found


def _spearman(truth: np.ndarray, said: np.ndarray, rows: np.ndarray) -> float:
    return round(float(spearmanr(truth[rows], said[rows]).statistic), 3)


def _overlap(truth: np.ndarray, said: np.ndarray, k: int) -> float:
    best = [set(np.argsort(-values, kind="stable")[:k].tolist()) for values in (truth, said)]
    return round(len(best[0] & best[1]) / k, 3)
