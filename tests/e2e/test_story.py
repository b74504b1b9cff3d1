"""The whole story in a real browser: demo, score, map, lasso, review, select, export; and deep links."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from engine.store.decisions import DECISIONS, DecisionEntry
from engine.store.project import Project
from tests.e2e.conftest import Server, Watched, lasso, rested, running

pytestmark = [pytest.mark.browser, pytest.mark.slow]
BUILD_MS = 900_000
SAVED_MS = 60_000  # the next sample is shown at once; the decision is in the log soon after


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A fresh machine: no project yet."""
    yield from running(tmp_path_factory.mktemp("fresh") / "projects")


@pytest.fixture(scope="module")
def demo(browser, server: Server) -> Path:
    """The demo project, built with one click on the first page of a fresh machine."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(server.address)
    page.get_by_role("button", name="Build the demo").click()
    expect(page.get_by_text("The demo is ready")).to_be_visible(timeout=BUILD_MS)
    page.close()
    return server.home / "demo"


def open_step(page: Page, name: str) -> None:
    """Go to a step by the navigation, as a person does."""
    page.get_by_test_id("stSidebar").get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


def counts(page: Page) -> tuple[int, int, int]:
    """`N selected of M filtered of T samples` as numbers."""
    line = page.get_by_text(re.compile(r"selected of .* filtered of .* samples")).first.inner_text()
    selected, filtered, total = (int(number.replace(",", "")) for number in re.findall(r"[\d,]+", line)[:3])
    return selected, filtered, total


def logged(project: Project, page: Page, decisions: list[str]) -> list[DecisionEntry]:
    """The latest entries of the log, newest first, once they are these decisions."""
    for _ in range(SAVED_MS // 100):
        found = project.decision_log(limit=len(decisions))
        if [entry.decision for entry in found] == decisions:
            return found
        page.wait_for_timeout(100)
    raise AssertionError([entry.decision for entry in found])


def test_from_the_demo_to_an_exported_file(watched: Watched, server: Server, demo: Path) -> None:
    page = watched.page
    page.goto(f"{server.address}/?project=demo")
    page.get_by_role("link", name="See the map").click()
    expect(page.get_by_role("button", name=re.compile("^Lasso points"))).to_be_visible()
    selected, filtered, total = counts(page)
    assert (selected, filtered) == (0, total)

    lasso(page)
    expect(page.get_by_role("button", name=re.compile(r"^Reject [\d,]+$"))).to_be_enabled()
    selected, filtered, _ = counts(page)
    assert 0 < selected < total
    page.locator("[data-touchstone-map]").evaluate("map => { map.dataset.seen = 'before'; }")
    page.get_by_role("button", name=re.compile(r"^Reject [\d,]+$")).click()
    expect(page.get_by_text("samples rejected")).to_be_visible()
    rested(page)
    expect(page.locator("[data-touchstone-map][data-seen=before]")).to_be_visible()  # not mounted anew by the message
    project = Project.open(demo)
    rejected = np.flatnonzero(project.decisions() == DECISIONS["reject"])
    assert len(rejected) == selected

    open_step(page, "Review")
    page.get_by_role("button", name="Lasso on the map").click()
    expect(page.get_by_text(f"1 of {total:,} samples")).to_be_visible()
    expect(page.get_by_text("Duplicates and neighbours")).to_be_visible()
    for key, place in (("a", 2), ("x", 3), ("s", 4)):
        page.keyboard.press(key)
        expect(page.get_by_text(re.compile(f"^{place} of .* samples$"))).to_be_visible()
    decided = logged(project, page, ["skip", "reject", "approve"])
    page.keyboard.press("u")
    expect(page.get_by_text(re.compile("^3 of .* samples$"))).to_be_visible()
    expect(page.get_by_text(re.compile("^Undone: your latest decision"))).to_be_visible()
    assert project.decisions()[decided[0].row] == DECISIONS["none"] or decided[0].row in rejected

    open_step(page, "Select")
    page.get_by_role("textbox", name="Size").fill("100")
    page.get_by_role("textbox", name="Size").press("Enter")
    page.get_by_role("button", name="Save 100 as a draft").click()
    expect(page.get_by_text("Saved subset, version 1, as a draft")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Approve as")).click()
    expect(page.get_by_text("subset, version 1, is approved and frozen")).to_be_visible()

    open_step(page, "Export")
    page.get_by_role("button", name="Export", exact=True).click()
    expect(page.get_by_text(re.compile("100 samples written to"))).to_be_visible()
    exported = demo / "exports" / "subset-v1.jsonl"
    assert_is_the_approved_subset(project, exported)


def assert_is_the_approved_subset(project: Project, exported: Path) -> None:
    """Byte for byte the rows of the approved selection; every approved row in, no rejected one."""
    selection = project.selection("subset")
    assert selection.state == "approved"
    rows = sorted(selection.rows.tolist())
    raw = "".join(row.raw + "\n" for row in project.rows(rows))
    assert exported.read_bytes() == raw.encode()
    pool_lines = set((exported.parents[1] / "demo" / "pool.jsonl").read_bytes().splitlines())
    assert set(exported.read_bytes().splitlines()) <= pool_lines
    decisions = project.decisions()
    assert set(np.flatnonzero(decisions == DECISIONS["approve"])) <= set(rows)
    assert not set(np.flatnonzero(decisions == DECISIONS["reject"])) & set(rows)
    manifest = json.loads(exported.with_name(exported.name + ".manifest.json").read_text())
    assert manifest["selection"]["state"] == "approved"


@pytest.mark.parametrize("step", ["Pool", "Score", "Map", "Review", "Select", "Export"])
def test_every_page_opens_as_the_first_one_asked_for(watched: Watched, server: Server, demo: Path, step: str) -> None:
    watched.page.goto(f"{server.address}/{step}?project=demo")
    expect(watched.page.get_by_role("heading", name=step, exact=True)).to_be_visible()
    expect(watched.page.get_by_test_id("stException")).to_have_count(0)
    expect(watched.page.get_by_test_id("stAlertContentError")).to_have_count(0)
