"""What the InfluenceNetwork makes of every teacher, on real rows: judged where neither row nor target was seen.

A slice of the mixture is small enough for every teacher to be asked of all pairs of row and item: 64 GSM8K targets, of
which some are labelled, and 16 further ones that never are. A share of the rows is labelled; the network learns, and is
judged on the other rows against the 16 items. Beside it, on the same labels: the paper's preset, the labels' mean, a
linear model and kernel ridge (the last two read what the best settings read). Figures are means over the seeds:

    error       mean squared error over pairs as a share of that of the labels' mean
    pairs       Spearman over pairs
    rows        Spearman of the rows' means over the items, and `within`: its mean inside each source
    top         overlap of the best 10 % of rows by those means
    items       `error` and `rows` on the same rows against the labelled items, for comparison

Labels of sources are read only here, to judge. `TOUCHSTONE_TEACHERS=less,delift-se`, `TOUCHSTONE_SEEDS=2` and
`TOUCHSTONE_SLICE=400` make it small, `TOUCHSTONE_WORKERS=14` fits side by side. `TOUCHSTONE_KEEP=FOLDER` keeps the job,
the inputs and what teachers said, so that a further run, also on a machine with torch, scipy and transformers alone,
goes on from there.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from shell import SHARED_DATA, NotRun, engine

TEACHERS = os.environ.get("TOUCHSTONE_TEACHERS", "delift-se,less,delift,selectit,rds,exact").split(",")
SEEDS = int(os.environ.get("TOUCHSTONE_SEEDS", "5"))
ROWS = int(os.environ.get("TOUCHSTONE_SLICE", "1200"))
PAIR_ROWS = 400  # of the slice that a teacher which is paid for by the pair is asked about
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
TARGETS = (4, 8, 16, 32)
WORKERS = int(os.environ.get("TOUCHSTONE_WORKERS", "1"))
HELD = 16
INPUTS = ("lexical", "sentence+lexical")


def run(folder: Path) -> dict[str, object]:
    """Per teacher: figures by labelled share of the rows (all targets), and by labelled targets (5 % of the rows)."""
    kept = Path(os.environ.get("TOUCHSTONE_KEEP", folder))
    kept.mkdir(parents=True, exist_ok=True)
    if not (kept / "sources.json").exists():
        _prepare(folder, kept)
    job, sources = _materials(kept / "job"), np.array(json.loads((kept / "sources.json").read_text()))
    inputs = _inputs(job, kept)
    found: dict[str, Any] = {"rows": ROWS, "threads": torch.get_num_threads(), "seeds": SEEDS}
    benches = {}
    for teacher in TEACHERS:
        matrix, told = _asked(job, teacher, kept)
        benches[teacher], found[teacher] = _Bench(teacher, matrix, inputs, sources[: len(matrix)]), told
    with ProcessPoolExecutor(WORKERS, get_context("spawn"), _one_thread) as pool:
        for teacher, bench in benches.items():
            shares = {f"{share:.0%}": bench.submitted(pool, share, 64) for share in SHARES}
            targets = {str(n): bench.submitted(pool, 0.05, n) for n in TARGETS} if bench.pairwise else {}
            found[teacher] |= {"by labelled share": shares, "by labelled targets": targets}
        for teacher in benches:
            for part in ("by labelled share", "by labelled targets"):
                found[teacher][part] = {key: collected() for key, collected in found[teacher][part].items()}
            print(json.dumps({teacher: found[teacher]}), flush=True)
    return found


def _one_thread() -> None:
    torch.set_num_threads(1)


def _prepare(folder: Path, kept: Path) -> None:
    """A job folder of the slice and the two target sets, and the rows' sources."""
    if not SHARED_DATA.exists():
        raise NotRun("the real data is absent: shared/data/ beside the checkout")
    lines = (SHARED_DATA / "pool_mixture.jsonl").read_bytes().splitlines(keepends=True)
    chosen = np.sort(np.random.default_rng(0).permutation(len(lines))[:ROWS])
    project, pool, held = folder / "project", folder / "pool.jsonl", folder / "held.jsonl"
    pool.write_bytes(b"".join(lines[i] for i in chosen))
    held.write_bytes(b"".join((SHARED_DATA / "eval_gsm8k.jsonl").read_bytes().splitlines(keepends=True)[:HELD]))
    engine("add-pool", project, pool)
    engine("add-target", project, "gsm8k", SHARED_DATA / "target_gsm8k.jsonl")
    engine("add-target", project, "held", held)
    done = engine("score", project, "--method", "network", "--set", "teacher=exact", "--prepare")
    shutil.copytree(done.output.splitlines()[-1], kept / "job")
    (kept / "sources.json").write_text(json.dumps([json.loads(lines[i])["source"] for i in chosen]))


def _materials(place: Path) -> Any:
    from engine.progress import Silent
    from engine.runs.config import ScoreConfig
    from engine.runs.functions import Materials
    from engine.runs.jobfolder import JobFolder

    job = JobFolder.open(place)
    return Materials(job, ScoreConfig.from_dict(job.spec["config"]), Silent())


def _asked(job: Any, teacher: str, kept: Path) -> tuple[np.ndarray, dict[str, object]]:
    """P (n, 80) of a teacher over the slice (point-wise (n, 1)), what it cost, and its seconds."""
    from engine.runs.functions import Materials, make_function

    place = kept / f"{teacher}-{ROWS}.npz"
    if not place.exists():
        config = replace(job.config, teacher=teacher)
        own = Materials(job.folder, config, job.reporter)
        function = make_function(teacher, own)
        rows = np.arange(PAIR_ROWS if teacher == "delift" else ROWS)
        began = time.perf_counter()
        matrix = np.asarray(function(rows).matrix)
        seconds, passes = time.perf_counter() - began, function.passes
        costs = np.array([seconds, passes.forward, passes.backward, passes.tokens])
        np.savez(place, matrix=matrix, costs=costs)
    data = np.load(place)
    seconds, forward, backward, tokens = data["costs"].tolist()
    passes = {"forward": int(forward), "backward": int(backward), "tokens": int(tokens)}
    return data["matrix"], {"asked of": data["matrix"].shape, "passes": passes, "seconds": round(seconds, 1)}


def _inputs(job: Any, kept: Path) -> dict[str, tuple[np.ndarray, np.ndarray, tuple[int, ...]]]:
    """Per kind of input: rows (n, d), items (80, d) and the parts' lengths."""
    from engine.runs.network_inputs import NetworkInputs

    found: dict[str, tuple[np.ndarray, np.ndarray, tuple[int, ...]]] = {}
    for name in INPUTS:
        place = kept / f"inputs-{name}-{ROWS}.npz"
        if not place.exists():
            reader = NetworkInputs(job, name)
            parts = np.array(reader.parts)
            np.savez(place, rows=reader.of_rows(np.arange(ROWS)), items=reader.of_items(), parts=parts)
        data = np.load(place)
        found[name] = (data["rows"], data["items"], tuple(data["parts"].tolist()))
    rows, items, parts = found[INPUTS[1]]
    found["sentence"] = (rows[:, : parts[0]], items[:, : parts[0]], parts[:1])
    return found


class _Bench:
    """One teacher's values and everything that is fitted to parts of them."""

    def __init__(self, teacher: str, matrix: np.ndarray, inputs: dict[str, Any], sources: np.ndarray) -> None:
        self.teacher, self.matrix, self.sources = teacher, matrix, sources
        self.inputs = {name: (rows[: len(matrix)], items, parts) for name, (rows, items, parts) in inputs.items()}
        self.pairwise = matrix.shape[1] > 1

    def submitted(self, pool: ProcessPoolExecutor, share: float, targets: int) -> Callable[[], dict[str, object]]:
        """Begin with all seeds; what is returned waits for them and gives `figures`."""
        running = [pool.submit(self.seed, share, targets, seed) for seed in range(SEEDS)]
        return lambda: self.figures(share, targets, [each.result() for each in running])

    def figures(self, share: float, targets: int, runs: list[dict[str, Any]]) -> dict[str, object]:
        """Means over the seeds of every figure, for every estimate; and the passes saved."""
        names = [name for name in runs[0] if name != "inputs"]
        means = {
            name: {key: round(float(np.nanmean([run[name][key] for run in runs])), 3) for key in runs[0][name]}
            for name in names
        }
        rows, items = len(self.matrix), 64 + HELD
        labelled = max(2, round(share * rows))
        saved = 1 - (labelled * targets / (rows * items) if self.teacher == "delift" else labelled / rows)
        picked = [run["inputs"] for run in runs]
        return {**means, "labelled rows": labelled, "saved": round(saved, 3), "inputs": picked.count(INPUTS[1]) / SEEDS}

    def seed(self, share: float, targets: int, seed: int) -> dict[str, Any]:
        """The figures of one seed, by estimate."""
        from engine.influence.network.baselines import fit_baselines
        from engine.influence.network.config import PAPER, NetworkConfig
        from engine.runs.network_inputs import choose_inputs

        drawn = np.random.default_rng((seed, 1)).permutation(len(self.matrix))
        count = max(2, round(share * len(self.matrix)))
        rows, unseen = np.sort(drawn[:count]), np.sort(drawn[count:])
        columns = (
            np.sort(np.random.default_rng((seed, 2)).permutation(64)[:targets]) if self.pairwise else np.zeros(1, int)
        )
        held = np.arange(64, 64 + HELD) if self.pairwise else columns
        block = self.matrix[np.ix_(rows, columns)]
        best = NetworkConfig(seed=seed)
        tried = {name: self._fitted(name, best, rows, columns, block) for name in INPUTS}
        picked, _ = choose_inputs({name: fitted.error for name, (fitted, _) in tried.items()})
        fitted, said = tried[picked]
        paper = self._fitted("sentence", replace(PAPER, seed=seed), rows, columns, block)[1]
        left, items, _ = self.inputs[picked]
        right = fitted.scaling.items(items).numpy() if self.pairwise else np.ones((1, 1), np.float32)
        left = fitted.scaling.rows(left).numpy()
        baselines = fit_baselines(left[rows], right[columns], block, validation=fitted.validation)
        estimates = {"network": said, "paper": paper}
        estimates |= {k: v for k, v in baselines.estimates(left, right).items() if k != "mean"}
        return {
            **{
                name: self._judged(values, unseen, held, columns, float(block.mean()))
                for name, values in estimates.items()
            },
            "inputs": picked,
        }

    def _fitted(self, name: str, config: Any, rows: np.ndarray, columns: np.ndarray, block: np.ndarray) -> Any:
        from engine.influence.network.estimate import Estimator
        from engine.influence.network.training import fit_network

        left, items, parts = self.inputs[name]
        right = items[columns] if self.pairwise else None
        fitted = fit_network(left[rows], right, block, config, parts=parts)
        return fitted, Estimator.of(fitted, items if self.pairwise else None)(left)

    def _judged(
        self, said: np.ndarray, unseen: np.ndarray, held: np.ndarray, columns: np.ndarray, mean: float
    ) -> dict[str, float]:
        truth, guess = self.matrix[np.ix_(unseen, held)], said[np.ix_(unseen, held)]
        seen_truth, seen_guess = self.matrix[np.ix_(unseen, columns)], said[np.ix_(unseen, columns)]
        by_row, by_guess = truth.mean(axis=1), guess.mean(axis=1)
        sources = self.sources[unseen]
        within = [_spearman(by_row[sources == s], by_guess[sources == s]) for s in sorted(set(sources))]
        return {
            "error": float(((truth - guess) ** 2).mean() / ((truth - mean) ** 2).mean()),
            "pairs": _spearman(truth.ravel(), guess.ravel()),
            "rows": _spearman(by_row, by_guess),
            "within": float(np.nanmean(within)),
            "top": _overlap(by_row, by_guess),
            "items: error": float(((seen_truth - seen_guess) ** 2).mean() / ((seen_truth - mean) ** 2).mean()),
            "items: rows": _spearman(seen_truth.mean(axis=1), seen_guess.mean(axis=1)),
        }


def _spearman(truth: np.ndarray, guess: np.ndarray) -> float:
    """Spearman, 0 where the guess is constant (it says nothing of the order)."""
    if np.ptp(guess) == 0 or np.ptp(truth) == 0:
        return 0.0
    return float(spearmanr(truth, guess).statistic)


def _overlap(truth: np.ndarray, guess: np.ndarray) -> float:
    k = max(1, len(truth) // 10)
    best = [set(np.argsort(-values, kind="stable")[:k].tolist()) for values in (truth, guess)]
    return len(best[0] & best[1]) / k
