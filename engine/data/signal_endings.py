"""Whether a response stops in the middle, judged by how it ends, with care for short answers, lists and code.

Three verdicts: WHOLE; CUT, where the ending itself shows it (an open code fence or bracket, a dangling comma, operator
or article); OPEN, prose without a final mark, which is a cut where the pool's other prose ends with one. A cut that
falls on the end of a sentence or of a line of code cannot be seen here.
"""

import re
from typing import Literal

Verdict = Literal[0, 1, 2]
WHOLE: Verdict = 0
CUT: Verdict = 1
OPEN: Verdict = 2

FENCE = "```"
MARKED = tuple(".!?…。！？।؟۔")
"""Marks that end a sentence."""
_DANGLING = re.compile(
    r"(?:[,，、،–—=\[{\\]|(?<![:;=])(?<![:;=]-)\(|(?<=\s)[-*/<|]|(?<=[a-zß-ÿ])-|(?<=\s)(?<!\} )(?<!\}' )\+)$"
)
"""Marks that ask for more; no A+, AB-, |x|, bold text, frown or shell's {} +."""
_FROWN = re.compile(r"[:;=]-?[(\[]")
_BOLD = re.compile(r"(?:^|\s)\*\*[^\W\d][^*]*$")
_DANGLING_WORDS = frozenset(
    word
    for words in (
        "a an the of to in on at by for with from and or but nor so if as than that which who whose is are was were",
        "be will would can could should must has have had do does did not your my his her its our their this these",
    )
    for word in words.split()
)
_SMALL = frozenset(("a", "an", "and", "at", "by", "da", "de", "for", "in", "of", "on", "or", "the", "to", "van", "von"))
"""Words that names and titles write small."""
_SENTENCE = re.compile(r"[.!?…]['\"”)]*\s|[。！？]")
CODE_LINE = re.compile(
    r"^\s*(?:def |class |import |from \w+ import|return\b|for .*[:{]$|while .*[:{]$|if .*[:{]$|else\b|elif |print\(|"
    r"#include|using |public |private |const |let |var |function\b|SELECT |INSERT |UPDATE |<\w+|</|[}\])]|.*[;{]$|"
    r"[\w.\[\]\"']+ = \S|\w[\w.]*\(.*\)$|//|/\*|\$ |#!/|(?:FROM|WHERE|(?:INNER |LEFT |RIGHT )?JOIN|GROUP BY|ORDER BY|"
    r"HAVING|LIMIT) |(?:find|grep|awk|sed|echo|sort|curl|mv|cp|rm|mkdir|chmod|tar|du|ls|cat|cd|wc) [-./~*\"'${(])",
)
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_STRING = re.compile(r"`[^`]*`|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"")
_COMMENT = re.compile(r"(?:^|\s)(?:#|//).*$", re.MULTILINE)
_OPERATOR = re.compile(
    r"(?:[\w'\")\]]\s(?:[+%=]|&&|\|\||and|or|not|in|==|!=|<=|>=)|\w\s[<>]|(?<!import)(?<!select)(?<!SELECT)\s\*|"
    r"\b(?:import|WHERE|AND|OR|FROM|JOIN|ON|BY|SELECT|SET|HAVING))$"
)
"""What a line of code cannot end with."""
_BLOCKS = ("html", "head", "body", "div", "ul", "ol", "table", "script", "style", "form", "section", "svg")
"""Elements of HTML that people close."""
_ITEM = re.compile(r"[-*•]|\d+[.)]\s")
TAIL = 16
"""Characters at the end that tell whether more was to come."""
SHORTEST_PROSE = 3
LONG = 12
"""Characters of as many words, in scripts that write no spaces between them."""


def verdict(response: str) -> Verdict:
    """How the response ends: `WHOLE`, `CUT` or `OPEN`. An empty response is whole: it is missing, not cut."""
    text = response.rstrip()
    if not text:
        return WHOLE
    if text.count(FENCE) % 2:
        return CUT
    if text.endswith(FENCE):
        return WHOLE
    if looks_like_code(text):
        return CUT if _code_is_open(text) else WHOLE
    return _prose(text)


def looks_like_code(text: str) -> bool:
    """Whether at least half of the lines with text read as code."""
    lines = [line for line in text.splitlines() if line.strip()]
    return 2 * sum(bool(CODE_LINE.match(line)) or line.startswith("    ") for line in lines) >= max(len(lines), 1)


def last_word(response: str) -> str:
    """The word the response ends with, in lower case; "" where it ends with anything but a letter."""
    found = re.search(r"[^\W\d_]+$", response.rstrip())
    return found.group().lower() if found else ""


def _code_is_open(text: str) -> bool:
    bare = _COMMENT.sub("", _STRING.sub("''", text))
    last = text.splitlines()[-1].rstrip()
    ends = last.endswith((",", "=", "(", "[", "{", "\\")) or bool(_OPERATOR.search(bare.rstrip()[-TAIL:]))
    return ends or _open_brackets(bare) or _opens_block(last) or _open_elements(text)


def _open_elements(text: str) -> bool:
    if "</" not in text:
        return False
    low = text.lower()
    if low.endswith("</html>"):
        return False
    return any(len(re.findall(rf"<{name}[\s>]", low)) > low.count(f"</{name}>") for name in _BLOCKS)


def _opens_block(line: str) -> bool:
    return bool(re.match(r"\s*(?:def|class|for|while|if|elif|else|try|with)\b.*:$", line))


def _open_brackets(text: str) -> bool:
    return any(text.count(opening) > text.count(closing) for opening, closing in _PAIRS.items())


def _open_remark(line: str) -> bool:
    """Whether prose has an open bracket: half-open intervals have two kinds, and frowns are none."""
    bare = _FROWN.sub("", line)
    return len(re.findall(r"[(\[]", bare)) > len(re.findall(r"[)\]]", bare)) or bare.count("{") > bare.count("}")


def _prose(text: str) -> Verdict:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last, words = lines[-1], lines[-1].split()
    if not re.search(r"\w", last) or last.endswith("*/"):
        return WHOLE  # a rule, a border, a row of brackets, the end of a comment
    if last.startswith("|") and last.endswith("|"):
        return CUT if len(lines) > 1 and last.count("|") < lines[-2].count("|") else WHOLE  # a row of a table
    if _DANGLING.search(text[-TAIL:]) or _BOLD.search(last) or _dangles(words):
        return CUT
    if _open_remark(last) and len(words) >= SHORTEST_PROSE:
        return CUT
    if text[-1] in ":：" and (len(words) > SHORTEST_PROSE or (not last.isascii() and len(last) >= LONG)):
        return CUT  # what it announces is missing
    if not text[-1].isalnum():
        return WHOLE
    return OPEN if _reads_as_sentence(lines, words) else WHOLE


def _dangles(words: list[str]) -> bool:
    """Whether the last word asks for another, as an article does; not in a list of letters or words."""
    if len(words) < SHORTEST_PROSE or words[-1].lower() not in _DANGLING_WORDS:
        return False
    return words[-2][-1].isalpha() and not all(word[:1].isupper() for word in words)


def _reads_as_sentence(lines: list[str], words: list[str]) -> bool:
    """Prose that should end with a mark: it goes on after an ended sentence, or opens like one and has a plain word."""
    last = lines[-1]
    if not re.match(r"[\"'“(]*\w", last):
        return False
    if _SENTENCE.search(last) and not _ITEM.match(last):
        return True
    if len(lines) > 1 and all(line.endswith(MARKED) for line in lines[:-1]):
        return not last.isdigit()
    if len(lines) > 2 and not any(line.endswith((*MARKED, ":")) for line in lines[:-1]):
        return False  # a poem, or lines of a list
    begun = len(words) >= SHORTEST_PROSE or not _DANGLING_WORDS.isdisjoint((words[0].lower(), words[-1]))
    plain = begun and any(word.islower() and word not in _SMALL for word in words[1:])
    return plain and not _ITEM.match(last) and (last[0].isupper() or last[0].isdigit())
