"""Whatever a file or a user brings is shown as text: no element that reads Markdown gets it unescaped."""

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from engine.store.project import Project
from pages.parts import review_keys

PAGES = ["app.py", "1_Pool.py", "2_Score.py", "3_Map.py", "4_Review.py", "5_Compare.py", "6_Select.py", "8_Export.py"]
MARKS = ("![x](", "<img", "**bold**", ":red[", ":material/", "[link](", "https://", "www.", "@e", "~~", "$x")
# drawn as text: canvas cells, plain text, code without a language, typed values
AS_TEXT = {"text", "code", "arrow_data_frame", "text_input", "text_area"}
READ = ("label", "body", "help", "text", "header", "caption", "placeholder", "delta")
JOINER = "\u2060"


def _nodes(block: Any) -> Iterator[Any]:
    for child in block.children.values():
        yield child
        if hasattr(child, "children"):
            yield from _nodes(child)


def _markdown(node: Any) -> str:
    """What a Markdown renderer reads of an element, without what is escaped or held apart by a joiner."""
    names = ("label", "help") if getattr(node, "type", "") in AS_TEXT else READ
    values = [getattr(getattr(node, "proto", None), name, "") for name in names]
    return re.sub(r"\\.", JOINER, "\n".join(value for value in values if isinstance(value, str)))


@pytest.mark.parametrize("page", PAGES)
def test_hostile_text_reaches_no_markdown(
    pages: Any, make_project: Callable[..., Project], add_run: Callable[..., Any], hostile: str, page: str
) -> None:
    project = make_project("pro **bold** :red[x]", text=hostile)
    said = {"sentence": hostile, "note": hostile, "notes": [hostile], "strategy": hostile, "name": hostile}
    told = dict.fromkeys(("embedding", "tuning", "adaptive", "refinement", "landmark_choice"), said)
    add_run(project, "run **bold** [link](x)", seed=3, full=True, parameter_set=hostile, notes=[hostile], **told)
    project.decide([0], "approve", by=hostile[:60], note=hostile)
    project.save_selection("sel **bold** [link](x)", spec={"run": "landmark"}, rows=[0, 1], by=hostile[:60])
    test = pages.open(page, project, sample="row-0")
    assert not test.exception
    nodes = [*_nodes(test.main), *_nodes(test.sidebar)]
    assert len(nodes) > 20
    for node in nodes:
        read = _markdown(node)
        for mark in MARKS:
            assert mark not in read, (page, node.type, read[:400])


def test_the_check_would_find_what_it_looks_for() -> None:
    node = SimpleNamespace(type="caption", proto=SimpleNamespace(body="see **bold** and \\*\\*not\\*\\*"))
    assert "**bold**" in _markdown(node)
    assert "**not**" not in _markdown(node)


def test_the_sample_itself_is_shown_unchanged_as_text(
    pages: Any, make_project: Callable[..., Project], hostile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, Any] = {}
    monkeypatch.setattr(review_keys, "mount", lambda **drawn: sent.update(drawn["data"]))  # it shows text as text
    pages.open("4_Review.py", make_project(text=hostile), sample="row-0")
    shown = next(sample for sample in sent["samples"] if sample["at"] == sent["at"])
    assert shown["turns"][0] == ["User", f"{hostile} question 0"]
