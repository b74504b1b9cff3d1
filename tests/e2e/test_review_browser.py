"""Reviewing from the keyboard in a real browser: no key is lost, two reviewers are told of each other, text is text."""

import os
import re

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from engine.data.samples import Message, Row, SourceInfo
from engine.store.decisions import DECISIONS
from engine.store.project import Project
from tests.e2e.conftest import Server, Watched, rested
from tests.pages.conftest import build

pytestmark = [pytest.mark.browser, pytest.mark.slow]
KEYS = int(os.environ.get("TOUCHSTONE_KEYS", "40"))
ACTS = {"a": "approve", "x": "reject", "s": "skip"}
HOSTILE = "<img src=x onerror=alert(1)> ![x](https://evil.example/p.png) \u202etxet\x1b[31m \u200b$x^2$"
LONG = 10_000_000  # characters in one line


@pytest.fixture(scope="module")
def project(server: Server) -> Project:
    made = build(server.home / "desk", rows=300, text=HOSTILE)
    turns = (Message("user", HOSTILE + "\x00" + "y" * LONG), Message("assistant", "yes"))
    about = SourceInfo("/data/long.jsonl", "b" * 64, 9, "jsonl", {"schema": "chat", "fields": {"messages": "messages"}})
    made.add_rows("pool", "", about, [Row(1, "{}", "long", turns, {})])
    return made


def opened(page: Page, server: Server, query: str = "") -> Page:
    page.goto(f"{server.address}/Review?project=desk{query}")
    expect(page.locator(".desk .turn").first).to_be_visible()
    return page


def in_view(page: Page) -> str:
    return page.locator(".desk .source").inner_text().split(" · ")[0].removeprefix("id ")


def press(page: Page, key: str) -> str:
    """Press a key once a sample is in view; its id."""
    name = in_view(page)  # waits for it, and for nothing else
    page.keyboard.press(key)
    return name


def saved(project: Project, page: Page, number: int) -> None:
    """Wait until so many decisions are in the log; there must never be more."""
    for _ in range(600):
        if len(project.decision_log(limit=10_000)) >= number:
            break
        page.wait_for_timeout(100)
    assert len(project.decision_log(limit=10_000)) == number


def test_no_key_is_lost_and_each_goes_to_the_sample_in_view(watched: Watched, server: Server, project: Project) -> None:
    page = opened(watched.page, server)
    meant: dict[str, str] = {}
    generator = np.random.default_rng(0)
    for key in generator.choice(list(ACTS), KEYS):
        meant[press(page, str(key))] = ACTS[str(key)]  # the next sample is there at once
    assert len(meant) == KEYS
    saved(project, page, KEYS)
    expect(page.locator(".desk")).to_have_attribute("data-ready", re.compile(r"^(9|\d\d)$"))  # sent ahead
    burst = page.evaluate(
        """() => { const seen = []; const desk = [...document.querySelectorAll('*')].find(
             e => e.shadowRoot?.querySelector('.desk')).shadowRoot;
           for (let i = 0; i < 8; i++) { seen.push(desk.querySelector('.source').textContent);
             document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'x', bubbles: true, composed: true})); }
           return seen; }"""
    )  # eight keys before anything is drawn or sent
    meant |= {text.split(" · ")[0].removeprefix("id "): "reject" for text in burst}
    assert len(meant) == KEYS + 8
    saved(project, page, KEYS + 8)
    codes = project.decisions()
    assert {name: int(codes[project.row_of(name)]) for name in meant} == {n: DECISIONS[a] for n, a in meant.items()}
    page.keyboard.press("n")
    page.keyboard.type("ax note")  # letters in a field decide nothing
    page.keyboard.press("Enter")
    page.keyboard.press("t")
    page.keyboard.type("odd <b>sum</b>")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(page.locator(".desk .tag bdi")).to_have_text("odd <b>sum</b>")
    last = press(page, "a")
    saved(project, page, KEYS + 9)
    entry = project.decision_log(limit=1)[0]
    assert (entry.row, entry.note) == (project.row_of(last), "ax note")
    assert project.tags()["odd <b>sum</b>"].tolist() == [entry.row]
    page.keyboard.press("u")
    expect(page.locator(".desk .source")).to_contain_text(f"id {last} ")
    saved(project, page, KEYS + 10)
    assert project.decisions()[entry.row] == 0
    for _ in range(3):
        press(page, "s")
    page.locator("[data-testid=stSidebar] a", has_text="Select").click()  # at once: it waits for what is on its way
    expect(page.get_by_role("heading", name="Select", exact=True)).to_be_visible()
    saved(project, page, KEYS + 13)


def test_hostile_text_is_shown_as_text(watched: Watched, server: Server, project: Project) -> None:
    page = opened(watched.page, server, "&sample=long")
    shown = page.locator(".desk .turn .text").first
    expect(shown).to_contain_text("more characters are not shown")
    text = shown.inner_text()
    for spelt in ("<img src=x onerror=alert(1)>", "![x](https://evil.example/p.png)", "$x^2$"):
        assert spelt in text
    for hidden in ("⟨U+202E⟩", "⟨U+001B⟩", "⟨U+200B⟩", "⟨U+0000⟩"):
        assert hidden in text
    assert page.locator(".desk img").count() == 0
    assert len(text) < 25_000


def test_the_second_reviewer_is_told_before_overwriting(watched: Watched, server: Server, project: Project) -> None:
    page = opened(watched.page, server)
    row = project.row_of(in_view(page))
    rested(page)
    before = len(project.decision_log(limit=10_000))
    now = int(project.decisions()[row])
    other = "reject" if now == DECISIONS["approve"] else "approve"
    project.decide([row], other, by="Bo")  # another tab, another person
    page.keyboard.press("s")
    expect(page.get_by_text("Your decision, skipped, is not recorded yet")).to_be_visible()
    assert project.decisions()[row] == DECISIONS[other]
    page.get_by_role("button", name="Make it skipped all the same").click()
    expect(page.get_by_text("is not recorded yet")).to_have_count(0)
    saved(project, page, before + 2)
    assert project.decisions()[row] == DECISIONS["skip"]
