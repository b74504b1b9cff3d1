"""What stands before an item: a pool row as an earlier turn of the chat, and what separates the two.

Notation. An example is a pool row's own tokens; a continuation is the separator and an item's tokens without a leading
BOS; together they are at most `max_length` tokens, and room = max_length − (tokens of the continuation).

The separator is what this tokenizer's chat template writes between the end of a response and the next user turn. It is
read off one probe chat: if the text of two exchanges is that of the first exchange, something, and that of the second
exchange by itself (without BOS), it is that something, which may be nothing. Elsewhere (a template that begins with a
system text of its own) it is a new line.

A too long example is cut from the left, a leading BOS stays. How much is kept depends on the pair alone: all of it
where it fits, else `room` rounded down to a multiple of 64 (16 below that), so that one cut serves many items. An
item with less room than 16 tokens has no context at all. Runs no model.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from engine.data.samples import Message
from engine.models.table import Encoded
from engine.models.templates import ChatRenderer, Unencodable

SHORTEST_EXAMPLE = 16
CUT_STEP = 64
_FIRST = (Message("user", "Which is first?"), Message("assistant", "This one."))
_SECOND = (Message("user", "And the next?"), Message("assistant", "That one."))

Ids = NDArray[np.int32]


def separator(tokenizer: PreTrainedTokenizerBase) -> tuple[Ids, str]:
    """The token ids between an example and an item, and a sentence that says what they are."""
    found = _between_exchanges(tokenizer)
    text = "\n" if found is None else found
    ids = np.array(tokenizer.encode(text, add_special_tokens=False) if text else [], dtype=np.int32)
    if found is None:
        why = "a new line, because the chat template writes a later exchange in another way than a first one"
    else:
        why = f"{found!r}, as the chat template writes it" if found else "nothing, as in the chat template"
    return ids, f"the example is an earlier turn before the item; between them: {why}"


def _between_exchanges(tokenizer: PreTrainedTokenizerBase) -> str | None:
    renderer = ChatRenderer(tokenizer)
    try:
        first, second, both = (renderer.render(chat).text for chat in (_FIRST, _SECOND, _FIRST + _SECOND))
    except Unencodable:
        return None
    second = second.removeprefix(tokenizer.bos_token or "")
    rest = both.removeprefix(first)
    return rest.removesuffix(second) if rest != both and rest.endswith(second) else None


def continuation(ids: Ids, mask: NDArray[np.uint8], *, between: Ids, bos: int | None) -> Encoded:
    """The separator and an item's tokens without a leading BOS; the mask marks those that a token predicts alone.

    Its first mask is 1 only where neither separator nor prompt stands before the response.
    """
    lead = int(bos is not None and len(ids) > 0 and int(ids[0]) == bos)
    own = mask.copy()
    own[:1] = 0  # nothing predicts an item's first token where it stands alone
    before = np.zeros(len(between), dtype=np.uint8)
    return Encoded(np.concatenate([between, ids[lead:]]), np.concatenate([before, own[lead:]]), False)


def kept_lengths(length: int | NDArray[np.int64], rooms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens kept of an example of `length` tokens before items with these rooms (u,), each at least 16.

    Lengths (R, 1) give (R, u).
    """
    stepped = np.maximum(rooms - rooms % CUT_STEP, SHORTEST_EXAMPLE)
    return np.where(length <= rooms, length, stepped)


def cut_examples(ids: Tensor, count: int | Tensor, *, bos: int | None, lengths: Tensor | None = None) -> Tensor:
    """The last `count` tokens, (R,) or the same of all, of examples (R, L) of `lengths` (R,) tokens, L for None.

    The first of them is the BOS where an example begins with it. Rows are right-padded with any of their ids.
    """
    ends = ids.new_full((len(ids),), ids.shape[1]) if lengths is None else lengths
    counts = torch.as_tensor(count, device=ids.device).expand(len(ids))
    places = (ends - counts)[:, None] + torch.arange(int(counts.max()), device=ids.device)  # (R, K)
    kept = ids.gather(1, places.clamp(max=ids.shape[1] - 1))
    if bos is not None:
        kept[ids[:, 0] == bos, 0] = bos
    return kept
