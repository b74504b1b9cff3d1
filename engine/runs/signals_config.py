"""What a check of the pool is asked for beyond the sets beside it: frozen, validated at construction, saved with it."""

from dataclasses import dataclass

from engine.runs.validation import Config


@dataclass(frozen=True, kw_only=True)
class SignalsConfig(Config):
    """`regions`: countries whose phone numbers are looked for as their people write them, such as DE and FR.

    ("auto",) are the countries of each text's language; () is what the last check of the project was asked for, and
    at first "auto".
    """

    regions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Bring the countries into one form; `EngineError` for what is none."""
        if self.regions:
            from engine.data.phones import checked  # its numbering plans take a moment to load

            object.__setattr__(self, "regions", checked(self.regions))
