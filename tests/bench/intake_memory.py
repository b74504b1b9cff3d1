"""Adding a JSONL pool of one gigabyte: seconds and peak resident memory of `python -m engine add-pool`."""

import json
import random
from pathlib import Path

from shell import engine

SIZE = 1_000_000_000


def run(folder: Path) -> dict[str, object]:
    """Write the synthetic pool, add it, and give the figures of the adding process alone."""
    pool = folder / "pool.jsonl"
    rows = _write(pool)
    added = engine("add-pool", folder / "project", pool, "--no-search")
    size = pool.stat().st_size
    return {
        "bytes": size,
        "rows": rows,
        "seconds": round(added.seconds, 1),
        "megabytes_per_s": round(size / 1e6 / added.seconds, 1),
        "peak_memory_mb": round(added.peak_bytes / 1e6),
    }


def _write(path: Path) -> int:
    words = [
        f"{a}{b}" for a in ("sal", "mer", "tor", "vin", "kol", "ras", "bel") for b in ("a", "en", "ix", "or", "um")
    ]
    generator = random.Random(0)
    rows = written = 0
    with path.open("w", encoding="utf-8") as out:
        while written < SIZE:
            user, reply = (" ".join(generator.choices(words, k=generator.randrange(20, 200))) for _ in range(2))
            line = json.dumps({"id": f"r{rows}", "messages": _chat(user, reply), "source": words[rows % 7]})
            written += out.write(line + "\n")
            rows += 1
    return rows


def _chat(user: str, reply: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": reply}]
