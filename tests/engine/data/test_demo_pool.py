"""The demo pool: deterministic, faults where the labels say and nowhere else, targets kept apart."""

import ast
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from engine.data.demo import EVAL_ROWS, GUIDE, TARGET_ROWS, DemoRows, demo_rows, write_demo
from engine.errors import EngineError

SUM = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
WORK = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}


@pytest.fixture(scope="module")
def demo() -> DemoRows:
    return demo_rows(seed=0)


def faults(demo: DemoRows, kind: str) -> list[dict]:
    return [label for label in demo.labels if label["fault"] == kind]


def by_id(demo: DemoRows) -> dict[str, dict]:
    return {row["id"]: row for row in demo.pool}


def prompt(row: dict) -> str:
    return row["messages"][-2]["content"]


def response(row: dict) -> str:
    return row["messages"][-1]["content"]


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(demo: DemoRows) -> None:
    assert demo_rows(seed=0) == demo
    assert {prompt(row) for row in demo_rows(seed=1).pool} != {prompt(row) for row in demo.pool}


@pytest.mark.parametrize("seed", [2, 3])
def test_size_sources_and_rates(seed: int) -> None:
    rows = demo_rows(seed=seed)
    assert 2500 <= len(rows.pool) <= 3000
    assert len({row["source"] for row in rows.pool}) == 10
    assert sum(len(json.dumps(row)) for row in rows.pool) < 1_000_000
    counts = Counter(label["fault"] for label in rows.labels)
    assert set(counts) == set(GUIDE)
    assert all(0.01 <= count / len(rows.pool) <= 0.04 for count in counts.values())


def test_ids_are_unique_and_rows_show_no_fault(demo: DemoRows) -> None:
    ids = [row["id"] for row in demo.pool]
    assert len(set(ids)) == len(ids)
    assert all(set(row) == {"id", "source", "messages"} for row in demo.pool)
    assert all(re.fullmatch(rf"{row['source']}-\d{{4}}", row["id"]) for row in demo.pool)
    labelled = {label["id"] for label in demo.labels}
    assert len(labelled) == len(demo.labels)
    assert labelled <= set(ids)
    places = sorted(ids.index(name) for name in labelled)
    assert places[0] < 100 and places[-1] > len(ids) - 100  # faults are spread, not appended


def test_a_wrong_answer_differs_and_right_sums_are_right(demo: DemoRows) -> None:
    wrong = {label["id"] for label in faults(demo, "wrong-answer")}
    swapped = {label["id"] for label in faults(demo, "swapped-answer")}
    right = [row for row in demo.pool if row["id"] not in wrong | swapped]
    sums = [found for row in right for found in SUM.findall(response(row))]
    assert len(sums) > 1000
    assert all(
        WORK[sign](int(left), int(right_)) == int(result) for left, sign, right_, result in _complete(demo, wrong)
    )
    false = [row for row in demo.pool if row["id"] in wrong and row["source"] in ("word-problems", "arithmetic")]
    mistaken = [
        any(WORK[sign](int(left), int(r)) != int(result) for left, sign, r, result in SUM.findall(response(row)))
        for row in false
        if SUM.search(response(row))
    ]
    assert len(mistaken) > 10 and all(mistaken)


def _complete(demo: DemoRows, wrong: set[str]) -> list[tuple[str, str, str, str]]:
    """The sums of the rows that are neither wrong nor cut (a cut may fall inside a result)."""
    cut = {label["id"] for label in faults(demo, "truncated")}
    rows = [row for row in demo.pool if row["id"] not in wrong | cut]
    return [found for row in rows for found in SUM.findall(response(row))]


def test_swapped_answers_are_each_other_s(demo: DemoRows) -> None:
    partner = {label["id"]: label["of"] for label in faults(demo, "swapped-answer")}
    assert partner and all(partner[other] == name for name, other in partner.items())
    rows = by_id(demo)
    assert all(response(rows[name]) != response(rows[other]) for name, other in partner.items())


def test_truncated_answers_stop_early(demo: DemoRows) -> None:
    rows = by_id(demo)
    cut = [response(rows[label["id"]]) for label in faults(demo, "truncated")]
    assert all(cut)
    ended = sum(text.endswith((".", "```", "?", "!")) for text in cut)
    assert ended < 0.1 * len(cut)


def test_duplicates_come_after_the_row_they_repeat(demo: DemoRows) -> None:
    rows, places = by_id(demo), {row["id"]: at for at, row in enumerate(demo.pool)}
    exact = 0
    for label in faults(demo, "duplicate"):
        copy, first = rows[label["id"]], rows[label["of"]]
        assert places[label["id"]] > places[label["of"]]
        assert response(copy) == response(first)
        assert prompt(first)[1:] in prompt(copy)
        exact += prompt(copy) == prompt(first)
    assert 0.3 < exact / len(faults(demo, "duplicate")) < 0.7


def test_leaks_are_target_items_and_nothing_else_is(demo: DemoRows) -> None:
    rows = by_id(demo)
    items = {item["id"]: item for items in demo.targets.values() for item in items}
    for label in faults(demo, "leak"):
        assert prompt(items[label["of"]])[1:] in prompt(rows[label["id"]])
        assert response(items[label["of"]]) == response(rows[label["id"]])
    leaked = {label["id"] for label in faults(demo, "leak")}
    others = {prompt(row) for row in demo.pool if row["id"] not in leaked}
    assert not others & {prompt(item) for item in items.values()}


def test_targets_and_held_out_rows_are_apart(demo: DemoRows) -> None:
    assert set(demo.targets) == set(demo.evals) == {"word-problems", "code"}
    held_out = {prompt(row) for rows in demo.evals.values() for row in rows}
    assert all(len(rows) == TARGET_ROWS for rows in demo.targets.values())
    assert all(len(rows) == EVAL_ROWS for rows in demo.evals.values())
    assert not held_out & {prompt(row) for rows in (demo.pool, *demo.targets.values()) for row in rows}


def test_python_code_of_sound_rows_parses(demo: DemoRows) -> None:
    faulty = {label["id"] for label in demo.labels}
    answers = [response(row) for row in demo.pool if row["id"] not in faulty and row["source"] == "code"]
    code = [answer[len("```python\n") : -len("\n```")] for answer in answers if answer.startswith("```python")]
    assert len(code) > 100
    assert all(ast.parse(text).body for text in code)


def test_files_say_the_same_twice_and_read_back(tmp_path: Path, demo: DemoRows) -> None:
    first, second = write_demo(tmp_path / "one"), write_demo(tmp_path / "two")
    for one in (tmp_path / "one").iterdir():
        assert one.read_bytes() == (tmp_path / "two" / one.name).read_bytes()
    assert [json.loads(line) for line in first.pool.read_text("utf-8").splitlines()] == demo.pool
    assert [json.loads(line) for line in second.labels.read_text("utf-8").splitlines()] == demo.labels
    assert set(first.targets) == set(first.evals) == {"word-problems", "code"}
    assert len(first.targets["code"].read_text("utf-8").splitlines()) == TARGET_ROWS


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(EngineError, match="could not be written"):
        write_demo(tmp_path / "file" / "demo")
    assert (tmp_path / "file").read_text() == "kept"
