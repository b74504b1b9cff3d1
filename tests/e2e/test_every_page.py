"""Every page as one product: usable by everyone, in a narrow and a wide window, light and dark; hostile data is text.

The projects are built through the store. What `accessible.js` cannot see is asked here: whether the keyboard reaches
what the mouse reaches, and what a page says where there is nothing to show.
"""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from engine.data.samples import Message, Row, SourceInfo
from engine.store.project import Project
from tests.e2e.conftest import Server, Watched, rested
from tests.pages import conftest as made

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PAGES = ("", "Pool", "Score", "Map", "Review", "Compare", "Select", "Export")
NARROW, WIDE = {"width": 420, "height": 900}, {"width": 1440, "height": 1000}
AUDIT = (Path(__file__).parent / "accessible.js").read_text()
RUN = "window.__hacked = 1"
HOSTILE = (
    f"<script>{RUN}</script><img src=x onerror='{RUN}'><svg onload='{RUN}'> ![p](https://evil.example/p.png) "
    f"[l](javascript:{RUN}) www.evil.example **bold** :red[r] \u202etxet\x1b[31m \u200b $x^2$ "
    r"\def\x{\x\x}\x $\def\x{\x\x}\x$"
)
NAME = f"<img src=x onerror='{RUN}'> **b** [l](x) :red[r] $x$"
BRIEF = f"{NAME} \u202e\u200b</p>"
LONG = "n" * 400_000
# what has the focus, inside components too: whether it is one of theirs, and whether it shows
FOCUSED = """() => {
  let e = document.activeElement;
  while (e?.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;
  window.met ??= [];
  if (!window.met.includes(e)) window.met.push(e);
  const style = getComputedStyle(e);
  const seen = style.outlineStyle !== 'none' || style.boxShadow !== 'none';
  return { met: window.met.length, own: e.getRootNode() !== document, seen, text: e.outerHTML.slice(0, 120) };
}"""
# the controls of components: how many, and those that the focus did not come to
UNMET = """() => {
  window.met ??= [];
  const all = [];
  const gather = (root, own) => {
    for (const e of root.querySelectorAll('*')) {
      if (own && e.matches('button, input, textarea, select, a[href], summary, [tabindex]')) all.push(e);
      if (e.shadowRoot) gather(e.shadowRoot, true);
    }
  };
  gather(document, false);
  const open = all.filter((e) => e.tabIndex >= 0 && !e.disabled && e.getClientRects().length
    && e.checkVisibility({ visibilityProperty: true }));
  return [open.length, open.filter((e) => !window.met.includes(e)).map((e) => e.outerHTML.slice(0, 120))];
}"""


@pytest.fixture(scope="module")
def hostile(server: Server) -> Project:
    """A project in which every text, name, note and tag would do harm if it were read as anything but text."""
    project = made.build(server.home / f"pro {NAME}", text=HOSTILE, full=True)
    turns = (Message("user", f"{HOSTILE}\x00{LONG}"), Message("assistant", HOSTILE))
    mapping = {"schema": "chat", "fields": {"messages": "messages"}}
    about = SourceInfo(f"/data/{BRIEF}.jsonl", "b" * 64, 9, "jsonl", mapping)
    fields = {"source": HOSTILE, BRIEF: BRIEF, "n" * 300: "v" * 3000}
    project.add_rows("pool", "", about, [Row(1, json.dumps({"text": HOSTILE}), f"id {BRIEF}", turns, fields)])
    made._add_run(project, f"run {NAME}", seed=3, full=True, notes=[HOSTILE], parameter_set=HOSTILE)
    project.decide([0, 2], "approve", by=NAME, note=HOSTILE)
    project.tag([0, 60], BRIEF[:60], by="Ada")
    project.save_selection(f"sel {NAME}", spec={"run": "landmark"}, rows=[0, 1, 60], by=NAME)
    return project


@pytest.fixture(scope="module")
def project(server: Server) -> Project:
    """A project with two runs and a selection; the run that the selection rests on was deleted."""
    server.home.mkdir(exist_ok=True)
    project = made.build(server.home / "plain", full=True)
    for seed, name in ((1, "second"), (2, "deleted")):
        made._add_run(project, name, seed=seed)
    project.save_selection("orphan", spec={"run": "deleted"}, rows=[0, 1, 2], by="Ada")
    gone = next(run for run in project.runs() if run.name == "deleted")
    with project.changing() as con:
        con.execute("DELETE FROM runs WHERE name = 'deleted'")
    shutil.rmtree(project.artifacts / gone.artifact)
    return project


def opened(page: Page, server: Server, name: str, project: Project, **query: object) -> Page:
    asked = {"project": project.name} | {k: v if isinstance(v, str) else json.dumps(v) for k, v in query.items()}
    page.goto(f"{server.address}/{name}?" + "&".join(f"{k}={quote(v)}" for k, v in asked.items()))
    rested(page)
    return page


def sound(page: Page) -> None:
    """No traceback, and nothing that the audit finds."""
    expect(page.get_by_test_id("stException")).to_have_count(0)
    for _ in range(100):
        told = page.evaluate(AUDIT)
        if not told:
            break
        page.wait_for_timeout(300)  # charts and tables take up a new width or theme with some delay
    assert not told, "\n".join(told)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_hostile_data_is_usable_and_nothing_runs(
    watched: Watched, server: Server, hostile: Project, name: str
) -> None:
    page = watched.page
    page.on("dialog", lambda dialog: pytest.fail(f"something ran: {dialog.message}"))
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    row = {"sample": f"id {BRIEF}"} if name in ("Map", "Review") else {}
    opened(page, server, name, hostile, **row)
    sound(page)
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="dark")
    rested(page)
    sound(page)
    assert page.evaluate("window.__hacked") is None
    assert page.locator(".stMain img, .stMain .katex").count() == 0
    expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)


@pytest.mark.parametrize("name", ["Map", "Review"])
def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    watched: Watched, server: Server, project: Project, name: str
) -> None:
    page = opened(watched.page, server, name, project, sample="row-3")
    page.wait_for_function(f"({UNMET})()[0] > 5")  # components draw themselves after the page
    met, old, unseen = 0, 0, []
    for _ in range(250):
        page.keyboard.press("Tab")
        now = page.evaluate(FOCUSED)
        if now["own"] and not now["seen"]:
            unseen.append(now["text"])
        met, old = now["met"], old + 1 if now["met"] == met else 0
        if old == 5:
            break  # round once
    _, unmet = page.evaluate(UNMET)
    assert unmet == []
    assert unseen == []


NOTHING = [["words", "", 100_000, None]]
SEA = ["lasso", "map-0123456789abcdef", 50, 50, 51, 50, 51, 51]
EMPTY = (
    ("Map", NOTHING, "0 filtered of 60"),
    ("Map", [SEA], "0 selected"),
    ("Review", NOTHING, "No sample"),
    ("Compare", NOTHING, "no sample in common"),
    ("Select", NOTHING, "filter"),
    ("Review", [["text", "regex/both", "("]], "The link could not be followed"),
)


@pytest.mark.parametrize(("name", "filters", "said"), EMPTY)
def test_where_nothing_is_left_the_page_says_so(
    watched: Watched, server: Server, project: Project, name: str, filters: list[object], said: str
) -> None:
    page = opened(watched.page, server, name, project, filters=filters)
    expect(page.get_by_text(said).or_(page.locator(".desk").get_by_text(said)).first).to_be_visible()
    sound(page)


def test_a_selection_outlives_its_run(watched: Watched, server: Server, project: Project) -> None:
    page = opened(watched.page, server, "Select", project)
    expect(page.get_by_text("The scores of run deleted are gone").first).to_be_visible()
    sound(page)
    opened(page, server, "Export", project)
    expect(page.get_by_role("button", name="Export", exact=True)).to_be_enabled()
    sound(page)


def test_a_link_to_nowhere_leads_to_what_to_do_next(watched: Watched, server: Server, project: Project) -> None:
    page = watched.page
    page.goto(f"{server.address}/Review?project=not-there&run=none&sample=none&filters=%5B1")
    rested(page)
    expect(page.get_by_text("There is no project 'not-there'")).to_be_visible()
    sound(page)
    page.get_by_role("link", name="Go to Home").click()
    expect(page.get_by_role("heading", name="Projects", exact=True)).to_be_visible()
    opened(page, server, "Review", project, run="none", sample="none")
    expect(page.get_by_text("There is no run 'none' in this project")).to_be_visible()
    expect(page.get_by_text("No sample has the id 'none'")).to_be_visible()
    expect(page.locator(".desk .turn").first).to_be_visible()
    sound(page)


def test_zoomed_by_the_browser_a_brush_takes_what_it_covers_and_review_fits(
    watched: Watched, server: Server, project: Project
) -> None:
    page = watched.page
    size = {"width": 720, "height": 500, "deviceScaleFactor": 2, "mobile": False}  # 1440 × 1000 at 200 %
    page.context.new_cdp_session(page).send("Emulation.setDeviceMetricsOverride", size)
    opened(page, server, "Map", project, run="landmark")
    surface = page.locator('[data-chart="score/landmark/score"] .surface')
    surface.scroll_into_view_if_needed()
    box = surface.bounding_box()
    assert box and page.evaluate("window.devicePixelRatio") == 2
    begin, end = (box["x"] + share * box["width"] for share in (0.26, 0.51))
    page.mouse.move(begin, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(end, box["y"] + 20, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile("filters="))
    rested(page)
    expect(page.get_by_text(re.compile(r"of \d+ filtered of 60")).first).to_be_visible()
    drawn = page.locator('[data-chart="score/landmark/score"] .band')
    expect(drawn).to_be_visible()
    band = drawn.bounding_box()
    bins = page.locator('[data-place="score/landmark/score/low"]').get_attribute("aria-valuemax")
    bin_width = box["width"] / int(bins or 0)
    assert band and 0 <= begin - band["x"] <= bin_width and 0 <= band["x"] + band["width"] - end <= bin_width
    opened(page, server, "Review", project)
    page.get_by_role("button", name="Approve", exact=False).first.click(trial=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    sound(page)
