"""Takes a picture of every page of the app: populated, empty, and with a mistake shown.

    python tests/e2e/pictures.py [--out tests/e2e/screenshots] [--only map,review] [--demo PROJECT]

builds the demo project (or copies a built one), starts the app, and drives it in headless Chromium. Pictures are PNGs
of at most 256 colours. A page that shows a traceback, or that asks another host for anything, ends the script with an
error, so that no picture is kept of a broken page.
"""

import argparse
import io
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
from tests.e2e.conftest import FLAGS, start_server, watch  # noqa: E402

OUT = Path(__file__).parent / "screenshots"
WIDE, NARROW = (1440, 1000), (420, 900)
COLOURS = 256
SETTLED_MS = 1500
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


def fill(label: str, text: str) -> Step:
    """Type into the first field of that label, and leave it."""

    def act(page: Page) -> None:
        field = page.get_by_label(label).first
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


def scroll(text: str) -> Step:
    """Bring a text into view."""
    return lambda page: page.get_by_text(re.compile(text)).first.scroll_into_view_if_needed()


def press(key: str) -> Step:
    """Press a key once the page rests."""

    def act(page: Page) -> None:
        page.wait_for_timeout(SETTLED_MS)
        page.keyboard.press(key)

    return act


def lasso(page: Page) -> None:
    """Draw around the upper left of the map."""
    page.get_by_role("button", name=re.compile("^Lasso points")).click()
    box = page.locator("canvas").first.bounding_box()
    if box is None:
        raise RuntimeError("the map is not there")
    corners = [(0.12, 0.1), (0.55, 0.06), (0.62, 0.5), (0.2, 0.6), (0.12, 0.12)]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=8)
    page.mouse.up()


PICTURES = (
    Picture("home", "/?project=demo"),
    Picture("home-error", "/?project=not-there"),
    Picture("pool", "/Pool?project=demo"),
    Picture("pool-empty", "/Pool?project=bare"),
    Picture("score", "/Score?project=demo"),
    Picture("score-empty", "/Score?project=bare"),
    Picture("map", "/Map?project=demo", (lasso, wait("[1-9][\\d,]* selected"))),
    Picture("map-dark", "/Map?project=demo", (choose("Colour by", "Cluster"),), scheme="dark"),
    Picture("map-narrow", "/Map?project=demo", size=NARROW),
    Picture("map-empty", "/Map?project=bare"),
    Picture("review", "/Review?project=demo"),
    Picture("review-empty", '/Review?project=demo&filters=[["words","",100000,null]]'),
    Picture("review-narrow", "/Review?project=demo", size=NARROW),
    Picture("compare", "/Compare?project=demo"),
    Picture("compare-empty", "/Compare?project=bare"),
    Picture("select", "/Select?project=demo"),
    Picture("select-error", "/Select?project=demo", (fill("Size", "999999999"), wait("Nothing|nothing"))),
    Picture("export", "/Export?project=demo"),
    Picture("export-empty", "/Export?project=bare"),
)


def prepare(home: Path, built: Path | None) -> None:
    """The demo project with a second run, some decisions and a selection; and a project without any sample."""
    demo = home / "demo"
    if built is None:
        subprocess.run([sys.executable, "-m", "engine", "demo", str(demo)], cwd=ROOT, check=True)
    else:
        shutil.copytree(built, demo)
    project = Project.open(demo)
    first = project.runs()[0].name
    if len(project.runs()) < 2:
        command = [sys.executable, "-m", "engine", "score", str(demo), "--method", "delift-se", "--run", "likeness"]
        subprocess.run(command, cwd=ROOT, check=True)
    if not project.selections():
        project.decide(range(0, 400, 3), "approve", by="Ada", note="read and right")
        project.decide(range(1, 400, 7), "reject", by="Ada", note="wrong answer")
        select(project, Choice(size="800"), run=first, name="subset", by="Ada")
    Project.create(home / "bare")


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
    """Wait until the page is drawn."""
    page.wait_for_timeout(SETTLED_MS)
    page.locator('[data-testid="stStatusWidget"]').wait_for(state="detached")
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
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home, nothing = Path(folder) / "home", Path(folder) / "nothing" / "home"
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
