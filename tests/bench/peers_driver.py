"""Runs inside the peers' environment: `python peers_driver.py bergson|dattri FOLDER`, nothing of the engine imported.

Reads FOLDER/settings.json and FOLDER/rows.npz; writes FOLDER/NAME.npy, the projected gradients (n, d) float32 in row
order, and FOLDER/NAME.json. Loading and a pass over a few rows, which pays for compilation and first use, come before
the clock starts; whatever the package does for each row and batch is inside.
"""

import contextlib
import importlib.metadata
import io
import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

WARM = 48
CLOCK = time.process_time if os.environ.get("TOUCHSTONE_CLOCK") == "cpu" else time.perf_counter


def rows_of(folder: Path) -> list[dict[str, list[int]]]:
    """Every row's `input_ids` and `labels` (-100 where no loss falls)."""
    stored = np.load(folder / "rows.npz")
    ids, mask, offsets = stored["ids"], stored["mask"].astype(bool), stored["offsets"]
    labels = np.where(mask, ids, -100)
    spans = [slice(a, b) for a, b in pairwise(offsets)]
    return [{"input_ids": ids[row].tolist(), "labels": labels[row].tolist()} for row in spans]


def frozen_model(path: str):
    """The model in float32 with its weights frozen; gradients flow from the embeddings on.

    The final norm alone stays trainable, at no cost: bergson asks for some trainable parameter.
    """
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    model.requires_grad_(False)
    model.enable_input_require_grads()
    model.base_model.norm.weight.requires_grad_(True)
    return model


def bergson(settings: dict, rows: list, folder: Path) -> tuple[np.ndarray, float]:
    """Its own collector in memory, driven by its own loop, on batches of its own making."""
    from bergson.collector.collector import CollectorComputer
    from bergson.collector.in_memory_collector import InMemoryCollector
    from bergson.config import IndexConfig
    from bergson.data import allocate_batches
    from bergson.gradients import GradientProcessor
    from datasets import Dataset

    model = frozen_model(settings["model"])
    config = IndexConfig(
        run_path=str(folder / "bergson-run"),
        projection_dim=settings["side"],
        loss_reduction="mean",
        token_batch_size=settings["budget"],
    )
    config.partial_run_path.mkdir(parents=True, exist_ok=True)
    processor = GradientProcessor(projection_dim=settings["side"])

    def collect(part: list) -> np.ndarray:
        data = Dataset.from_list(part)
        collector = InMemoryCollector(
            model=model, cfg=config, processor=processor, target_modules=set(settings["layers"]), data=data
        )
        batches = allocate_batches([len(row["input_ids"]) for row in part], settings["budget"])
        CollectorComputer(model, data, collector=collector, batches=batches, cfg=config).run_with_collector_hooks()
        return torch.cat([collector.gradients[name].flatten(1).float() for name in settings["layers"]], dim=1).numpy()

    collect(rows[:WARM])
    start = CLOCK()
    found = collect(rows)
    return found, CLOCK() - start


def dattri(settings: dict, rows: list, folder: Path) -> tuple[np.ndarray, float]:
    """LoGra, its factored projection of every linear layer, by the attributor's own `cache` with gradients in memory.

    It wants batches of one size: rows come sorted by length, as many at a time as the token budget holds on average.
    """
    from dattri.algorithm.logra import LoGraAttributor
    from dattri.task import AttributionTask

    model = frozen_model(settings["model"])

    def loss(model, batch, device):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
        labels = batch["labels"][:, 1:]
        each = torch.nn.functional.cross_entropy(logits[:, :-1].mT, labels, reduction="none")
        return (each.sum(dim=1) / (labels != -100).sum(dim=1)).sum()

    task = AttributionTask(
        loss_func=loss, model=model, checkpoints=model.state_dict(), checkpoints_load_func=lambda m, _: m
    )
    attributor = LoGraAttributor(
        task=task,
        layer_names=settings["layers"],
        hessian="Identity",
        proj_dim=settings["side"] ** 2,
        offload="none",
        cache_dir=str(folder / "dattri-run"),
    )

    def collect(part: list) -> np.ndarray:
        lengths = np.array([len(row["input_ids"]) for row in part])
        order = np.argsort(-lengths, kind="stable")
        size = max(1, int(settings["budget"] / lengths.mean()))
        loader = torch.utils.data.DataLoader([part[i] for i in order], batch_size=size, collate_fn=padded)
        attributor.cache(loader)
        stored = attributor.offload_manager.cached_gradients
        found = torch.cat([stored[i] for i in range(len(loader))])
        return found[np.argsort(order, kind="stable")].numpy()

    collect(rows[:WARM])
    start = CLOCK()
    found = collect(rows)
    return found, CLOCK() - start


def padded(rows: list) -> dict[str, torch.Tensor]:
    """Rows padded on the right."""
    length = max(len(row["input_ids"]) for row in rows)

    def stack(key: str, fill: int) -> torch.Tensor:
        return torch.tensor([row[key] + [fill] * (length - len(row[key])) for row in rows])

    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    attention = (torch.arange(length) < lengths[:, None]).long()
    return {"input_ids": stack("input_ids", 0), "attention_mask": attention, "labels": stack("labels", -100)}


def main() -> None:
    """Measure one package and write what was found."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    settings = json.loads((folder / "settings.json").read_text())
    torch.set_num_threads(settings["threads"])
    rows = rows_of(folder)
    with contextlib.redirect_stdout(io.StringIO()):
        found, seconds = {"bergson": bergson, "dattri": dattri}[name](settings, rows, folder)
    np.save(folder / f"{name}.npy", found)
    figures = {
        "version": importlib.metadata.version(name),
        "rows_per_s": float(f"{len(rows) / seconds:.4g}"),
        "coordinates": int(found.shape[1]),
    }
    (folder / f"{name}.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
