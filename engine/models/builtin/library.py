"""Text of the Python installation at hand, read at training time and never copied: documentation and sources.

Everything here ships with Python under the PSF licence. It gives the tokenizer and the model English prose and real
code beside the made-up samples. Which files there are depends on the Python version, and so do the weights.
"""

import ast
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics

from engine.errors import EngineError

LONGEST_FUNCTION = 700
PIECE = 1200


@cache
def sources() -> tuple[str, ...]:
    """The top-level modules of the standard library, in order of their names."""
    folder = Path(sysconfig.get_path("stdlib"))
    texts = tuple(path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("*.py")))
    if not texts:
        raise EngineError(
            f"No sources of the Python standard library lie in {folder}; the built-in model is trained on "
            "them too. Use a Python that has them. Nothing was written."
        )
    return texts


@cache
def prose() -> tuple[str, ...]:
    """The topics of Python's reference manual and the docstrings of the standard library's modules."""
    manual = tuple(topics[name] for name in sorted(topics))
    heads = (ast.get_docstring(ast.parse(text)) for text in sources())
    return manual + tuple(head for head in heads if head)


@cache
def pieces() -> tuple[str, ...]:
    """Prose and sources cut at line ends into pieces of about `PIECE` characters; prose twice, as it is scarcer."""
    return tuple(piece for text in (*prose(), *prose(), *sources()) for piece in _cut(text))


@cache
def functions() -> tuple[tuple[str, str], ...]:
    """(task, code) of the library's short documented functions: what one does, and its source."""
    return tuple(pair for text in sources() for pair in _functions(text))


def _cut(text: str) -> Iterator[str]:
    held, size = [], 0
    for line in text.splitlines(keepends=True):
        held.append(line)
        size += len(line)
        if size >= PIECE:
            yield "".join(held)
            held, size = [], 0
    if size > PIECE // 10:
        yield "".join(held)


def _functions(text: str) -> Iterator[tuple[str, str]]:
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef):
            continue
        summary = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ").strip()
        code = _segment(lines, node)
        if summary and len(code) <= LONGEST_FUNCTION:
            arguments = ", ".join(argument.arg for argument in node.args.args)
            yield f"Write a Python function `{node.name}({arguments})`. {summary}", f"```python\n{code}\n```"


def _segment(lines: list[str], node: ast.FunctionDef) -> str:
    """What `ast.get_source_segment` gives, without splitting the whole source again for every node."""
    part = lines[node.lineno - 1 : node.end_lineno]
    part[-1] = part[-1].encode()[: node.end_col_offset].decode()
    part[0] = part[0].encode()[node.col_offset :].decode()
    return "\n".join(part)
