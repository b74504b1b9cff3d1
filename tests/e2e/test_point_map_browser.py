"""The point map in a real browser: what a user does to it, what it tells, and what must not happen."""

import contextlib
import io
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.conftest import ROOT, Watched, watch

pytestmark = pytest.mark.browser
WITHOUT_GL = """const real = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind === 'webgl2' ? null : real.call(this, kind, ...rest);
};"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with only the map on its page."""
    with serving(tmp_path_factory.mktemp("map")) as address:
        yield address


@contextlib.contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """Run the page with the map at a free local port; its log goes into `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = str(ROOT / "tests" / "e2e" / "point_map_app.py")
    log = folder / "server.log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "streamlit", "run", script, "--server.port", str(port), *options]
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/_stcore/health", log)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def wait_for(health: str, log: Path) -> None:
    """Return once the server answers; fail with its log after a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(health, timeout=1):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    pytest.fail(f"the server did not start: {log.read_text()}")


@pytest.fixture
def shown(browser: Browser, address: str) -> Iterator[Watched]:
    """The map of 3,000 points, wholly drawn; the test fails on any console error or foreign request."""
    context = browser.new_context(viewport={"width": 1200, "height": 1100})
    context.set_default_timeout(30_000)
    watched = watch(context.new_page(), address)
    watched.page.goto(f"{address}/?n=3000")
    wait_whole(watched.page)
    yield watched
    context.close()
    assert watched.errors == []
    assert watched.foreign == []


def the_map(page: Page) -> Locator:
    return page.locator("[data-touchstone-map]")


def wait_whole(page: Page) -> None:
    page.locator('[data-touchstone-map][data-drawn="whole"]').wait_for(timeout=60_000)


def camera(page: Page) -> tuple[float, float, float]:
    x, y, scale = (float(value) for value in (the_map(page).get_attribute("data-camera") or "").split(","))
    return x, y, scale


def settled_camera(page: Page) -> tuple[float, float, float]:
    """The camera once it has stood still for a moment (zooming by a button glides)."""
    wait_whole(page)
    last = camera(page)
    for _ in range(50):
        page.wait_for_timeout(300)
        wait_whole(page)
        if camera(page) == last:
            return last
        last = camera(page)
    raise AssertionError("the camera did not come to rest")


def middle(page: Page) -> tuple[float, float]:
    box = page.locator(".surface").bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Page, *corners: tuple[float, float]) -> None:
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=6)
    page.mouse.up()


def around(page: Page, reach: float = 150) -> list[tuple[float, float]]:
    x, y = middle(page)
    return [(x - reach, y - reach), (x + reach, y - reach), (x + reach, y + reach), (x - reach, y + reach)]


def first_point(page: Page) -> tuple[float, float]:
    """A place on the screen where the map finds a point."""
    x, y = middle(page)
    for dy in range(-200, 200, 20):
        for dx in range(-300, 300, 20):
            page.mouse.move(x + dx, y + dy)
            if page.locator("[data-touchstone-map]").get_attribute("data-hovered") != "-1":
                return x + dx, y + dy
    raise AssertionError("no point under the pointer anywhere")


def test_draws_with_webgl2_and_says_how_many(shown: Watched) -> None:
    expect(the_map(shown.page)).to_have_attribute("data-renderer", "webgl2")
    expect(shown.page.locator(".status")).to_have_text("3,000 points")


def test_points_are_painted(shown: Watched) -> None:
    box = shown.page.locator(".surface").bounding_box()
    assert box
    picture = Image.open(io.BytesIO(shown.page.screenshot(clip=box))).convert("RGB")
    pixels = np.asarray(picture, dtype=int)
    coloured = np.ptp(pixels, axis=2) > 60  # neither background nor text
    assert 5_000 < coloured.sum() < 0.5 * coloured.size
    assert len(np.unique(pixels[coloured], axis=0)) > 50


def test_drag_pans_and_wheel_zooms_about_the_pointer(shown: Watched) -> None:
    page, (x, y) = shown.page, middle(shown.page)
    before = camera(page)
    drag(page, (x, y), (x + 120, y + 60))
    panned = settled_camera(page)
    assert panned[0] == pytest.approx(before[0] - 120 / before[2], rel=1e-3)
    assert panned[1] == pytest.approx(before[1] + 60 / before[2], rel=1e-3)
    page.mouse.move(x + 100, y)
    page.mouse.wheel(0, -200)
    zoomed = settled_camera(page)
    assert zoomed[2] > panned[2]
    assert zoomed[0] + 100 / zoomed[2] == pytest.approx(panned[0] + 100 / panned[2], rel=1e-3)


def test_buttons_zoom_and_fit(shown: Watched) -> None:
    page, before = shown.page, camera(shown.page)
    page.get_by_role("button", name=re.compile("Zoom in")).click()
    closer = settled_camera(page)
    assert closer[2] == pytest.approx(1.6 * before[2], rel=1e-3)
    page.get_by_role("button", name="Show all points (0)").click()
    assert settled_camera(page) == pytest.approx(before, rel=1e-4)


def test_keyboard_reaches_the_map(shown: Watched) -> None:
    page = shown.page
    page.get_by_role("application").focus()
    before = camera(page)
    page.keyboard.press("+")
    assert settled_camera(page)[2] > before[2]
    page.keyboard.press("ArrowRight")
    assert settled_camera(page)[0] > before[0]
    page.keyboard.press("0")
    assert settled_camera(page) == pytest.approx(before, rel=1e-4)
    page.keyboard.press("l")
    expect(page.get_by_role("button", name=re.compile("^Lasso"))).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=re.compile("^Move"))).to_have_attribute("aria-pressed", "true")


def test_every_tool_is_named(shown: Watched) -> None:
    buttons = shown.page.get_by_role("toolbar", name="Map tools").get_by_role("button").all()
    assert len(buttons) == 8
    assert all((button.get_attribute("aria-label") or "") and button.get_attribute("title") for button in buttons)


def test_camera_stays_when_colours_and_filters_change(shown: Watched) -> None:
    page, (x, y) = shown.page, middle(shown.page)
    page.mouse.move(x - 90, y)
    page.mouse.wheel(0, -400)
    before = settled_camera(page)
    page.get_by_text("cluster", exact=True).click()
    expect(page.get_by_text("Cluster", exact=True)).to_be_visible()
    page.get_by_text("Filter", exact=True).click()
    expect(page.locator(".status")).to_have_text(re.compile(r"^[\d,]+ of 3,000 points$"))
    wait_whole(page)
    assert settled_camera(page) == before


def test_lasso_returns_a_polygon_that_is_applied_to_all_points(shown: Watched) -> None:
    page = shown.page
    page.get_by_role("button", name=re.compile("^Lasso")).click()
    drag(page, *around(page))
    told = page.get_by_text(re.compile(r"^lassoed \d+$"))
    told.wait_for()
    count = int((told.text_content() or "").split()[1])
    assert 0 < count < 3000
    expect(page.locator(".status")).to_have_text(f"3,000 points · {count:,} selected")


def test_shift_drag_lassoes_without_the_tool(shown: Watched) -> None:
    page = shown.page
    before = camera(page)
    page.keyboard.down("Shift")
    drag(page, *around(page))
    page.keyboard.up("Shift")
    page.get_by_text(re.compile(r"^lassoed \d+$")).wait_for()
    assert settled_camera(page) == before


def test_box_selects(shown: Watched) -> None:
    page = shown.page
    page.get_by_role("button", name=re.compile("^Select a box")).click()
    corners = around(page)
    drag(page, corners[0], corners[2])
    told = page.get_by_text(re.compile(r"^lassoed \d+$"))
    told.wait_for()
    assert int((told.text_content() or "").split()[1]) > 0
    page.get_by_role("button", name=re.compile("^Show what is selected")).click()
    assert settled_camera(page)[2] > 0


def test_escape_leaves_a_lasso_unsent(shown: Watched) -> None:
    page = shown.page
    page.get_by_role("button", name=re.compile("^Lasso")).click()
    corners = around(page)
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=5)
    page.keyboard.press("Escape")
    page.mouse.up()
    page.wait_for_timeout(700)
    expect(page.get_by_text(re.compile(r"^lassoed"))).to_have_count(0)


def test_hover_asks_for_the_text_of_one_row_and_shows_it_as_text(shown: Watched) -> None:
    page = shown.page
    page.mouse.move(*first_point(page))
    row = the_map(page).get_attribute("data-hovered")
    page.get_by_text(f"hovered {row}", exact=True).wait_for()
    card = page.locator(".card.shown")
    expect(card).to_contain_text(f"row {row}\n<img src=x onerror=")
    assert page.locator(".card img").count() == 0
    assert float(page.locator(".ring").get_attribute("r") or 0) >= 5
    page.mouse.move(2, 2)
    expect(page.locator(".ring")).to_have_attribute("r", "0")
    expect(page.locator(".card.shown")).to_have_count(0)
    assert page.title() != "stolen"


def test_click_tells_the_row(shown: Watched) -> None:
    page = shown.page
    place = first_point(page)
    row = the_map(page).get_attribute("data-hovered")
    page.mouse.click(*place)
    page.get_by_text(f"clicked {row}", exact=True).wait_for()


def test_labels_do_not_touch_each_other_and_are_text(shown: Watched) -> None:
    page = shown.page
    boxes = [label.bounding_box() for label in page.locator(".label.shown").all()]
    assert len(boxes) > 5
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a and b
            apart = (
                a["x"] >= b["x"] + b["width"] or b["x"] >= a["x"] + a["width"]
                or a["y"] >= b["y"] + b["height"] or b["y"] >= a["y"] + a["height"]
            )  # fmt: skip
            assert apart
    assert page.locator(".labels img, .legend img").count() == 0
    assert page.title() != "stolen"


def test_returns_after_the_graphics_context_is_lost(shown: Watched) -> None:
    page = shown.page
    before = camera(page)
    lose = """(canvas) => { const gl = canvas.getContext('webgl2'); const ext = gl.getExtension('WEBGL_lose_context');
    ext.loseContext(); setTimeout(() => ext.restoreContext(), 300); }"""
    page.locator("canvas.points").evaluate(lose)
    page.locator('[data-touchstone-map][data-drawn="lost"]').wait_for()
    wait_whole(page)
    assert camera(page) == before
    expect(page.locator(".status")).to_have_text("3,000 points")


def test_follows_its_width(shown: Watched) -> None:
    page = shown.page
    before = camera(page)
    page.set_viewport_size({"width": 800, "height": 1000})
    page.wait_for_timeout(300)
    wait_whole(page)
    width, client = page.locator("canvas.points").evaluate("(c) => [c.width, c.clientWidth]")
    assert width == client
    assert settled_camera(page)[2] < before[2]  # it showed all points before, so it still does


def test_works_on_a_dark_theme(browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context(viewport={"width": 1200, "height": 1100})
    with serving(tmp_path, "--theme.base", "dark") as dark:
        watched = watch(context.new_page(), dark)
        watched.page.goto(f"{dark}/?n=3000")
        wait_whole(watched.page)
        style = the_map(watched.page).evaluate(
            "(root) => [getComputedStyle(root).backgroundColor, getComputedStyle(root).color]"
        )
        background, text = ([int(value) for value in re.findall(r"\d+", part)[:3]] for part in style)
        assert max(background) < 80 < min(text)
        assert watched.errors == []
        context.close()


def test_without_webgl2_it_says_so_and_shows_a_sample(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 1200, "height": 1100})
    context.add_init_script(WITHOUT_GL)
    watched = watch(context.new_page(), address)
    page = watched.page
    page.goto(f"{address}/?n=80000")
    wait_whole(page)
    expect(the_map(page)).to_have_attribute("data-renderer", "sample")
    expect(page.get_by_role("note")).to_contain_text("no WebGL2: a sample of 50,000 of 80,000 points")
    page.get_by_role("button", name=re.compile("^Lasso")).click()
    drag(page, *around(page))
    page.get_by_text(re.compile(r"^lassoed \d+$")).wait_for()
    assert watched.errors == []
    context.close()


def test_two_hundred_thousand_points_stay_lively(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 1200, "height": 1100})
    watched = watch(context.new_page(), address)
    page = watched.page
    page.goto(f"{address}/?n=200000")
    wait_whole(page)
    x, y = middle(page)
    begun = time.monotonic()
    drag(page, (x, y), (x + 100, y), (x, y + 50))
    assert time.monotonic() - begun < 10
    wait_whole(page)
    page.get_by_role("button", name=re.compile("^Lasso")).click()
    drag(page, *around(page))
    page.get_by_text(re.compile(r"^lassoed \d{4,}$")).wait_for()
    assert watched.errors == []
    context.close()
