"""How many rows of the pool a run covered, and when: where it was made, and after every time it was extended.

Told from a run's record alone, also as a manifest keeps it. Loads nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reach:
    """`made` rows were scored by the run itself; after each of the `steps` (rows, when) it covered so many in all."""

    made: int
    steps: tuple[tuple[int, str], ...]

    def until(self, moment: str) -> "Reach":
        """What there was of it at `moment`."""
        return Reach(self.made, tuple(step for step in self.steps if step[1] <= moment))


def reach_of(rows: int, summary: Mapping[str, Any]) -> Reach:
    """Of a run that covers `rows` by now.

    Runs extended by the first versions kept only the last time: theirs is one step.
    """
    told = summary.get("extended")
    if not told:
        return Reach(rows, ())
    steps = told.get("steps") or [{"rows": rows, "created": told["created"]}]
    return Reach(rows - told["rows"], tuple((step["rows"], step["created"]) for step in steps))
