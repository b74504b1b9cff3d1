"""What the engine finds of the demo's faults, measured against the labels, which nothing else reads.

    python tests/bench/demo_faults.py                    the signals alone, no model (seconds)
    python tests/bench/demo_faults.py PROJECT [RUN]      a demo project with a finished run and map as well
    python tests/bench/run.py demo_faults --json OUT     from one click to a scored map, then all of it

Rules, fixed beforehand. duplicate: `near_duplicate_of` is set. leak: `leak` >= 0.5. truncated: `looks_truncated`.
refusal: the generator's own sentence stands in the response. language: the target language that the prompt of a
translation names; precision counts rows given that language, whatever their source. near a target: the largest
`closeness` beyond its threshold, against the leaks. wrong and swapped answers: `surprise` (the loss against that of
the neighbours on the map) above its threshold and not flagged as truncated; the rule cannot tell the two kinds apart,
so its precision counts both as true. For the scores: the AUC of "a faulty row scores below a sound row of the same
source" (0.5 is chance), and for leaks the share that lies in the top tenth of the pool for its target set.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from engine.curation.facts import Facts
from engine.curation.signals import signals_of
from engine.data.demo import DemoRows, demo_rows
from engine.data.signals import Signals, compute_signals
from engine.data.surprise import THRESHOLD, surprise
from engine.store.project import Project

LEAK = 0.5
REFUSED = "I am sorry, but I cannot help with that."
LANGUAGES = {"German": "de", "French": "fr", "Spanish": "es"}
ANSWERS = ("wrong-answer", "swapped-answer")
Flags = dict[str, np.ndarray]


@dataclass(frozen=True)
class Truth:
    """The labels: `kind` (n,) the fault of each pool row or "", `of` (n,) what it refers to, `source` (n,)."""

    kind: np.ndarray
    of: np.ndarray
    source: np.ndarray


def run(folder: Path) -> dict[str, object]:
    """One click to a scored map through the command line, its seconds and memory, and what was found."""
    from shell import engine

    built = engine("demo", folder / "demo")
    figures = project_figures(folder / "demo")
    return {"click_to_map_s": round(built.seconds, 1), "peak_mb": built.peak_bytes >> 20, **figures}


def truth_of(rows: list[dict], labels: list[dict]) -> Truth:
    """The labels beside the pool's rows, in pool order."""
    known = {label["id"]: label for label in labels}
    kind = [known[row["id"]]["fault"] if row["id"] in known else "" for row in rows]
    of = [known[row["id"]]["of"] or "" if row["id"] in known else "" for row in rows]
    return Truth(np.array(kind), np.array(of), np.array([row["source"] for row in rows]))


def signal_figures(demo: DemoRows) -> dict[str, Any]:
    """Precision and recall of the three signals on a demo in memory, and the seconds they took."""
    pairs = {name: [_pair(row) for row in rows] for name, rows in demo.targets.items()}
    start = time.perf_counter()
    found = compute_signals((_pair(row) for row in demo.pool), pairs)
    seconds = time.perf_counter() - start
    flags = _signal_flags(found.near_duplicate_of, found.leak, found.looks_truncated)
    kind = truth_of(demo.pool, demo.labels).kind
    figures = {name: judged(flag, kind == name) for name, flag in flags.items()}
    return {"seconds": round(seconds, 2), **figures, **text_figures(demo, found)}


def text_figures(demo: DemoRows, found: Signals) -> dict[str, Any]:
    """Precision and recall of the signals that read a text by itself, where the generators say what is right."""
    pairs = [_pair(row) for row in demo.pool]
    kind = truth_of(demo.pool, demo.labels).kind
    sound = ~np.isin(kind, ("swapped-answer", "wrong-answer", "truncated"))
    refused = np.array([REFUSED in response for _, response in pairs])
    figures: dict[str, Any] = {"refusal": judged(found.arrays["refusal"] & sound, refused & sound)}
    column = next(column for column in found.columns if column.name == "language")
    names = np.array(column.categories)[found.arrays["language"]]
    translated = np.array([row["source"] == "translation" for row in demo.pool]) & sound
    for language, code in LANGUAGES.items():
        asked = np.array([language in prompt for prompt, _ in pairs]) & translated
        figures[f"language {code}"] = judged((names == code) & sound, asked)
    harmless = ("empty_answer", "personal_data")
    return figures | {name.replace("_", " "): {"flagged": int(found.arrays[name].sum())} for name in harmless}


def project_figures(path: Path, name: str | None = None) -> dict[str, Any]:
    """All figures of a demo project with a finished run (the latest, unless named) and map."""
    project = Project.open(path)
    record = project.run(name) if name else project.runs()[-1]
    arrays = {file.stem: np.load(file) for file in (project.artifacts / record.artifact).glob("*.npy")}
    signals, latest = project.latest_signals(), project.latest_map()
    if signals is None or latest is None:
        raise SystemExit(f"{path} has no map yet: run `python -m engine map {path}` first.")
    flags = _signal_flags(*(np.load(signals / f"{s}.npy") for s in ("near_duplicate_of", "leak", "looks_truncated")))
    neighbours = np.load(project.artifacts / latest.artifact / "neighbours.npy")
    truth = truth_of(_read(path / "demo" / "pool.jsonl"), _read(path / "demo" / "labels.jsonl"))
    figures: dict[str, Any] = {kind: judged(flag, truth.kind == kind) for kind, flag in flags.items()}
    found = signals_of(Facts(project))
    near = [found.flags(column) for column in found.names if column.startswith("closeness")]
    if near:
        figures["near a target"] = judged(np.logical_or.reduce(near), truth.kind == "leak")
    figures["answers"] = answer_figures(surprise(arrays["loss"], neighbours), flags["truncated"], truth)
    sets = [s["name"] for s in record.summary["sets"]]
    figures["scores"] = score_figures(arrays["columns"], sets, truth)
    return {"rows": len(truth.kind), "run": record.name, **figures}


def answer_figures(surprised: np.ndarray, truncated: np.ndarray, truth: Truth) -> dict[str, Any]:
    """The rule for wrong and swapped answers, and how well surprise orders the rows whatever the threshold."""
    flag = (surprised > THRESHOLD) & ~truncated
    true = np.isin(truth.kind, ANSWERS)
    recalls = {kind: round(float(flag[truth.kind == kind].mean()), 3) for kind in ANSWERS}
    order = np.where(truncated, -np.inf, np.nan_to_num(surprised, nan=-np.inf))
    sound = truth.kind == ""
    aucs = {kind: auc(order[truth.kind == kind], order[sound]) for kind in ANSWERS}
    return {
        **judged(flag, true),
        "recall_of": recalls,
        "average_precision": average_precision(order, true),
        "auc": aucs,
    }


def score_figures(columns: np.ndarray, sets: list[str], truth: Truth) -> dict[str, Any]:
    """Per target set, on rows of the target's own source: do faulty answers score low, and leaks high."""
    figures: dict[str, Any] = {}
    for at, name in enumerate(sets):
        score = columns[:, at]
        own = truth.source == name
        sound = score[own & (truth.kind == "")]
        low = {kind: auc(-score[own & (truth.kind == kind)], -sound) for kind in ANSWERS}
        leaks = (truth.kind == "leak") & own
        top = score >= np.nanquantile(score, 0.9)
        figures[name] = {
            "own_source_in_top_tenth": round(float(own[top].mean()), 3),
            "auc_of_low_score": low,
            "leaks_in_top_tenth": round(float(top[leaks].mean()), 3),
        }
    return figures


def judged(flag: np.ndarray, true: np.ndarray) -> dict[str, float | int]:
    """Precision and recall of a flag, with the counts behind them."""
    hits = int((flag & true).sum())
    return {
        "precision": round(hits / max(int(flag.sum()), 1), 3),
        "recall": round(hits / max(int(true.sum()), 1), 3),
        "flagged": int(flag.sum()),
        "planted": int(true.sum()),
    }


def auc(high: np.ndarray, low: np.ndarray) -> float:
    """The chance that one of `high` exceeds one of `low`, ties counted half."""
    ranks = rankdata(np.concatenate([high, low]))
    return round(float((ranks[: len(high)].sum() - len(high) * (len(high) + 1) / 2) / (len(high) * len(low))), 3)


def average_precision(order: np.ndarray, true: np.ndarray) -> float:
    """Mean, over the true rows, of the precision of the list that ends with that row; highest first."""
    ranked = true[np.argsort(-order, kind="stable")]
    return round(float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean()), 3)


def _signal_flags(near_duplicate_of: np.ndarray, leak: np.ndarray, looks_truncated: np.ndarray) -> Flags:
    return {"duplicate": near_duplicate_of >= 0, "leak": leak >= LEAK, "truncated": looks_truncated}


def _pair(row: dict) -> tuple[str, str]:
    texts = [message["content"] for message in row["messages"]]
    return "\n\n".join(texts[:-1]), texts[-1]


def _read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Print the figures of a project, or of the signals alone."""
    if len(sys.argv) > 1:
        figures = project_figures(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
    else:
        figures = signal_figures(demo_rows(seed=0))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
