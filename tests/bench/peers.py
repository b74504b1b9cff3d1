"""Per-sample projected gradients against the PyPI packages bergson and dattri: speed, and whether all agree.

One model (the built-in one), one parameter set (the linear weights of its blocks), one loss (the mean over response
tokens), the same rows, the same factored projection of `SIDE` x `SIDE` per layer, float32, one thread count, one after
the other in one run. Both packages run as they are, each in a process of its own (`peers_driver.py`) inside an
environment made here: TOUCHSTONE_PEERS names its folder, to keep it between runs. bergson imports beside a CPU torch
only once torchvision and torchaudio, which one of its dependencies brings along, are uninstalled. What a package
computes beyond our parameter set is spared it: all weights are frozen and the graph begins at the embeddings. Its
batches have our token budget; the compression of dattri is compiled as it ships and, since a compiler can lose on
rows of many lengths, also run uncompiled. Agreement is that of the off-diagonal cosines between rows.
"""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gradient_speed import response_loss
from scipy.stats import pearsonr, spearmanr
from shell import NotRun
from small_models import batches_of, builtin_rows, conditions, in_order, setting, significant, timed

from engine.gradients.exact import exact_products, stack_directions, weighted_gradient
from engine.gradients.parameters import block_linears
from engine.gradients.persample import projected_gradients
from engine.gradients.projection import FactoredProjection
from engine.models.batches import Batch
from engine.models.loading import load
from engine.models.sources import BUILTIN, BUILTIN_FOLDER, resolve
from engine.models.table import TokenTable

ROWS = setting("ROWS", 400)
BUDGET = setting("BATCH_TOKENS", 2048)
SIDE = setting("SIDE", 16)
WIDE_SIDE = 48  # the engine's own default, without a peer
PACKAGES = ("torch==2.13.0", "bergson==2.5.1", "dattri==0.3.0")
UNWANTED = ("torchvision", "torchaudio")
SECONDS = 1800
DRIVER = Path(__file__).with_name("peers_driver.py")


@dataclass(frozen=True)
class Peer:
    """A package, how its driver is called, and the environment variables of that run."""

    package: str
    variables: dict[str, str]


PEERS = {
    "bergson": Peer("bergson", {}),
    "dattri": Peer("dattri", {}),
    "dattri, not compiled": Peer("dattri", {"TORCHDYNAMO_DISABLE": "1"}),
}


def run(folder: Path) -> dict[str, object]:
    """Rows per second of the engine and of each peer, and the agreement of their similarity matrices."""
    python = environment(Path(os.environ.get("TOUCHSTONE_PEERS", folder / "peers")))
    lm = load(resolve(BUILTIN), device="cpu", dtype="float32")
    table, what = builtin_rows(lm, ROWS)
    speeds, ours = engine_speeds(lm, table)
    exact = exact_gram(lm, table)
    write_rows(folder, table, [site.name for site in block_linears(lm.model)])
    figures: dict[str, object] = {
        "rows": f"{len(table)} {what}, {table.lengths.mean():.0f} tokens each",
        "conditions": conditions(),
        "projection": f"{SIDE} x {SIDE} per layer, {len(block_linears(lm.model))} layers",
        "engine_rows_per_s": {name: significant(rate) for name, rate in speeds.items()},
        "engine_against_exact_cosines": compared(gram(ours), exact),
    }
    before = projected_rate(lm, table)
    for name, peer in PEERS.items():
        found = peer_run(python, folder, peer)
        after = projected_rate(lm, table)
        if "not_run" not in found:
            theirs = gram(np.load(folder / f"{peer.package}.npy"))
            found["engine_before_and_after_rows_per_s"] = [significant(before), significant(after)]
            found["engine_is_faster_by"] = significant((before + after) / 2 / float(found["rows_per_s"]), 3)
            found["against_ours"] = compared(theirs, gram(ours))
            found["against_exact_cosines"] = compared(theirs, exact)
        figures[name], before = found, after
    return figures


def environment(folder: Path) -> Path:
    """The Python of an environment with the peers, made if absent. Raises `NotRun` where it cannot be made."""
    python = folder / "bin" / "python"
    done = folder / "touchstone-peers.json"
    if done.exists() and json.loads(done.read_text()) == list(PACKAGES):
        return python
    try:
        venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", *PACKAGES], check=True, capture_output=True, text=True)
        subprocess.run([*pip, "uninstall", "--quiet", "--yes", *UNWANTED], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise NotRun(f"the peers cannot be installed: {_last_line(error.stderr)}") from error
    done.write_text(json.dumps(list(PACKAGES)))
    return python


def write_rows(folder: Path, table: TokenTable, layers: Sequence[str]) -> None:
    """What a peer's process reads: rows, the layers, and the sizes."""
    np.savez(folder / "rows.npz", ids=table.ids, mask=table.mask, offsets=table.offsets)
    settings = {"model": str(BUILTIN_FOLDER), "layers": list(layers), "side": SIDE, "budget": BUDGET}
    settings["threads"] = torch.get_num_threads()
    (folder / "settings.json").write_text(json.dumps(settings))


def peer_run(python: Path, folder: Path, peer: Peer) -> dict[str, Any]:
    """What the driver reports of one peer, or why it did not run."""
    command = [str(python), str(DRIVER), peer.package, str(folder)]
    variables = {**os.environ, **peer.variables, "TOKENIZERS_PARALLELISM": "false"}
    try:
        subprocess.run(command, check=True, env=variables, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.CalledProcessError as error:
        return {"not_run": _last_line(error.stderr)}
    except subprocess.TimeoutExpired:
        return {"not_run": f"it took more than {SECONDS} seconds"}
    return json.loads((folder / f"{peer.package}.json").read_text())


def engine_speeds(lm: Any, table: TokenTable) -> tuple[dict[str, float], np.ndarray]:
    """Rows per second of the engine's forms and of a loop of one backward pass per row; and our projected gradients."""
    every, alone = (batches_of(table, budget=budget) for budget in (BUDGET, 1))
    sites = block_linears(lm.model)
    narrow, wide = (FactoredProjection(sites, width=side) for side in (SIDE, WIDE_SIDE))
    direction = weighted_gradient(lm, every[-1:], [torch.ones(len(every[-1]))], sites)
    stacked = stack_directions([direction], sites)
    forms: dict[str, tuple[Callable[[Batch], torch.Tensor], list[Batch]]] = {
        "projected_gradients": (lambda batch: projected_gradients(lm, batch, narrow)[0], every),
        f"projected_gradients, side {WIDE_SIDE}": (lambda batch: projected_gradients(lm, batch, wide)[0], every),
        "projected_gradients, exact norm": (
            lambda batch: projected_gradients(lm, batch, narrow, norm="ghost")[0],
            every,
        ),
        "exact_products, no projection": (lambda batch: exact_products(lm, batch, stacked, sites)[0], every),
        "one-row autograd loop, no projection": (lambda batch: torch.stack([row_gradient(lm, batch).sum()]), alone),
    }
    speeds, ours = {}, None
    for name, (measure, batches) in forms.items():
        measure(batches[-1])
        parts, seconds = timed(lambda: [measure(batch) for batch in batches])  # noqa: B023
        speeds[name] = len(table) / seconds
        ours = in_order(batches, parts, len(table)) if ours is None else ours
    assert ours is not None
    return speeds, ours


def projected_rate(lm: Any, table: TokenTable) -> float:
    """Rows per second of our projected gradients, taken just before and after every peer: a machine's speed drifts."""
    projection = FactoredProjection(block_linears(lm.model), width=SIDE)
    batches = batches_of(table, budget=BUDGET)
    projected_gradients(lm, batches[-1], projection)
    _, seconds = timed(lambda: [projected_gradients(lm, batch, projection)[0] for batch in batches])
    return len(table) / seconds


def row_gradient(lm: Any, batch: Batch) -> torch.Tensor:
    """The flat gradient (d,) of a batch of one row, by autograd."""
    weights = [site.weight.requires_grad_(True) for site in block_linears(lm.model)]
    try:
        with torch.enable_grad():
            gradients = torch.autograd.grad(response_loss(lm.model, batch), weights)
    finally:
        for weight in weights:
            weight.requires_grad_(False)
    return torch.cat([g.flatten() for g in gradients])


def exact_gram(lm: Any, table: TokenTable) -> np.ndarray:
    """(n, n) cosines of the unprojected gradients, each row's by autograd."""
    alone = batches_of(table, budget=1)
    flat: np.ndarray | None = None
    for batch in alone:
        gradient = row_gradient(lm, batch).numpy()
        flat = np.empty((len(table), len(gradient)), dtype=np.float32) if flat is None else flat
        flat[batch.rows[0]] = gradient
    assert flat is not None
    return gram(flat)


def gram(rows: np.ndarray) -> np.ndarray:
    """(n, n) cosines between rows (n, d)."""
    products = rows @ rows.T
    lengths = np.sqrt(np.diagonal(products))
    return products / lengths[:, None] / lengths


def compared(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Spearman and Pearson over the off-diagonal cosines, and the root mean square of their difference."""
    above = np.triu_indices(len(one), k=1)
    a, b = one[above], other[above]
    return {
        "spearman": round(float(spearmanr(a, b).statistic), 4),
        "pearson": round(float(pearsonr(a, b).statistic), 4),
        "rms_difference": significant(float(np.sqrt(np.mean((a - b) ** 2))), 3),
    }


def _last_line(text: str | None) -> str:
    lines = [line for line in (text or "").strip().splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a message"


if __name__ == "__main__":
    sys.exit("Run it with: python tests/bench/run.py peers")
