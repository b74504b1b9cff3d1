"""Rating prompts as tokens: a sample is put between marks, the model is asked for one digit, and the digits' tokens.

Notation. K levels, S prompts. A *frame* is one rating prompt, rendered by the tokenizer's own chat template as a user
turn with its generation prompt, split where the two texts of a sample go: head, middle, tail. The *context* is the
frame with a sample in it; the *answer position* is its end. What a digit adds there are its tokens, found by encoding
the context with and without it, never assumed: one token each where the tokenizer allows, else a *string* of several.

A sample is data. Where it spells a special token or a mark of the frame, a space is put behind that spelling's first
character, so that it is read as text and moves no border. Too long: tokens of the sample's prompt are left out from
the left, then tokens of its response from the end, one of them staying; a token that straddles a border stays.
Runs no model and knows no formula.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from engine.data.samples import Message
from engine.errors import EngineError
from engine.models.table import Encoded
from engine.models.templates import ChatRenderer

RATING_PROMPTS = (
    "You are grading examples that will be used to train an assistant. Grade from 1 to {levels} how well the response "
    "below does what its request asks for, where {levels} means completely.",
    "Check the response below for errors of fact, reasoning or calculation. Give {levels} if all of it can be relied "
    "on, 1 if it would mislead whoever learns from it, and a digit in between otherwise.",
    "Judge how clearly the response below is written and laid out for whoever sent the request. The scale runs from 1, "
    "hard to follow, to {levels}, a pleasure to read.",
    "Somebody will learn to answer such requests from the response below. On a scale from 1 to {levels}, how much is "
    "learnt from it? 1 is nothing, {levels} is as much as one example can teach.",
    "Compare the response below with what a careful expert would have answered. Score it from 1, nothing in common, to "
    "{levels}, at least as good.",
)
"""What is asked about a sample; `{levels}` becomes K."""

PROMPT_MARK, RESPONSE_MARK, END_MARK = "=== REQUEST ===", "=== RESPONSE ===", "=== END ==="
QUESTION = "Answer with a single digit from 1 to {levels} and nothing else."
MOST_LEVELS = 9

_SLOTS = ("Touchstone7Slot9Prompt", "Touchstone7Slot9Response")
_THINK = "<think>"

Pair = tuple[str, str]


@dataclass(frozen=True)
class Frame:
    """One rating prompt around a sample: head, the sample's prompt, middle, its response, tail."""

    head: str
    middle: str
    tail: str

    def parts(self, pair: Pair) -> tuple[str, str, str, str, str]:
        """The five stretches of the context, in order."""
        return self.head, pair[0], self.middle, pair[1], self.tail

    def context(self, pair: Pair) -> str:
        """The text that ends at the answer position."""
        return "".join(self.parts(pair))


@dataclass(frozen=True)
class RatingTokens:
    """What the digits 1..K add behind a context whose last `dropped` tokens they merge with, after `lead`."""

    strings: tuple[tuple[int, ...], ...]
    dropped: int
    lead: str

    @property
    def single(self) -> bool:
        """Whether every digit is one token."""
        return all(len(string) == 1 for string in self.strings)

    @property
    def stems(self) -> tuple[tuple[int, ...], ...]:
        """What precedes a last token in some string, each once; only () where every digit is one token."""
        return tuple(dict.fromkeys(string[:-1] for string in self.strings))


class RatingPrompts:
    """Contexts of samples as tokens, for one tokenizer, K levels and a length limit; `notes` are for the reader."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], *, levels: int, max_length: int
    ) -> None:
        """Render the frames and find the digits' tokens; `EngineError` where the tokenizer or a prompt forbids it."""
        if not 2 <= levels <= MOST_LEVELS:
            raise EngineError(f"levels is {levels}; a rating is one digit, so it must be from 2 to {MOST_LEVELS}.")
        if isinstance(prompts, str) or not prompts or any(not prompt.strip() for prompt in prompts):
            raise EngineError(f"prompts is {prompts!r}; it must be a sequence of one or more rating instructions.")
        self._tokenizer, self._max_length = tokenizer, max_length
        renderer = ChatRenderer(tokenizer)
        self.frames = tuple(frame_of(renderer, prompt, levels=levels) for prompt in prompts)
        self.tokens = rating_tokens(tokenizer, self.frames[0].context(("a", "a")), levels=levels)
        self._spelling = _spelling(tokenizer)
        self.notes = (renderer.note, *_token_notes(self.tokens), *_thought_notes(self.frames[0]))
        self._check_room()

    def __len__(self) -> int:
        """The number of prompts S."""
        return len(self.frames)

    def spells(self, pair: Pair) -> bool:
        """Whether a sample spells a special token or a mark of the frame."""
        return any(self._spelling.search(text) for text in pair)

    def plain(self, text: str) -> str:
        """The text with a space behind the first character of all that it spells and must not be."""
        return self._spelling.sub(lambda found: found[0] + " ", text)

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded | str]:
        """The sequences of samples: by sample, then prompt, then stem; a string is the reason why there is none.

        Each is a context and one rating string; the mask is 1 on the string, whose tokens are what is predicted.
        """
        return [sequence for pair in pairs for sequence in self._sequences(pair)]

    def _sequences(self, pair: Pair) -> list[Encoded | str]:
        ends = [next(s for s in self.tokens.strings if s[:-1] == stem) for stem in self.tokens.stems]
        if not pair[1].strip():
            return ["no response: its text is empty"] * (len(self) * len(ends))
        plain = (self.plain(pair[0]), self.plain(pair[1]))
        found: list[Encoded | str] = []
        for ids, spans in self._tokens([frame.parts(plain) for frame in self.frames]):
            context = self._cut(ids, spans)
            found += [context if isinstance(context, str) else _with_string(*context, end) for end in ends]
        return found

    def _tokens(self, texts: Sequence[tuple[str, ...]]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Token ids of contexts given in five stretches, and the tokens [first, last) of prompt and response."""
        if not self._tokenizer.is_fast:
            return [_by_stretches(self._tokenizer, parts) for parts in texts]
        backend: Any = self._tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        encodings = backend.encode_batch(["".join(parts) for parts in texts], add_special_tokens=False)
        return [(e.ids, _inside(e, parts)) for e, parts in zip(encodings, texts)]

    def _cut(self, ids: list[int], spans: list[tuple[int, int]]) -> tuple[NDArray[np.int32], bool] | str:
        """The context's tokens that are kept, and whether the sample was cut; the reason where it cannot be."""
        kept = np.array(ids[: len(ids) - self.tokens.dropped], dtype=np.int32)
        excess = len(kept) - self._room()
        if excess <= 0:
            return kept, False
        (start, end), (first, last) = spans
        left = min(excess, end - start)
        right = excess - left
        if right >= last - first:
            return f"too long: the rating prompt leaves no room for the response within {self._max_length} tokens"
        return np.delete(kept, np.r_[start : start + left, last - right : last]), True

    def _room(self) -> int:
        return self._max_length - max(len(string) for string in self.tokens.strings)

    def _check_room(self) -> None:
        shortest = self._tokens([frame.parts(("", "a")) for frame in self.frames])
        longest = max(len(ids) for ids, _ in shortest) - self.tokens.dropped
        if longest > self._room():
            raise EngineError(
                f"max_length is {self._max_length}, but the longest rating prompt alone takes {longest} tokens. Choose "
                "shorter prompts, a larger max_length or a model that reads longer texts. Nothing was scored."
            )


def frame_of(renderer: ChatRenderer, prompt: str, *, levels: int) -> Frame:
    """The frame of one rating instruction: it first, then the sample between marks, then the question for a digit.

    Raises `EngineError` where the chat template refuses a user turn or writes it otherwise than it was given.
    """
    asked, question = (text.replace("{levels}", str(levels)) for text in (prompt.strip(), QUESTION))
    sample = f"{PROMPT_MARK}\n{_SLOTS[0]}\n{RESPONSE_MARK}\n{_SLOTS[1]}\n{END_MARK}"
    content = f"{asked}\n\n{sample}\n\n{question}"
    text = renderer.prompt([Message("user", content)])
    if text.count(content) != 1:
        raise EngineError(
            "The tokenizer's chat template rewrites a user turn, so that a rating prompt does not reach the model as "
            "it is worded. Mend chat_template in the model folder, or choose another model. Nothing was scored."
        )
    head, rest = text.split(_SLOTS[0])
    middle, tail = rest.split(_SLOTS[1])
    return Frame(head, middle, tail)


def rating_tokens(tokenizer: PreTrainedTokenizerBase, context: str, *, levels: int) -> RatingTokens:
    """The tokens that the digits 1..levels add behind `context`.

    Tried without and with a space before the digit. One token for every digit is preferred, then an unchanged context,
    then no space. Raises `EngineError` where the tokenizer cannot tell the digits apart.
    """
    ways = [_continuation(tokenizer, context, lead, levels) for lead in ("", " ")]
    usable = [way for way in ways if _tells_apart(tokenizer, way)]
    if not usable:
        raise EngineError(
            f"The tokenizer has no tokens of their own for the digits 1 to {levels}, so no rating can be read. Choose "
            "another model, or a method that does not ask for one. Nothing was scored."
        )
    return min(usable, key=lambda way: (max(map(len, way.strings)), way.dropped))


def _continuation(tokenizer: PreTrainedTokenizerBase, context: str, lead: str, levels: int) -> RatingTokens:
    before = _ids(tokenizer, context)
    after = [_ids(tokenizer, f"{context}{lead}{k}") for k in range(1, levels + 1)]
    shared = min(_shared(before, ids) for ids in after)
    return RatingTokens(tuple(tuple(ids[shared:]) for ids in after), len(before) - shared, lead)


def _tells_apart(tokenizer: PreTrainedTokenizerBase, found: RatingTokens) -> bool:
    """Whether every digit has tokens, none of them the unknown one, and no two digits have the same."""
    known = all(string and tokenizer.unk_token_id not in string for string in found.strings)
    return known and len(set(found.strings)) == len(found.strings)


def _shared(a: list[int], b: list[int]) -> int:
    """How many leading ids two sequences share."""
    return next((t for t, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def _spelling(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """The first character of a special token or a mark, wherever one begins, inside another one too."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    spelt = {*tokenizer.all_special_tokens, *added, PROMPT_MARK, RESPONSE_MARK, END_MARK}
    ordered = sorted((text for text in spelt if len(text.strip()) > 1), key=len, reverse=True)
    first = "".join(sorted({re.escape(text[0]) for text in ordered}))  # most places are ruled out by one look
    return re.compile(rf"(?=[{first}])(?={'|'.join(map(re.escape, ordered))})(?s:.)")


def _inside(encoding: Any, parts: Sequence[str]) -> list[tuple[int, int]]:
    """The tokens [first, last) that lie within the second and the fourth stretch, by character offsets."""
    ends = np.cumsum([len(part) for part in parts])
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)  # (T, 2)
    spans = []
    for start, end in ((ends[0], ends[1]), (ends[2], ends[3])):
        first = int((offsets[:, 0] < start).sum())
        spans.append((first, max(first, int((offsets[:, 1] <= end).sum()))))
    return spans


def _by_stretches(tokenizer: PreTrainedTokenizerBase, parts: Sequence[str]) -> tuple[list[int], list[tuple[int, int]]]:
    """Tokens of a tokenizer without offsets: each stretch is encoded by itself."""
    pieces = [_ids(tokenizer, part) for part in parts]
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    return [token for piece in pieces for token in piece], [(ends[0], ends[1]), (ends[2], ends[3])]


def _with_string(context: NDArray[np.int32], cut: bool, string: tuple[int, ...]) -> Encoded:
    ids = np.concatenate([context, np.array(string, dtype=np.int32)])
    mask = np.zeros(len(ids), dtype=np.uint8)
    mask[len(context) :] = 1
    return Encoded(ids, mask, cut)


def _token_notes(tokens: RatingTokens) -> tuple[str, ...]:
    space = " after a space" if tokens.lead else ""
    if tokens.single:
        return (f"ratings: one token for each digit{space}",)
    return (
        f"ratings: a digit{space} is several tokens here, so its probability is the product of theirs, for all levels",
    )


def _thought_notes(frame: Frame) -> tuple[str, ...]:
    if not frame.tail.rstrip().endswith(_THINK):
        return ()
    return (f"the chat template opens {_THINK} before the answer: ratings are read where a thought would begin",)
