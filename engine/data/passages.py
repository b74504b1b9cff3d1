"""Where two texts say the same: the runs of words that a leak was judged by, as places in both texts.

Words and run lengths are those of `contamination`, so what is marked is what was counted: runs of n words, n by the
item's length. A passage is a stretch of overlapping shared runs. The weight of a run in the pool is not known here, so
boilerplate is marked too. Does not judge and does not draw.
"""

from dataclasses import dataclass

import numpy as np

from engine.data.contamination import SHORTEST_PROMPT, gram_sizes
from engine.data.word_forms import Word, words_at

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Passages:
    """Spans (begin, end) in characters of the sample and of the item, ascending; `n` words make a run, 0: none can."""

    sample: tuple[Span, ...]
    item: tuple[Span, ...]
    n: int

    @property
    def shared(self) -> bool:
        """Whether anything is shared."""
        return bool(self.sample)


def shared_passages(sample: str, item: str, *, prompt: int = 0) -> Passages:
    """The passages that both texts hold; case, white space and encoding do not matter (`word_forms`).

    The item's first `prompt` characters are its prompt, which is looked for by itself too, in runs of its own length,
    if it has `SHORTEST_PROMPT` words.
    An item of fewer than three words shares nothing.
    """
    of_sample, of_item = list(words_at(sample)), list(words_at(item))
    asked = [word for word in of_item if word[2] <= prompt]
    found = [_shared(of_sample, unit) for unit in ([of_item, asked] if len(asked) >= SHORTEST_PROMPT else [of_item])]
    shared = [each for each in found if each.shared] or found[:1]
    spans = (_merged([s for each in shared for s in each.sample]), _merged([s for each in shared for s in each.item]))
    return Passages(*spans, min(each.n for each in shared))


def _shared(of_sample: list[Word], of_item: list[Word]) -> Passages:
    n = int(gram_sizes(np.array([len(of_item)]))[0])
    if not n or len(of_sample) < n:
        return Passages((), (), n)
    runs_s, runs_i = _runs(of_sample, n), _runs(of_item, n)
    both = set(runs_s) & set(runs_i)
    return Passages(_spans(of_sample, runs_s, both, n), _spans(of_item, runs_i, both, n), n)


def _merged(spans: list[Span]) -> tuple[Span, ...]:
    """Spans that touch or overlap as one, ascending."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return tuple(found)


def pieces(text: str, spans: tuple[Span, ...], *, around: int, most: int) -> list[list[tuple[str, bool]]]:
    """The text around its spans for showing: per excerpt, parts in order and whether each is shared.

    Spans nearer than 2 · `around` characters share an excerpt; at most `most` excerpts; a cut is marked by "…".
    """
    groups: list[list[Span]] = []
    for span in spans:
        if groups and span[0] - groups[-1][-1][1] <= 2 * around:
            groups[-1].append(span)
        else:
            groups.append([span])
    return [_excerpt(text, group, around) for group in groups[:most]]


def _excerpt(text: str, group: list[Span], around: int) -> list[tuple[str, bool]]:
    begin, end = max(0, group[0][0] - around), min(len(text), group[-1][1] + around)
    found, at = [("…" if begin else "", False)], begin
    for start, stop in group:
        found += [(text[at:start], False), (text[start:stop], True)]
        at = stop
    found += [(text[at:end], False), ("…" if end < len(text) else "", False)]
    return [part for part in found if part[0]]


def _runs(words: list[Word], n: int) -> list[tuple[str, ...]]:
    texts = [word for word, _, _ in words]
    return list(zip(*(texts[at:] for at in range(n))))


def _spans(words: list[Word], runs: list[tuple[str, ...]], both: set[tuple[str, ...]], n: int) -> tuple[Span, ...]:
    found: list[Span] = []
    last = -1  # the last word of the stretch so far
    for at, run in enumerate(runs):
        if run not in both:
            continue
        begin, end = words[at][1], words[at + n - 1][2]
        if found and at <= last + 1:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
        last = at + n - 1
    return tuple(found)
