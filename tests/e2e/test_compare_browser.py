"""Comparing and approving in a real browser: a box in the picture lists its samples; a subset is proposed, approved."""

import re

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from engine.curation import filters
from engine.curation.facts import Facts
from engine.store.project import Project
from tests.e2e.conftest import Server, Watched, rested
from tests.pages.conftest import _add_run, build

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SIGNED = "Zoë; <i>B</i>"


@pytest.fixture(scope="module")
def project(server: Server) -> Project:
    made = build(server.home / "compared", rows=200)
    _add_run(made, "second <b>run", seed=5)
    made.save_selection("best <i>x</i>", spec={"run": "landmark"}, rows=np.arange(9), by="Ada")
    return made


def _picture(page: Page) -> tuple[float, float, float, float]:
    """Left, top, width and height of the plot's area."""
    area = page.locator("[data-testid=stPlotlyChart] .nsewdrag").first
    expect(area).to_be_visible()
    box = area.bounding_box()
    assert box is not None
    return box["x"], box["y"], box["width"], box["height"]


def test_a_box_lists_its_samples_and_its_filter_finds_them(watched: Watched, server: Server, project: Project) -> None:
    page = watched.page
    page.set_viewport_size({"width": 1440, "height": 1400})
    page.goto(f"{server.address}/Compare?project=compared")
    rested(page)
    left, top, width, height = _picture(page)
    page.mouse.move(left + 0.1 * width, top + 0.1 * height)
    page.mouse.down()
    page.mouse.move(left + 0.5 * width, top + 0.5 * height, steps=8)
    page.mouse.up()
    button = page.get_by_role("button", name=re.compile("Show these"))
    expect(button).to_be_visible()
    number = int(re.sub(r"\D", "", button.inner_text()))
    assert 10 < number < 100
    button.click()
    page.wait_for_url(re.compile("/Review.*filters="))
    parts = filters.decode(page.evaluate("new URL(location.href).searchParams.get('filters')"))
    assert {part.subject for part in parts} == {"landmark/score", "second <b>run/score"}
    assert filters.combined(Facts(project), parts).sum() == number
    assert page.locator("b", has_text="run").count() == 0  # a name is text, wherever it stands


def test_a_subset_is_proposed_and_approved_with_its_sheet(watched: Watched, server: Server, project: Project) -> None:
    page = watched.page
    page.goto(f"{server.address}/Select?project=compared")
    name = page.get_by_role("textbox", name="Your name")
    name.fill(SIGNED)
    name.press("Enter")
    expect(page.get_by_role("button", name=f"Approve as {SIGNED}")).to_be_visible()
    rested(page)
    page.reload()  # the browser remembers who signs
    page.get_by_role("button", name="Propose for approval").click()
    expect(page.get_by_text("Waiting for approval")).to_be_visible()
    rested(page)  # the form below is another one now
    page.get_by_label("Note").last.fill("looked <img src=x onerror=alert(1)>")
    page.get_by_role("button", name=re.compile("^Approve as")).click()
    expect(page.get_by_text("As it stood when it was approved")).to_be_visible()
    kept = project.selection("best <i>x</i>")
    assert (kept.state, kept.note) == ("approved", "looked <img src=x onerror=alert(1)>")
    assert {event.by for event in kept.events} == {SIGNED}
    assert kept.events[-1].details is not None
    expect(page.get_by_text("looked <img").first).to_be_visible()
    assert page.locator("i", has_text="x").count() == 0
