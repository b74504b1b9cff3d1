"""How many rows a selection shall have, from the text a person writes. Does not choose rows."""

import re

from engine.errors import EngineError

COUNT = re.compile(r"[0-9][0-9_,]{0,17}")
SHARE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*%")


def size_of(text: str, usable: int) -> int:
    """Return the number of rows meant by `text`: "500", or "10%" = floor of the usable rows, at least 1.

    Thousands may be parted by commas or underscores. Raises `EngineError` for an empty pool, zero, nonsense, and more
    than there is.
    """
    asked = str(text).strip()
    if usable < 1:
        raise EngineError("The pool has no usable sample to select from. Add a file first; nothing was selected.")
    share, count = SHARE.fullmatch(asked), COUNT.fullmatch(asked)
    if share:
        size = _share_of(share[1], usable)
    elif count:
        size = int(re.sub("[_,]", "", asked))
    else:
        raise EngineError(f"{text!r} is no size: write a number of samples such as 500, or a share such as 10%.")
    if size < 1:
        raise EngineError(f"{text!r} selects nothing: ask for at least one sample. Nothing was selected.")
    if size > usable:
        raise EngineError(
            f"{text!r} asks for more than the {usable:,} usable samples. Ask for at most so many; nothing was selected."
        )
    return size


def _share_of(digits: str, usable: int) -> int:
    """Floor of the share, in whole numbers so that 10 % of 90 is 9 whatever the binary fraction; at least 1."""
    whole, _, fraction = digits.partition(".")
    share, all_of_it = int(whole + fraction), 100 * 10 ** len(fraction)
    if share > all_of_it:
        return usable + 1
    return max(1, usable * share // all_of_it) if share else 0
