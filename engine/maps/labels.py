"""Readable names for clusters: the few words that set a cluster's prompts apart from all others'.

Class-based TF-IDF (Grootendorst 2022, BERTopic) on document counts. For cluster c and term t (a word, or two words
in a row) let p(t|c) be the share of the cluster's sampled rows that contain t. The weight is
p(t|c) · log(1 + mean over clusters of the total of p / sum over clusters of p(t|·)): common inside, rare outside.
Counting a term once per row keeps one repetitive row from naming a cluster.

Labels have two to four words and differ between clusters. Text is only counted, never shown as markup.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.progress import Reporter, Silent

Texts = Sequence[str] | Callable[[NDArray[np.int64]], Sequence[str]]

UNNAMED = "unnamed"
ROWS_PER_CLUSTER = 300
_CHARACTERS = 1500
_WORD = re.compile(r"[^\W\d_](?:[\w+#]*[\w+#])?(?:'[^\W\d_]+)?")
_STOP_WORDS = """
a about above after again against all also am an and any are aren't as at be because been before being below
between both but by can can't cannot could couldn't did didn't do does doesn't doing don't done down during each
either else etc even ever every few for from further get gets getting go goes going got had has have haven't
having he her here hers herself him himself his how however i i'd i'll i'm i've if in into is isn't it it's its
itself just know let let's like ll make makes many may me might more most much must my myself need needs no nor
not now of off on once one only or other our ours out over own per please re said same say says see several
shall she should so some such than that that's the their theirs them themselves then there there's these they
they're this those though through thus to too two under until up upon us use used uses using ve very via want
was wasn't way we well were what what's when where whether which while who whom whose why will with within
without won't would wouldn't yes yet you you'd you'll you're you've your yours yourself above answer answers
answered ask asked assistant choose consider correct describe detailed determine each example examples explain
find first following follows give given gives generate good help here identify include including input
instruction instructions list new number output passage possible prompt provide provided question questions read
reply respond response result right sentence sentences show step task tell text think thing things time true
user word words write written def return self import none var const let elif
"""
_STOP = frozenset(_STOP_WORDS.split())


def terms(text: str) -> set[str]:
    """The distinct words and word pairs of `text` that may name a cluster, lower case, stop words removed."""
    found: set[str] = set()
    previous = ""
    for match in _WORD.finditer(text[:_CHARACTERS].lower()):
        word = match.group()
        kept = word if word not in _STOP and (len(word) > 2 or not word.isalpha() or not word.isascii()) else ""
        if kept:
            found.add(kept)
            if previous and previous != kept:
                found.add(f"{previous} {kept}")
        previous = kept
    return found


def label_clusters(
    codes: NDArray[np.int32],
    texts: Texts,
    *,
    seed: int = 0,
    rows_per_cluster: int = ROWS_PER_CLUSTER,
    reporter: Reporter | None = None,
) -> list[str]:
    """One label per cluster 0..c-1 of `codes` (n,), from at most `rows_per_cluster` seeded rows of each.

    `texts` is the rows' texts, or a function from row numbers (ascending int64) to their texts. Labels are
    distinct; a cluster without usable words is called "unnamed", numbered.
    """
    listener = reporter or Silent()
    count = int(codes.max(initial=-1)) + 1
    listener.phase("labels", count, "clusters")
    rng = np.random.default_rng(seed)
    shares = []
    for code in range(count):
        listener.check()
        rows = np.flatnonzero(codes == code)
        if len(rows) > rows_per_cluster:
            rows = np.sort(rng.choice(rows, rows_per_cluster, replace=False))
        shares.append(_shares([terms(text) for text in _fetch(texts, rows)]))
        listener.advance(1)
    return name(shares)


def name(shares: Sequence[dict[str, float]]) -> list[str]:
    """Distinct labels from each cluster's p(t|c)."""
    total, mass = _total(shares), _mass(shares)
    taken: set[str] = set()
    labels = []
    for own in shares:
        label = _distinct(_weights(own, total=total, mass=mass), taken)
        taken.add(label)
        labels.append(label)
    return labels


def _fetch(texts: Texts, rows: NDArray[np.int64]) -> Sequence[str]:
    return texts(rows) if callable(texts) else [texts[int(row)] for row in rows]


def _shares(documents: Sequence[set[str]]) -> dict[str, float]:
    """p(t|c) of terms in at least two rows and 3 % of them (a cluster of under four rows keeps all)."""
    counts = Counter(term for document in documents for term in document)
    least = 1 if len(documents) < 4 else max(2.0, 0.03 * len(documents))
    return {term: seen / len(documents) for term, seen in counts.items() if seen >= least}


def _total(shares: Sequence[dict[str, float]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for own in shares:
        total.update(own)
    return total


def _mass(shares: Sequence[dict[str, float]]) -> float:
    return sum(sum(own.values()) for own in shares) / max(1, len(shares))


def _weights(own: dict[str, float], *, total: Counter[str], mass: float) -> list[tuple[str, float]]:
    """Terms with weights, heaviest first; ties alphabetically. Pairs count a little more: they read better."""
    pair = 1.25
    weights = [
        (term, share * float(np.log1p(mass / total[term])) * (pair if " " in term else 1.0))
        for term, share in own.items()
    ]
    return sorted(weights, key=lambda item: (-item[1], item[0]))


def _chosen(weights: Sequence[tuple[str, float]], *, most: int = 3, words: int = 4) -> list[str]:
    """The heaviest terms without repeating a stem: up to three terms and four words, never weaker than a quarter."""
    chosen: list[str] = []
    stems: set[str] = set()
    for term, weight in weights:
        parts = [_stem(word) for word in term.split()]
        room = sum(len(one.split()) for one in chosen) + len(parts) <= words
        enough = sum(len(one.split()) for one in chosen) >= 2
        if len(chosen) == most or (enough and weight < 0.25 * weights[0][1]):
            break
        if room and not stems.intersection(parts):
            chosen.append(term)
            stems.update(parts)
    return chosen


def _stem(word: str) -> str:
    """Enough of a stem to keep "number" and "numbers" from standing side by side."""
    for ending in ("ies", "ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + ("y" if ending == "ies" else "")
    return word


def _distinct(weights: Sequence[tuple[str, float]], taken: set[str]) -> str:
    """The heaviest terms as a label; where it is taken, the next best terms stand in, and last a number."""
    label = ", ".join(_chosen(weights)) or UNNAMED
    for skipped in range(1, min(8, len(weights))):
        if label not in taken:
            break
        label = ", ".join(_chosen([weights[0], *weights[1 + skipped :]])) or label
    if label not in taken:
        return label
    number = 2
    while f"{label} ({number})" in taken:
        number += 1
    return f"{label} ({number})"
