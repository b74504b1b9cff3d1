"""The point map in a real browser: what a user does to it, what it tells, and what must not happen."""

import io
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, CDPSession, Locator, Page, expect

from engine.curation.areas import polygon_mask
from tests.e2e.conftest import PATIENCE, ROOT, Watched, start_server, stop_server, watch
from tests.e2e.point_map_islands import islands

pytestmark = pytest.mark.browser
WITHOUT_GL = """const real = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind === 'webgl2' ? null : real.call(this, kind, ...rest);
};
window.touchstoneMend = () => { HTMLCanvasElement.prototype.getContext = real; };"""
WITHOUT_FLOATS = """const real = WebGL2RenderingContext.prototype.getExtension;
WebGL2RenderingContext.prototype.getExtension = function (name) {
  return /float/i.test(name) ? null : real.call(this, name);
};
window.touchstoneMend = () => { WebGL2RenderingContext.prototype.getExtension = real; };"""
WINDOW = {"width": 1200, "height": 1100}
TALL = {"width": 1200, "height": 1405}
NUMBERS = count(1)


@pytest.fixture(scope="module")
def opened(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """One window on a server with only the map on its page, for all: loading it takes longer than most tests."""
    script = ROOT / "tests" / "e2e" / "point_map_app.py"
    process, address = start_server(script, tmp_path_factory.mktemp("map") / "projects")
    context = browser.new_context(viewport=WINDOW)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    watched = watch(context.new_page(), address)
    watched.page.goto(address)
    wait_whole(watched.page)
    yield watched
    context.close()
    stop_server(process)


@pytest.fixture
def quiet(opened: Watched) -> Iterator[Watched]:
    """The window, as it was first; the test fails on any console error or foreign request."""
    opened.page.set_viewport_size(WINDOW)  # type: ignore[arg-type]
    opened.page.emulate_media(color_scheme="light")
    opened.page.mouse.move(2, 2)
    yield opened
    told = [*opened.errors, *opened.foreign]
    opened.errors.clear()
    opened.foreign.clear()
    assert told == []


@pytest.fixture
def shown(quiet: Watched) -> Watched:
    """A new map of 3,000 points, wholly drawn."""
    begin(quiet.page, "3000")
    return quiet


def begin(page: Page, what: str) -> None:
    """A new map in the place of the old one, with nothing left of what was done to that; see point_map_app.py."""
    number = next(NUMBERS)
    asked = page.get_by_label("Anew")
    asked.fill(f"{number} {what}")
    asked.press("Enter")
    page.locator(f'[data-touchstone-map="map{number}"][data-drawn="whole"]').wait_for()
    expect(the_map(page)).to_have_count(1)


@contextmanager
def lacking(page: Page, what: str) -> Iterator[None]:
    """Maps begun within lack what a script takes from the browser."""
    page.evaluate(f"() => {{ {what} }}")
    yield
    page.evaluate("window.touchstoneMend()")


@contextmanager
def zoomed(page: Page, factor: float) -> Iterator[CDPSession]:
    """The browser's own zoom: as many pixels on the screen, but fewer and larger CSS pixels of `factor` pixels each."""
    devtools = page.context.new_cdp_session(page)
    size = {side: round(length / factor) for side, length in TALL.items()}
    devtools.send("Emulation.setDeviceMetricsOverride", {**size, "deviceScaleFactor": factor, "mobile": False})
    yield devtools
    devtools.send("Emulation.clearDeviceMetricsOverride")
    devtools.detach()
    page.set_viewport_size({"width": 1000, "height": 900})  # another than before, or it would not be set anew


def the_map(page: Page) -> Locator:
    return page.locator("[data-touchstone-map]")


def wait_whole(page: Page) -> None:
    page.locator('[data-touchstone-map][data-drawn="whole"]').wait_for()


def camera(page: Page) -> tuple[float, float, float]:
    x, y, scale = (float(value) for value in (the_map(page).get_attribute("data-camera") or "").split(","))
    return x, y, scale


def settled_camera(page: Page, *, moved_from: tuple[float, float, float] | None = None) -> tuple[float, float, float]:
    """The camera once it has stood still for a moment (zooming by a button glides); before that, once it has moved."""
    for _ in range(600):
        if camera(page) != moved_from:
            break
        page.wait_for_timeout(50)
    still = 300 if moved_from is None else 100
    last = None
    for _ in range(100):
        wait_whole(page)
        if camera(page) == last:
            return last
        last = camera(page)
        page.wait_for_timeout(still)
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


def picture(page: Page) -> np.ndarray:
    """The plane's pixels as shown, int (height, width, 3)."""
    box = page.locator(".surface").bounding_box()
    assert box
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB"), dtype=int)


def test_draws_with_webgl2_and_says_how_many(shown: Watched) -> None:
    expect(the_map(shown.page)).to_have_attribute("data-renderer", "webgl2")
    expect(shown.page.locator(".status")).to_have_text("3,000 points")
    pixels = picture(shown.page)
    coloured = np.ptp(pixels, axis=2) > 60  # neither background nor text
    assert 5_000 < coloured.sum() < 0.5 * coloured.size
    assert len(np.unique(pixels[coloured], axis=0)) > 50


def test_uncertainty_weight_and_filters_reach_the_pixels(quiet: Watched) -> None:
    """Four points of one colour at the corners: plain, wholly uncertain, of greatest weight, and filtered out."""
    page = quiet.page
    begin(page, "four")
    x, y, scale = camera(page)
    pixels = picture(page)
    height, width, _ = pixels.shape
    parts = {}
    for name, px, py in (("plain", -1, 1), ("doubt", 1, 1), ("heavy", -1, -1), ("out", 1, -1)):
        column, row = round((px - x) * scale + width / 2), round(height / 2 - (py - y) * scale)
        parts[name] = pixels[row - 20 : row + 21, column - 20 : column + 21]
    blueness = {name: part[..., 2] - part[..., 0] for name, part in parts.items()}
    assert blueness["plain"][20, 20] > 100 and blueness["heavy"][20, 20] > 100
    assert blueness["doubt"][20, 20] < 40 < blueness["doubt"].max()  # a ring with a hole
    assert blueness["out"].max() < 20 and parts["out"].min() < 240  # grey, but there
    assert (blueness["heavy"] > 60).sum() > 6 * (blueness["plain"] > 60).sum()
    legend = page.get_by_role("group", name="Legend: Kind")
    expect(legend).to_contain_text("Spread0 nats1 nats")
    expect(legend).to_contain_text("Weight01")


def test_drag_pans_and_wheel_zooms_about_the_pointer(shown: Watched) -> None:
    page, (x, y) = shown.page, middle(shown.page)
    before = camera(page)
    drag(page, (x, y), (x + 120, y + 60))
    panned = settled_camera(page, moved_from=before)
    assert panned[0] == pytest.approx(before[0] - 120 / before[2], rel=1e-3)
    assert panned[1] == pytest.approx(before[1] + 60 / before[2], rel=1e-3)
    page.mouse.move(x + 100, y)
    page.mouse.wheel(0, -200)
    closer = settled_camera(page, moved_from=panned)
    assert closer[2] > panned[2]
    assert closer[0] + 100 / closer[2] == pytest.approx(panned[0] + 100 / panned[2], rel=1e-3)


def test_buttons_zoom_and_fit(shown: Watched) -> None:
    page, before = shown.page, camera(shown.page)
    page.get_by_role("button", name=re.compile("Zoom in")).click()
    closer = settled_camera(page, moved_from=before)
    assert closer[2] == pytest.approx(1.6 * before[2], rel=1e-3)
    page.get_by_role("button", name="Show all points (0)").click()
    assert settled_camera(page, moved_from=closer) == pytest.approx(before, rel=1e-4)


def test_keyboard_reaches_the_map(shown: Watched) -> None:
    page = shown.page
    page.get_by_role("application").focus()
    before = camera(page)
    page.keyboard.press("+")
    closer = settled_camera(page, moved_from=before)
    assert closer[2] > before[2]
    expect(page.get_by_text(re.compile(r"^About [\d,]+ of 3,000 points are in sight\.$"))).to_have_count(1)
    page.keyboard.press("ArrowRight")
    right = settled_camera(page, moved_from=closer)
    assert right[0] > closer[0]
    page.keyboard.press("Home")
    assert settled_camera(page, moved_from=right) == pytest.approx(before, rel=1e-4)
    page.keyboard.press("l")
    expect(page.get_by_role("button", name=re.compile("^Lasso"))).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Enter")  # takes what is in sight
    page.get_by_text("lassoed 3000", exact=True).wait_for()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=re.compile("^Move"))).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Tab")  # the tools are one stop, arrow keys walk along them
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("button", name=re.compile("^Labels"))).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".label.shown")).to_have_count(0)
    buttons = page.get_by_role("toolbar", name="Map tools").get_by_role("button").all()
    assert len(buttons) == 8
    assert all((button.get_attribute("aria-label") or "") and button.get_attribute("title") for button in buttons)


def test_an_entry_of_the_legend_tells_its_category_and_stands_out(shown: Watched) -> None:
    page = shown.page
    page.get_by_text("source", exact=True).click()
    entry = page.get_by_role("button", name=re.compile("^gsm8k [0-9,]+$"))
    entry.wait_for()
    before = pixels_of(page)
    for _ in range(100):  # the colours come after the legend
        if min(before) > 100:
            break
        page.wait_for_timeout(100)
        before = pixels_of(page)
    entry.focus()  # as the pointer over it does
    wait_whole(page)
    orange, blue = pixels_of(page)
    assert orange > 0.8 * before[0] > 100 and blue < 0.2 * before[1]
    page.keyboard.press("Enter")
    page.get_by_text("legend 0", exact=True).wait_for()
    expect(entry).to_have_attribute("aria-pressed", "true")
    expect(entry).to_be_focused()
    expect(page.get_by_role("button", name=re.compile("^bbh"))).to_have_attribute("aria-pressed", "false")


def pixels_of(page: Page) -> tuple[int, int]:
    """How many pixels have the colours of gsm8k (orange) and bbh (blue)."""
    pixels = picture(page)
    orange, blue = (int((np.abs(pixels - rgb).sum(axis=2) < 60).sum()) for rgb in ([230, 159, 0], [0, 114, 178]))
    return orange, blue


def test_camera_stays_when_colours_and_filters_change(shown: Watched) -> None:
    page, (x, y) = shown.page, middle(shown.page)
    fitted = camera(page)
    page.mouse.move(x - 90, y)
    page.mouse.wheel(0, -400)
    before = settled_camera(page, moved_from=fitted)
    page.get_by_text("cluster", exact=True).click()
    expect(page.get_by_text("Cluster", exact=True)).to_be_visible()
    page.get_by_text("Filter", exact=True).click()
    expect(page.locator(".status")).to_have_text(re.compile(r"^[\d,]+ of 3,000 points$"))
    wait_whole(page)
    assert settled_camera(page) == before


def test_lasso_returns_a_polygon_that_is_applied_to_all_points(shown: Watched) -> None:
    page = shown.page
    before = camera(page)
    page.keyboard.down("Shift")  # a lasso whatever the tool
    drag(page, *around(page))
    page.keyboard.up("Shift")
    told = page.get_by_text(re.compile(r"^lassoed \d+$"))
    told.wait_for()
    count = int((told.text_content() or "").split()[1])
    assert 0 < count < 3000
    expect(page.locator(".status")).to_have_text(f"3,000 points · {count:,} selected")
    assert settled_camera(page) == before


def test_box_selects(shown: Watched) -> None:
    page = shown.page
    page.get_by_role("button", name=re.compile("^Select a box")).click()
    corners = around(page)
    drag(page, corners[0], corners[2])
    told = page.get_by_text(re.compile(r"^lassoed \d+$"))
    told.wait_for()
    assert int((told.text_content() or "").split()[1]) > 0
    before = camera(page)
    page.get_by_role("button", name=re.compile("^Show what is selected")).click()
    assert settled_camera(page, moved_from=before)[2] > before[2]


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


def test_labels_do_not_touch_each_other_at_any_zoom_and_are_text(shown: Watched) -> None:
    page = shown.page
    page.get_by_role("application").focus()
    before = None
    for zoom in range(3):
        before = settled_camera(page, moved_from=before)
        page.wait_for_timeout(200)  # labels fade
        boxes = [label.bounding_box() for label in page.locator(".label.shown").all()]
        assert len(boxes) > (5 if zoom == 0 else 0)
        boxes.append(page.get_by_role("toolbar").bounding_box())
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                assert a and b
                apart = (
                    a["x"] >= b["x"] + b["width"] or b["x"] >= a["x"] + a["width"]
                    or a["y"] >= b["y"] + b["height"] or b["y"] >= a["y"] + a["height"]
                )  # fmt: skip
                assert apart
        page.keyboard.press("+")
    assert page.locator(".labels img, .legend img").count() == 0
    assert page.title() != "stolen"


def test_returns_after_the_graphics_context_is_lost(shown: Watched) -> None:
    page = shown.page
    before = camera(page)
    lose = """(canvas) => { const gl = canvas.getContext('webgl2'); const ext = gl.getExtension('WEBGL_lose_context');
    window.restoreGraphics = () => ext.restoreContext(); ext.loseContext(); }"""
    page.locator("canvas.points").evaluate(lose)
    page.locator('[data-touchstone-map][data-drawn="lost"]').wait_for()
    page.evaluate("window.restoreGraphics()")
    wait_whole(page)
    assert camera(page) == before
    expect(page.locator(".status")).to_have_text("3,000 points")


def test_follows_its_width_down_to_a_telephone(shown: Watched) -> None:
    page = shown.page
    before = camera(page)
    page.set_viewport_size({"width": 360, "height": 740})
    canvas = page.locator("canvas.points").element_handle()
    page.wait_for_function("(c) => c.width === c.clientWidth && c.width < 360", arg=canvas)
    assert settled_camera(page, moved_from=before)[2] < before[2]  # it showed all points before, so it still does
    page.mouse.move(*first_point(page))
    page.locator(".card.shown").wait_for()
    frame = page.locator(".frame").bounding_box()
    for inner in (page.locator(".card.shown"), page.get_by_role("toolbar"), page.locator(".status")):
        box = inner.bounding_box()
        assert box and frame
        assert frame["x"] <= box["x"] and box["x"] + box["width"] <= frame["x"] + frame["width"]
        assert frame["y"] <= box["y"] and box["y"] + box["height"] <= frame["y"] + frame["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_follows_the_theme_at_once(shown: Watched) -> None:
    page = shown.page
    ramp = page.locator(".ramp")
    assert "rgb(11, 79, 148)" in (ramp.get_attribute("style") or "")
    page.emulate_media(color_scheme="dark")
    expect(ramp).to_have_attribute("style", re.compile(r"rgb\(108, 192, 255\)"))
    wait_whole(page)
    style = the_map(page).evaluate("(root) => [getComputedStyle(root).backgroundColor, getComputedStyle(root).color]")
    background, text = ([int(value) for value in re.findall(r"\d+", part)[:3]] for part in style)
    assert max(background) < 80 < min(text)
    pixels = picture(page)
    bright = np.abs(pixels - [108, 192, 255]).sum(axis=2) < 50  # no point has this colour on a light ground
    assert bright.sum() > 20 and np.median(pixels) < 80


def test_without_webgl2_it_says_so_and_shows_a_sample(quiet: Watched) -> None:
    page = quiet.page
    with lacking(page, WITHOUT_GL):
        begin(page, "52000")
    expect(the_map(page)).to_have_attribute("data-renderer", "sample")
    expect(page.get_by_role("note")).to_contain_text("no WebGL2: a sample of 50,000 of 52,000 points")
    page.get_by_role("button", name=re.compile("^Lasso")).click()
    drag(page, *around(page))
    page.get_by_text(re.compile(r"^lassoed \d+$")).wait_for()


def density(page: Page) -> float:
    """How much stronger crowds are coloured than lone points."""
    strength = np.ptp(picture(page), axis=2)  # of a colour over grey and white
    crowds, strays = np.quantile(strength[strength > 15], [0.9, 0.2])
    return float(crowds - strays)


def test_without_float_render_targets_density_is_still_seen(quiet: Watched) -> None:
    page = quiet.page
    with lacking(page, WITHOUT_FLOATS):
        begin(page, "30000")
    expect(the_map(page)).to_have_attribute("data-renderer", "webgl2")
    expect(the_map(page)).to_have_attribute("data-sums", "false")
    assert density(page) > 50
    inked = np.ptp(picture(page), axis=2) > 30
    x, y, scale = camera(page)
    height, width = inked.shape
    xy = islands(30_000)[0]
    place = np.stack([height / 2 - (xy[:, 1] - y) * scale, (xy[:, 0] - x) * scale + width / 2], axis=1).astype(int)
    there = np.zeros_like(inked)
    there[tuple(place.T)] = True
    near = [np.roll(inked, shift, axis) for axis in (0, 1) for shift in (-2, -1, 0, 1, 2)]
    assert np.logical_or.reduce(near)[there].mean() > 0.85  # every point but the greyest is seen where it is


@pytest.mark.parametrize("factor", [1.5, 2.0])
def test_zoomed_by_the_browser_it_is_sharp_and_what_is_pointed_at_is_hit(quiet: Watched, factor: float) -> None:
    page = quiet.page
    begin(page, "four")
    with zoomed(page, factor) as devtools:
        page.wait_for_function("(factor) => window.devicePixelRatio === factor", arg=factor)
        sharp(page, factor)
        settled_camera(page)
        places = {row: on_screen(page, px, py) for row, (px, py) in enumerate([(-1, 1), (1, 1), (-1, -1), (1, -1)])}
        for row, (left, top) in places.items():
            page.mouse.move(left + 2, top - 2)
            expect(the_map(page)).to_have_attribute("data-hovered", str(row))
            page.mouse.move(left + 40, top)
            expect(the_map(page)).to_have_attribute("data-hovered", "-1")
        left, top = places[2]  # the heavy one: its disc is where the pointer finds it
        taken = b64decode(devtools.send("Page.captureScreenshot")["data"])  # page.screenshot would end the zoom
        screen = np.asarray(Image.open(io.BytesIO(taken)).convert("RGB"), dtype=int)
        x, y, reach = (round(length * factor) for length in (left, top, 14))
        pixels = screen[y - reach : y + reach, x - reach : x + reach]
        blue = np.argwhere(pixels[..., 2] - pixels[..., 0] > 60)
        assert blue.mean(axis=0) == pytest.approx([reach] * 2, abs=1.5)
        begin(page, "3000")
        page.keyboard.down("Shift")
        drag(page, *around(page, 100))
        page.keyboard.up("Shift")
        told = page.get_by_text(re.compile(r"^lassoed \d+$"))
        told.wait_for()
        corners = [in_data(page, *corner) for corner in around(page, 100)]
        expected = int(polygon_mask(islands(3000)[0], corners).sum())
        assert int((told.text_content() or "").split()[1]) == pytest.approx(expected, abs=3) and expected > 100


def sharp(page: Page, factor: float) -> None:
    """The canvas comes to have one pixel for each of the screen's."""
    canvas = page.locator("canvas.points").element_handle()
    has = """([canvas, factor]) => { const box = canvas.getBoundingClientRect();
      return canvas.width === Math.round(box.width * factor) && canvas.height === Math.round(box.height * factor); }"""
    page.wait_for_function(has, arg=[canvas, factor])


def on_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a place of the data lies on the page, CSS px."""
    (cx, cy), (at_x, at_y, scale) = middle(page), camera(page)
    return cx + (x - at_x) * scale, cy - (y - at_y) * scale


def in_data(page: Page, left: float, top: float) -> tuple[float, float]:
    """The place of the data that lies at a place of the page."""
    (cx, cy), (at_x, at_y, scale) = middle(page), camera(page)
    return at_x + (left - cx) / scale, at_y - (top - cy) / scale


def test_two_hundred_thousand_points_are_dragged_and_lassoed_and_little_is_sent(quiet: Watched) -> None:
    page = quiet.page
    sent: list[int] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(len(frame))))
    page.reload()  # the socket is listened to from its beginning
    wait_whole(page)
    begin(page, "200000")
    assert density(page) > 50
    x, y = middle(page)
    before = camera(page)
    sent.clear()
    drag(page, (x, y), (x + 100, y), (x, y + 50))
    after = settled_camera(page, moved_from=before)
    assert (after[0] - before[0]) * before[2] == pytest.approx(0, abs=1)
    assert (after[1] - before[1]) * before[2] == pytest.approx(50, abs=1)
    assert max(sent, default=0) < 3000
    page.get_by_role("button", name=re.compile("^Lasso")).click()
    sent.clear()
    drag(page, *around(page))
    page.get_by_text(re.compile(r"^lassoed \d{4,}$")).wait_for()
    assert 0 < max(sent) < 3000
