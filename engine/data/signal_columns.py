"""How a signal is described beside its values, so that pages, filters and guards need to know none of them by name.

`columns.json` of a signals artifact lists them; `<array>.npy` holds the values over the covered rows: bool for a flag
of its own, float32 for a number, int32 codes for a category. A flag may instead be a number beyond a threshold: then
it has a `threshold`, and the array is the number's. Whole numbers as arrays of other dtypes (`near_duplicate_of`) may
lie beside them for groups. Computes nothing.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from engine.errors import EngineError
from engine.store.artifacts import read_json, write_json

Kind = Literal["flag", "number", "category"]
Sense = Literal["at least", "at most"]
COLUMNS_FILE = "columns.json"
FORMAT = 1
AUTO = "auto"
"""In place of countries: those of each text's language (`phones`)."""


@dataclass(frozen=True, kw_only=True)
class SignalColumn:
    """One signal: `name` as filters and links use it, `title` as pages show it, `explanation` in a sentence or two.

    `guard`: a selection may leave out the rows that carry it. `group`: what it is listed under. `role` and `set` name
    the set it was compared with, where there is one. `nothing`: the category of rows of which there is nothing to say.
    """

    name: str
    title: str
    kind: Kind
    array: str
    explanation: str
    guard: bool = False
    threshold: float | None = None
    sense: Sense = "at least"
    unit: str = ""
    categories: tuple[str, ...] = ()
    group: str = ""
    role: str = ""
    set: str = ""
    nothing: str = ""

    def __post_init__(self) -> None:
        """Refuse what no signal can be."""
        if self.kind not in get_args(Kind) or self.sense not in get_args(Sense) or not self.name or not self.array:
            raise EngineError(f"The signal {self.name!r} is not described as one. Compute the signals again.")


def write_columns(folder: Path, columns: Iterable[SignalColumn]) -> None:
    """Write `columns.json`."""
    write_json(folder / COLUMNS_FILE, {"format": FORMAT, "columns": [asdict(column) for column in columns]})


def read_columns(folder: Path) -> tuple[SignalColumn, ...]:
    """The columns of a signals artifact; those of `BEFORE` for one that was made before there was a list."""
    if not (folder / COLUMNS_FILE).is_file():
        return BEFORE
    described = read_json(folder / COLUMNS_FILE)
    if described.get("format") != FORMAT:
        raise EngineError(
            f"The signals in {folder.name} have format {described.get('format')!r}, this version reads {FORMAT}. Check "
            "the pool again; the folder was left as it is."
        )
    return tuple(_column(values) for values in described["columns"])


def regions_at(folder: Path) -> tuple[str, ...]:
    """The countries whose phone numbers a signals artifact was asked for as written there; (`AUTO`,) where none."""
    summary = read_json(folder / "summary.json") if (folder / "summary.json").is_file() else {}
    return tuple(summary.get("regions", ())) or (AUTO,)


def _column(values: dict[str, Any]) -> SignalColumn:
    return SignalColumn(**{**values, "categories": tuple(values["categories"])})


NEAR_DUPLICATE = SignalColumn(
    name="near-duplicate",
    title="Near-duplicate",
    kind="flag",
    array="near_duplicate_of",
    threshold=0,
    guard=True,
    group="Copies",
    explanation="Repeats an earlier sample word for word or nearly: at least 80 % of their runs of three words agree. "
    "A long instruction that samples share counts as well; those that repeat the answer too are repeated samples.",
)
REPEATED_SAMPLE = SignalColumn(
    name="repeated sample",
    title="Repeated sample",
    kind="flag",
    array="repeated_sample_of",
    threshold=0,
    guard=True,
    group="Copies",
    explanation="A near-duplicate whose response, too, is nearly that of an earlier sample of its group. Samples that "
    "share a long instruction and answer it differently are none.",
)
LEAK = SignalColumn(
    name="leak",
    title="Leak of a target item",
    kind="flag",
    array="leak",
    threshold=0.5,
    guard=True,
    group="Overlap",
    explanation="At least half of a target item's word sequences stand in the sample, or of the sample's in the item; "
    "sequences that many samples share count little. A score of such a sample says nothing.",
)
TRUNCATED = SignalColumn(
    name="looks truncated",
    title="Looks truncated",
    kind="flag",
    array="looks_truncated",
    guard=True,
    group="Answers",
    explanation="The response stops in the middle: an open bracket or code fence, a dangling word, or prose without "
    "its final mark where the pool's prose has one.",
)
BEFORE = (NEAR_DUPLICATE, LEAK, TRUNCATED)
"""What every signals artifact holds."""
