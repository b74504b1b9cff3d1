"""Takes a picture of every page of the app: populated, empty, and with a mistake shown.

    python tests/e2e/pictures.py [--out tests/e2e/screenshots] [--only map,review] [--demo PROJECT]

builds the demo project (or copies a built one), starts the app, and drives it in headless Chromium. Pictures are PNGs
of at most 256 colours. A page that shows a traceback, or that asks another host for anything, ends the script with an
error, so that no picture is kept of a broken page.
"""

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.runs.choice import Choice  # noqa: E402 - the project's root comes first
from engine.runs.choosing import select  # noqa: E402
from engine.store.project import Project  # noqa: E402
from tests.e2e.conftest import FLAGS, lasso, rested, start_server, watch  # noqa: E402

OUT = Path(__file__).parent / "screenshots"
WIDE, NARROW = (1440, 1000), (420, 900)
COLOURS = 256
SETTLED_MS = 1500
REVIEWER = "Grace"
Step = Callable[[Page], None]


@dataclass(frozen=True)
class Picture:
    """One picture: its file name, the address, what to do there, and how the window is."""

    name: str
    address: str
    steps: tuple[Step, ...] = ()
    size: tuple[int, int] = WIDE
    scheme: str = "light"


def click(role: str, name: str) -> Step:
    """Click the first thing of that role and (partial) name."""
    return lambda page: page.get_by_role(role, name=re.compile(name)).first.click()  # type: ignore[arg-type]


def tap(text: str) -> Step:
    """Click the first place that shows exactly this text."""
    return lambda page: page.get_by_text(text, exact=True).first.click()


def fill(label: str, text: str) -> Step:
    """Type into the first field of that label, and leave it."""

    def act(page: Page) -> None:
        field = page.get_by_role("textbox", name=re.compile(label)).first
        field.fill(text)
        field.press("Tab")

    return act


def choose(label: str, option: str) -> Step:
    """Choose an option of the first selectbox of that label."""

    def act(page: Page) -> None:
        page.get_by_role("combobox", name=re.compile(re.escape(label))).first.click()
        page.get_by_role("option", name=option, exact=True).first.click()

    return act


def wait(text: str) -> Step:
    """Wait until a text is seen."""
    return lambda page: page.get_by_text(re.compile(text)).first.wait_for()


def top(text: str) -> Step:
    """Bring a text to the top of the window."""

    def act(page: Page) -> None:
        page.get_by_text(re.compile(text)).first.evaluate("found => found.scrollIntoView({block: 'start'})")

    return act


def brush(page: Page) -> None:
    """Brush the middle of the histogram of lengths."""
    surface = page.locator('[data-chart="words"] .surface')
    surface.scroll_into_view_if_needed()
    box = surface.bounding_box()
    if box is None:
        raise RuntimeError("the histogram is not there")
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 20, steps=5)
    page.mouse.up()


def answer(page: Page) -> None:
    """Decide on a dozen samples by keyboard."""
    for key in "aaxaasaxaaaa":
        page.keyboard.press(key)
        page.wait_for_timeout(300)


OTHER_MAP = '[["box","map-gone",0,0,1,1]]'
WRITE = click("button", "^Export$")
AUDIT = (choose("Order", "Random audit"), click("button", "^Begin an audit"), answer)
NOTHING_LEFT = '[["words","",100000,null]]'

PICTURES = (
    Picture("home", "/?project=demo"),
    Picture("home-error", "/?project=not-there"),
    Picture("pool", "/Pool?project=demo"),
    Picture("pool-signals", "/Pool?project=demo", (top("^Copies$"),)),
    Picture("pool-empty", "/Pool?project=bare"),
    Picture("pool-error", "/Pool?project=demo", (tap("Path or data set"), fill("File, folder", "/no/pool.jsonl"))),
    Picture("score", "/Score?project=demo"),
    Picture("score-empty", "/Score?project=bare"),
    Picture("score-error", "/Score?project=demo&run=gone"),
    Picture("map", "/Map?project=demo&run=exact", (lasso, wait("[1-9][\\d,]* selected"))),
    Picture("map-histograms", "/Map?project=demo&run=exact", (brush, top("Distributions"))),
    Picture("map-dark", "/Map?project=demo&run=exact", (choose("Colour by", "Cluster"),), scheme="dark"),
    Picture("map-narrow", "/Map?project=demo&run=exact", size=NARROW),
    Picture("map-empty", "/Map?project=unmapped"),
    Picture("map-error", f"/Map?project=demo&filters={OTHER_MAP}"),
    Picture("review", "/Review?project=demo&run=exact", (wait("Decisions on|neighbours"),)),
    Picture("review-list", "/Review?project=demo&run=exact", (tap("List"),)),
    Picture("review-audit", "/Review?project=demo&run=exact", AUDIT),
    Picture("review-empty", f"/Review?project=demo&filters={NOTHING_LEFT}"),
    Picture("review-error", "/Review?project=demo&sample=no-such-sample"),
    Picture("review-narrow", "/Review?project=demo&run=exact", size=NARROW),
    Picture("compare", "/Compare?project=demo"),
    Picture("compare-map", "/Compare?project=demo", (click("tab", "On the map"), top("On the map"))),
    Picture("compare-empty", "/Compare?project=unmapped"),
    Picture("compare-error", f"/Compare?project=demo&filters={OTHER_MAP}"),
    Picture("select", "/Select?project=demo&run=exact"),
    Picture("select-influence", "/Select?project=demo&run=exact", (click("tab", "Influence"), top("^Influence$"))),
    Picture("select-sheet", "/Select?project=demo&run=exact", (top("Saved selections"),)),
    Picture("select-error", "/Select?project=demo&run=exact", (fill("Size", "999999999"),)),
    Picture("select-empty", "/Select?project=bare"),
    Picture("export", "/Export?project=demo"),
    Picture(
        "export-done", "/Export?project=demo", (click("button", "^Export$"), wait("written to"), top("written to"))
    ),
    Picture("export-error", "/Export?project=demo", (WRITE, wait("exists already"))),
    Picture("export-empty", "/Export?project=unmapped"),
)


def engine(*words: str) -> None:
    """One command of the shell."""
    subprocess.run([sys.executable, "-m", "engine", *words], cwd=ROOT, check=True)


def prepare(home: Path, built: Path | None) -> None:
    """The demo project with a second run, decisions, an audit and selections; one without samples, one without more."""
    demo = home / "demo"
    if built is None:
        engine("demo", str(demo))
    else:
        shutil.copytree(built, demo)
    engine("signals", str(demo))
    project = Project.open(demo)
    first = project.runs()[0].name
    engine("score", str(demo), "--method", "rds", "--run", "likeness")
    project.decide(range(0, 400, 3), "approve", by="Ada", note="read and right")
    project.decide(range(1, 400, 7), "reject", by="Ada", note="wrong answer")
    for size, guards in (("600", ()), ("800", ("leak", "near-duplicate"))):
        select(project, Choice(size=size, guards=guards), run=first, name="subset", by="Ada")
    project.propose_selection("subset", by="Ada", note="read the best 100 and 60 at random")
    Project.create(home / "bare")
    engine("add-pool", str(home / "unmapped"), str(demo / "demo" / "pool.jsonl"))
    engine("add-target", str(home / "unmapped"), "code", str(demo / "demo" / "target-code.jsonl"))
    engine("score", str(home / "unmapped"), "--method", "random", "--run", "chance")


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder of always the same name, since the app shows where files lie."""
    folder = Path(tempfile.gettempdir()) / "touchstone"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def app(home: Path) -> Iterator[str]:
    """The app on these projects; its address."""
    process, address = start_server(ROOT / "app.py", home)
    try:
        yield address
    finally:
        process.terminate()
        process.wait(10)


def take(browser: Browser, address: str, picture: Picture, out: Path) -> None:
    """Take one picture. Raises `RuntimeError` where the page is broken."""
    width, height = picture.size
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=picture.scheme)  # type: ignore[arg-type]
    context.set_default_timeout(60_000)
    watched = watch(context.new_page(), address)
    page = watched.page
    try:
        page.goto(f"{address}{picture.address}")
        page.get_by_role("heading").first.wait_for()
        rest(page)
        for step in picture.steps:
            step(page)
            rest(page)
        if page.get_by_test_id("stException").count() or watched.errors or watched.foreign:
            raise RuntimeError(f"{picture.name}: {watched.errors or watched.foreign or 'a traceback is shown'}")
        keep(page.screenshot(), out / f"{picture.name}.png")
    finally:
        context.close()


def rest(page: Page) -> None:
    """Wait until the page and its charts are drawn."""
    page.wait_for_timeout(SETTLED_MS)
    rested(page)
    page.wait_for_timeout(SETTLED_MS)


def keep(image: bytes, path: Path) -> None:
    """Write a picture with few colours, which is small and still sharp."""
    found = Image.open(io.BytesIO(image)).convert("RGB")
    found.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Take all pictures, or those named."""
    parser = argparse.ArgumentParser(description="Takes a picture of every page of the app.")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--demo", type=Path, help="a demo project that was built before; it is copied")
    asked = parser.parse_args()
    wanted = {name for name in asked.only.split(",") if name}
    asked.out.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    os.environ["LOGNAME"] = REVIEWER
    with workplace() as folder, sync_playwright() as playwright:
        os.environ["TOUCHSTONE_ROOTS"] = str(folder)
        home, nothing = folder / "projects", folder / "nothing" / "projects"
        home.mkdir()
        nothing.mkdir(parents=True)
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        if not wanted or "home-empty" in wanted:
            with app(nothing) as address:
                take(browser, address, Picture("home-empty", "/"), asked.out)
        prepare(home, asked.demo)
        with app(home) as address:
            for picture in PICTURES:
                if not wanted or picture.name in wanted:
                    take(browser, address, picture, asked.out)
        browser.close()


if __name__ == "__main__":
    main()
