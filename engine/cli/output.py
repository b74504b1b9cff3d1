"""Results on stdout: aligned columns for people, versioned JSON for scripts."""

import json
from collections.abc import Sequence
from typing import Any

from engine.store.artifacts import finite

FORMAT_VERSION = 1


def print_json(**content: Any) -> None:
    """One JSON object with the version of its form; NaN becomes null."""
    print(json.dumps(finite({"format_version": FORMAT_VERSION, **content}), ensure_ascii=False, indent=1))


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Left-aligned columns under `head`; `empty` where there is no row."""
    if not rows:
        print(empty)
        return
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
