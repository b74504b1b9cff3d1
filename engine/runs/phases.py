"""One phase of a planned run: its rows, tokens and FLOPs, and the seconds it should take here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """One phase of a run as it was planned."""

    name: str
    rows: int
    tokens: int
    flops: float
    seconds: float
