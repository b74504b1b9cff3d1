"""How much a selection may hold, from the text a person writes: a number of rows, a share of them, tokens or words.

    "500", "10%"                       rows: as many as are asked for, exactly
    "200000t", "200k tokens", "1.5Mt"  tokens of prompt and response; "80k words" likewise: at most so many

A budget of tokens or words is filled in the order of the strategy: each row goes in that still fits, those that do not
are passed over. So it is never exceeded, and what is left is less than the shortest row left out. Chooses no rows.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from engine.errors import EngineError
from engine.selection.sizes import COUNT, SHARE, size_of

Unit = Literal["rows", "tokens", "words"]
_WEIGHED = re.compile(r"([0-9][0-9_,]{0,17}(?:\.[0-9]{1,18})?)\s*([kKmM]?)\s*(t|tokens?|w|words?)")
_TIMES = {"": 1, "k": 1_000, "m": 1_000_000}


@dataclass(frozen=True)
class Budget:
    """`amount` rows, tokens or words. Of rows exactly as many are chosen; of the others at most so many."""

    amount: int
    unit: Unit

    @property
    def said(self) -> str:
        """The budget in words: "500 samples"."""
        return f"{self.amount:,} {'samples' if self.unit == 'rows' else self.unit}"


def unit_of(text: str) -> Unit:
    """What a budget counts. Raises `EngineError` where the text is no budget, whatever the pool."""
    found = _WEIGHED.fullmatch(str(text).strip())
    if found is None:
        if COUNT.fullmatch(str(text).strip()) is None and SHARE.fullmatch(str(text).strip()) is None:
            raise EngineError(
                f"size is {text!r}: write a number of samples such as 500, a share such as 10%, or what the samples "
                "may hold together, such as 200k tokens (short: 200000t) or 80k words. Nothing was selected."
            )
        return "rows"
    return "tokens" if found[3].startswith("t") else "words"


def budget_of(text: str, usable: int) -> Budget:
    """The budget meant by `text` for a pool of so many usable rows. Raises `EngineError` as `unit_of` and `size_of`."""
    unit = unit_of(text)
    if unit == "rows":
        return Budget(size_of(text, usable), unit)
    digits, times, _ = _WEIGHED.fullmatch(str(text).strip()).groups()  # type: ignore[union-attr]
    amount = int(Fraction(re.sub("[_,]", "", digits)) * _TIMES[times.lower()])
    if amount < 1:
        raise EngineError(f"size is {text!r}, which holds nothing: ask for at least one. Nothing was selected.")
    return Budget(amount, unit)
