"""A catalogue that stays loaded from one session to the next within a test.

Loading DuckDB takes 20 ms and a job opens its catalogue fifty times, which is more than half of what many tests take.
Every session still has a connection of its own, waits its turn and closes it; only what lies behind it stays loaded.
Other processes find the catalogue locked meanwhile: `let_go` before they are to open it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from engine.store import catalogue

_held: dict[Path, tuple[int, duckdb.DuckDBPyConnection]] = {}


@contextmanager
def loaded() -> Iterator[None]:
    """Within the block a catalogue that was opened once stays loaded, unless another file takes its place."""
    connect = catalogue._connect

    def again(path: Path, spill: Path) -> duckdb.DuckDBPyConnection:
        if path in _held and not (path.is_file() and path.stat().st_ino == _held[path][0]):
            _held.pop(path)[1].close()
        if path not in _held:
            connection = connect(path, spill)
            _held[path] = (path.stat().st_ino, connection)
        return _held[path][1].cursor()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "_connect", again)
        try:
            yield
        finally:
            let_go()


def let_go() -> None:
    """Close every catalogue that stays loaded; the next session loads it again."""
    while _held:
        _held.popitem()[1][1].close()
