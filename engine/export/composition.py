"""What an export is made of: rows and words per source file, and per value of the fields that tell a row's kind.

Fields that count as telling: source, origin, dataset, task, category, language, licence and their spellings, where they
have few values. Values are data and may be hostile; who shows them escapes them. Does not write.
"""

import json
from typing import Any

import duckdb
import numpy as np

from engine.store import chosen, reading

TELLING = (
    "source", "origin", "dataset", "task", "task_type", "category", "domain", "language", "lang", "licence", "license",
)  # fmt: skip
MOST_VALUES = 12


def composed(con: duckdb.DuckDBPyConnection, rows: np.ndarray) -> dict[str, Any]:
    """Rows, words, and for `files` and each telling field the largest parts: `{"value", "rows", "words"}`.

    A field's `whole` says whether the parts listed are all there are. Values absent are None.
    """
    files = chosen.composition(con, rows, limit=10_000)
    known = reading.columns(con)
    names = [n for n in known if chosen.bare(n).rpartition(".")[2].lower() in TELLING]
    fields = {chosen.bare(name): _field(con, rows, name) for name in names[:8]}
    return {
        "rows": len(rows),
        "words": sum(part["words"] for part in files),
        "files": files,
        "fields": {name: told for name, told in fields.items() if told["parts"]},
    }


def _field(con: duckdb.DuckDBPyConnection, rows: np.ndarray, name: str) -> dict[str, Any]:
    parts = chosen.composition(con, rows, name, limit=MOST_VALUES + 1)
    plain = [{**part, "value": None if part["value"] is None else json.loads(part["value"])} for part in parts]
    shown = plain[:MOST_VALUES]
    named = any(part["value"] is not None for part in shown)
    few = sum(part["rows"] for part in shown) >= len(rows) / 2 or len(plain) <= MOST_VALUES
    return {"parts": shown if named and few else [], "whole": len(plain) <= MOST_VALUES}
