"""What every text that a regular expression matches must hold: literals read off the expression.

    required(r"(?i)\\d+ (apples|pears) a day") -> ((" a day",), ("apples", "pears"))

Notation: a *group* is some literals of which a matching text has at least one; all groups are needed. A literal is
printable ASCII, to be looked for whatever its case. What is not certain is left out, so that a group may be missing
and no text that matches is ever lost: an optional part asks for nothing, an alternative without a literal frees all
others, and an expression with anything but the plain syntax below (`\\p`, `\\x`, `\\Q`, classes within classes) asks
for nothing at all. Knows RE2's syntax as far as it reads it; whether the expression is valid is told elsewhere
(`search_words`), and which rows have a literal by `search_candidates`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Group = tuple[str, ...]
MOST_GROUPS, MOST_LITERALS = 3, 16  # more would cost more to look up than they save
DEEPEST = 50
_TOKEN = re.compile(
    r"""
      (?P<flags> \(\?[imsU]*(?:-[imsU]+)?\) )
    | (?P<open> \((?:\?(?:P?<[A-Za-z_]\w*>|[imsU]*(?:-[imsU]+)?:)|(?!\?)) )
    | (?P<close> \) )
    | (?P<bar> \| )
    | (?P<repeat> (?:[*+?]|\{(?P<least>[0-9]+)(?:,[0-9]*)?\})\?? )
    | (?P<edge> [\^$]|\\[bBAz] )
    | (?P<one> [.{}\]]|\\[dDwWsStnrfva]|\[\^?+(?:[^\[\]\\]|\\[^A-CE-RT-VX-Za-ceg-mo-qux-z0-9])+\] )
    | (?P<literal> \\[ !-/:-@\[-^`{-~]|[^\\\[\](){}|*+?.^$] )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)


class _Unread(Exception):
    """The expression has something that is not read here."""


@dataclass
class _Level:
    """One pair of brackets while it is read: alternatives that are done, and the groups of the one that is open.

    `held` is the literal that grows; `last` what a repetition would repeat: a "character", the groups of a "bracket",
    something "other", or nothing ("").
    """

    done: list[list[Group]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    held: str = ""
    last: str = ""
    bracket: list[Group] = field(default_factory=list)

    def settle(self, last: str) -> None:
        """What was last read is not repeated: it is needed."""
        self.groups += self.bracket
        self.bracket, self.last = [], last

    def cut(self) -> None:
        """The literal that grew ends here."""
        if self.held.strip():
            self.groups.append((self.held,))
        self.held = ""

    def literal(self, character: str) -> None:
        self.settle("character")
        if " " <= character <= "~":
            self.held += character
        else:
            self.cut()
            self.last = "other"

    def other(self) -> None:
        self.settle("other")
        self.cut()

    def repeat(self, least: int) -> None:
        if not self.last:
            raise _Unread
        if not least:
            self.held, self.bracket = self.held[:-1] if self.last == "character" else self.held, []
        self.settle("")
        self.cut()

    def bar(self) -> None:
        self.settle("")
        self.cut()
        self.done.append(self.groups)
        self.groups = []

    def close(self) -> list[Group]:
        """The groups of all of it: of its only alternative, or one that has a literal of each."""
        self.bar()
        if len(self.done) == 1:
            return self.done[0]
        if not all(self.done):
            return []
        return [tuple(dict.fromkeys(literal for groups in self.done for literal in max(groups, key=_worth)))]


def required(pattern: str) -> tuple[Group, ...]:
    """The groups of an RE2 expression, the most telling first, at most `MOST_GROUPS`; () where nothing is certain."""
    try:
        groups = _read(pattern)
    except _Unread:
        return ()
    fit = (group for group in dict.fromkeys(groups) if len(group) <= MOST_LITERALS)
    return tuple(sorted(fit, key=_worth, reverse=True)[:MOST_GROUPS])


def _read(pattern: str) -> list[Group]:
    levels = [_Level()]
    for kind, text, least in _tokens(pattern):
        level = levels[-1]
        if kind == "literal":
            level.literal(text[-1])
        elif kind == "repeat":
            level.repeat(least)
        elif kind == "bar":
            level.bar()
        elif kind == "open":
            level.other()
            levels.append(_Level())
        elif kind == "close" and len(levels) > 1:
            levels.pop()
            levels[-1].last, levels[-1].bracket = "bracket", level.close()
        elif kind == "close":
            raise _Unread
        else:
            level.other()
        if len(levels) > DEEPEST:
            raise _Unread
    if len(levels) > 1:
        raise _Unread
    return levels[0].close()


def _tokens(pattern: str) -> Iterable[tuple[str, str, int]]:
    """Kind, text and, of a repetition, how often at least."""
    at = 0
    while at < len(pattern):
        found = _TOKEN.match(pattern, at)
        if found is None:
            raise _Unread
        least = int(found["least"] or found.group().startswith("+"))
        yield found.lastgroup or "", found.group(), least
        at = found.end()


def _worth(group: Sequence[str]) -> int:
    return min(len(literal.strip()) for literal in group)
