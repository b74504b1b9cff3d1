"""Chats become token ids and response masks, in bulk.

The ids are those of the tokenizer's own chat template (its special tokens are written by the template, none is added
again), up to the end of the last response. The mask is 1 on the tokens of every assistant turn, its end-of-turn token
included, that some earlier token predicts. A token that straddles the border of a response belongs to the response.
Text in a message that spells a special token becomes that token, as in every chat template, but moves no border.

Too long rows: the prompt is cut from the left (a leading BOS stays); if the last response alone is too long, one
prompt token stays before it and its end is cut. Either way the row is marked truncated.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from engine.errors import EngineError
from engine.models.table import Encoded, TableBuilder, TokenTable
from engine.models.templates import ChatRenderer, Rendered, Unencodable
from engine.progress import Reporter, Silent

if TYPE_CHECKING:
    from engine.data.samples import Message

__all__ = ["ChatEncoder", "Encoded", "TokenTable", "Unencodable", "encode", "tokenize"]

SHORTEST_LIMIT = 4
TokenSpan = tuple[int, int]


class ChatEncoder:
    """Encodes chats for one tokenizer and one length limit; `notes` gathers what a reader of the results must know."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> None:
        """Prepare; `EngineError` for a limit below 4 tokens or a broken chat template."""
        if max_length < SHORTEST_LIMIT:
            raise EngineError(f"max_length is {max_length}; a sample needs at least {SHORTEST_LIMIT} tokens.")
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._renderer = ChatRenderer(tokenizer)
        self._folded = 0
        self._cut = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Which template was used, and how many rows so far had their system text folded or were cut."""
        notes = [self._renderer.note]
        if self._folded:
            notes.append(f"{self._folded} samples: system text put before the first user turn (no system role)")
        if self._cut:
            notes.append(f"{self._cut} samples longer than {self._max_length} tokens were cut")
        return tuple(notes)

    def one(self, messages: "Sequence[Message]") -> Encoded:
        """Encode one chat; raises `Unencodable`."""
        result = self.many([messages])[0]
        if isinstance(result, str):
            raise Unencodable(result)
        return result

    def many(self, chats: "Sequence[Sequence[Message]]") -> list[Encoded | str]:
        """Encode chats in one call of the tokenizer; a string is the reason why that chat has no tokens."""
        rendered = [self._render(chat) for chat in chats]
        pieces = self._tokens([r for r in rendered if isinstance(r, Rendered)])
        done = iter([self._finish(ids, spans) for ids, spans in pieces])
        return [next(done) if isinstance(r, Rendered) else r for r in rendered]

    def _render(self, chat: "Sequence[Message]") -> Rendered | str:
        try:
            rendered = self._renderer.render(chat)
        except Unencodable as problem:
            return problem.reason
        self._folded += rendered.system_folded
        return rendered

    def _tokens(self, rendered: list[Rendered]) -> list[tuple[list[int], list[TokenSpan]]]:
        if not rendered:
            return []
        if not self._tokenizer.is_fast:
            return [_by_segments(self._tokenizer, r) for r in rendered]
        backend: Any = self._tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        encodings = backend.encode_batch([r.text for r in rendered], add_special_tokens=False)
        return [(e.ids, [_token_span(e, *span) for span in r.spans]) for e, r in zip(encodings, rendered)]

    def _finish(self, ids: list[int], spans: list[TokenSpan]) -> Encoded | str:
        tokens = np.array(ids, dtype=np.int32)
        mask = np.zeros(len(tokens), dtype=np.uint8)
        for start, end in spans:
            mask[start:end] = 1
        keeps_bos = len(ids) > 0 and ids[0] == self._tokenizer.bos_token_id
        encoded = _cut(tokens, mask, spans[-1][0], limit=self._max_length, lead=int(keeps_bos))
        encoded.mask[:1] = 0  # nothing predicts the first token
        if not encoded.mask.any():
            return "no response token: the response has no token that an earlier one predicts"
        self._cut += encoded.truncated
        return encoded


def encode(messages: "Sequence[Message]", tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> Encoded:
    """The tokens and response mask of one chat, at most `max_length` long; raises `Unencodable`."""
    return ChatEncoder(tokenizer, max_length=max_length).one(messages)


def tokenize(
    chunks: "Iterable[Sequence[Sequence[Message]]]",
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    reporter: Reporter | None = None,
    folder: Path | None = None,
) -> TokenTable:
    """The token table of all chats, in order; rows that cannot be encoded are kept, empty, with their reason.

    `chunks` come as the caller reads them (some thousand chats each). With `folder` the tokens are written there as
    they come and the table is memory-mapped. Advances `reporter` by rows, within the phase that the caller began.
    """
    reporter = reporter or Silent()
    encoder = ChatEncoder(tokenizer, max_length=max_length)
    with TableBuilder(folder) as builder:
        for chunk in chunks:
            reporter.check()
            builder.add(encoder.many(chunk))
            reporter.advance(len(chunk))
        for note in encoder.notes:
            reporter.log(note)
        return builder.finish()


def _cut(ids: NDArray[np.int32], mask: NDArray[np.uint8], response: int, *, limit: int, lead: int) -> Encoded:
    """Cut to `limit` tokens, keeping the first `lead` ones; `response` is where the last response starts."""
    if len(ids) <= limit:
        return Encoded(ids, mask, False)
    room = limit - lead
    start = max(min(len(ids) - room, response - 1), lead)  # one prompt token stays before the last response
    keep = np.r_[0:lead, start : start + room]
    cut_mask = mask[keep]
    cut_mask[lead] = 0  # its context is gone
    return Encoded(ids[keep], cut_mask, True)


def _token_span(encoding: Any, start: int, end: int) -> TokenSpan:
    """The tokens [first, last) that overlap characters [start, end) of an `Encoding` of the tokenizers library."""
    inside = (encoding.char_to_token(c) for c in range(start, end))  # a normaliser may have dropped characters
    first = next((t for t in inside if t is not None), None)
    if first is None:
        return len(encoding), len(encoding)
    inside = (encoding.char_to_token(c) for c in range(end - 1, start - 1, -1))
    last = next(t for t in inside if t is not None) + 1
    while first > 0 and encoding.token_to_chars(first - 1)[1] > start:
        first -= 1
    while last < len(encoding) and encoding.token_to_chars(last)[0] < end:
        last += 1
    return first, last


def _by_segments(tokenizer: PreTrainedTokenizerBase, rendered: Rendered) -> tuple[list[int], list[TokenSpan]]:
    """Tokens of a tokenizer without offsets: each stretch between borders is encoded by itself."""
    ids: list[int] = []
    spans: list[TokenSpan] = []
    done = 0
    for start, end in rendered.spans:
        ids += tokenizer.encode(rendered.text[done:start], add_special_tokens=False)
        first = len(ids)
        ids += tokenizer.encode(rendered.text[start:end], add_special_tokens=False)
        spans.append((first, len(ids)))
        done = end
    return ids, spans
