"""How long work tells its progress and learns of a cancellation, without knowing who listens."""

from typing import Protocol


class Reporter(Protocol):
    """Receives the progress of one piece of work."""

    def phase(self, name: str, total: int, unit: str = "samples") -> None:
        """Begin a phase of `total` units; the count of the previous phase ends."""

    def advance(self, n: int) -> None:
        """Count `n` further units of the current phase as done."""

    def check(self) -> None:
        """Raise `engine.errors.Cancelled` if cancellation was asked for."""

    def log(self, message: str) -> None:
        """Keep one line of explanation, such as a device chosen or a row set aside."""


class Silent:
    """A reporter that listens to nothing and never cancels."""

    def phase(self, name: str, total: int, unit: str = "samples") -> None:
        """Ignore the phase."""

    def advance(self, n: int) -> None:
        """Ignore the count."""

    def check(self) -> None:
        """Never cancel."""

    def log(self, message: str) -> None:
        """Ignore the message."""
