"""Searching in a real browser: Enter makes a filter, what is found is marked in the sample, and text stays text."""

import pytest
from playwright.sync_api import expect

from engine.store.project import Project
from tests.e2e.conftest import Server, Watched
from tests.pages.conftest import build

pytestmark = [pytest.mark.browser, pytest.mark.slow]
HOSTILE = "<img src=x onerror=alert(1)> ![x](https://evil.example/p.png) <mark>x</mark>"


@pytest.fixture(scope="module")
def project(server: Server) -> Project:
    return build(server.home / "found", rows=30, text=HOSTILE)


def test_what_was_found_is_marked_and_nothing_of_it_runs(watched: Watched, server: Server, project: Project) -> None:
    page = watched.page
    page.on("dialog", lambda dialog: pytest.fail(f"a sample ran: {dialog.message}"))
    page.goto(f"{server.address}/Review?project=found")
    expect(page.locator(".desk .turn").first).to_be_visible()
    field = page.get_by_label("Find", exact=True)
    field.fill('"onerror=alert(1)" question 2*')
    field.press("Enter")
    expect(page.locator(".desk")).to_contain_text("1 of 10 samples")
    marks = page.locator(".desk .turn mark")
    expect(marks).to_have_count(5)  # in the response there is no "question"
    assert marks.all_inner_texts()[:3] == ["onerror=alert(1)", "question", "23"]
    assert page.locator(".desk .turn").first.inner_text().startswith(f"User\n{HOSTILE} question 2")
    assert page.locator(".desk img").count() == 0
    field.fill("(")
    page.get_by_label("Find by").click()
    page.get_by_role("option", name="Regular expression").click()
    field.press("Enter")
    expect(page.get_by_text("This is no regular expression")).to_be_visible()
    expect(marks).to_have_count(5)  # the filters are as they were
