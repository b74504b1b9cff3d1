"""What only a browser shows of trust: a doubtful region is one click away, and an open explanation stays open."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from engine.store.project import Project
from tests.e2e.conftest import Server, Watched, rested
from tests.pages import conftest as made

pytestmark = [pytest.mark.browser, pytest.mark.slow]
ROWS = 120


@pytest.fixture(scope="module")
def project(server: Server) -> Project:
    """A project whose run has all that a run can have, but no features to explain by."""
    Path(server.home).mkdir(exist_ok=True)
    return made.build(server.home / "trust", full=True, rows=ROWS)


def test_a_doubtful_region_is_one_click_away(watched: Watched, server: Server, project: Project) -> None:
    page = watched.page
    page.goto(f"{server.address}/Map?project={project.name}")
    expect(page.get_by_text("Scores are least certain in:")).to_be_visible()
    page.get_by_role("button", name="code, python", exact=True).click()
    expect(page.get_by_text(re.compile(rf"of 30 filtered of {ROWS} samples"))).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Cluster.*code, python"))).to_be_visible()


def test_an_open_explanation_stays_open(watched: Watched, server: Server, project: Project) -> None:
    page = watched.page
    page.goto(f"{server.address}/Review?project={project.name}&sample=row-30")
    expect(page.get_by_text(re.compile(r"^Propagated.* likely "))).to_be_visible()
    page.get_by_text("Why this score").click()
    helped = page.get_by_text("The target samples it helps most")
    expect(helped).to_be_visible()
    place = page.get_by_text(re.compile(rf"^\d+ of {ROWS - 1} samples"))
    before = place.inner_text()
    rested(page)
    page.keyboard.press("ArrowRight")
    expect(place).not_to_have_text(before)
    expect(helped).to_be_visible()
    expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)
