"""`find` in the shell: what it prints, its JSON and its exit statuses; nothing in a text moves the terminal."""

import json
from pathlib import Path

import numpy as np
import pytest

from engine.__main__ import main
from engine.store import artifacts
from engine.store.project import Project
from engine.store.records import MapRecord

ROWS = [("Name a river", "The \x1b[31m Elbe\u202e"), ("Name two rivers", "The Elbe and the Rhine"), ("Add 2", "4")]


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Three rows, the first two alike on the map."""
    lines = [json.dumps({"id": f"r{i}", "prompt": p, "completion": c}) for i, (p, c) in enumerate(ROWS)]
    (tmp_path / "pool.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert main(["add-pool", str(tmp_path / "p"), str(tmp_path / "pool.jsonl")]) == 0
    place = Project.open(tmp_path / "p")
    with artifacts.create(place.artifacts, "map", "p", {}) as folder:
        artifacts.save_array(folder, "features", np.array([[1, 0], [1, 0.1], [0, 1]], np.float32))
        artifacts.write_json(folder / "recipe.json", {"features": "hidden"})
    place.add_map(MapRecord("map-1", "map-p", len(ROWS), place.pool_hash(), "hidden"))
    capsys.readouterr()
    return tmp_path / "p"


def test_find_prints_where_it_matches_and_nothing_that_moves_the_terminal(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["find", str(project), "elbe", "--limit", "1"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[1].split() == ["r0", "response", "The", "\ufffd[31m", "[Elbe]\ufffd"]
    assert said.err == "2 of 3 samples match; 1 are shown\n"
    assert main(["find", str(project), r"^\w+ two", "--mode", "regex", "--in", "prompt", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["format_version"], told["searched"], told["found"]) == (1, 3, 1)
    assert told["matches"] == [
        {"id": "r1", "row": 1, "file": "pool.jsonl", "line": 2, "in": "prompt", "excerpt": "Name two rivers",
         "matched": ["Name two"]},
    ]  # fmt: skip
    assert main(["find", str(project), "danube"]) == 0 and capsys.readouterr().out == "Nothing found.\n"


def test_find_ranks_by_likeness_and_leaves_the_sample_itself_out(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["find", str(project), "r0", "--mode", "like", "--limit", "2"]) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [["r1", "0.995"], ["r2", "0.000"]]


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["(a", "--mode", "regex"], 1, "missing )"),
        (["", "--mode", "words"], 1, "The query is empty"),
        (["a", "--mode", "fuzzy"], 2, "--mode"),
        (["nobody", "--mode", "like"], 1, "No sample has the id"),
    ],
)
def test_what_find_cannot_do_is_one_message(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, says: str
) -> None:
    assert main(["find", str(project), *words]) == status
    said = capsys.readouterr()
    assert says in said.err and "Traceback" not in said.err and not said.out
