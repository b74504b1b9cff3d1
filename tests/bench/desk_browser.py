"""The desk in Chromium with software graphics: the first map, the app's memory with three tabs, 200 decisions by key.

The server is the app's own, in a process of its own, on a copy of the project. Times are the browser's view: from
asking for a page to its last point drawn, from pressing a key to the next sample standing there.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from desk_clock import percentiles, resident
from first_page import wait_for
from playwright.sync_api import Browser, Page, sync_playwright
from shell import ROOT, NotRun

FLAGS = (
    "--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-quic", "--no-first-run", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
)  # fmt: skip
DECIDED = int(os.environ.get("TOUCHSTONE_DECISIONS", 200))
DRAWN = '[data-touchstone-map][data-drawn="whole"]'
LONG_MS = 300_000
TABS = ("Map", "Review", "Select")
# notes when a key is pressed and, frame by frame, when the next place and its text are there; null after half a minute
WATCH = """(head) => {
  window.touchstonePressed = null;
  const press = () => { window.touchstonePressed = performance.now(); };
  document.addEventListener('keydown', press, { once: true, capture: true });
  const place = () => parseInt(head.textContent.replaceAll(',', ''), 10);
  const text = () => head.closest('section').querySelector('article.turn') !== null;
  const before = place(), begun = performance.now();
  window.touchstoneShown = new Promise((done) => {
    const look = () => {
      if (place() === before + 1 && text()) done(performance.now() - window.touchstonePressed);
      else if (performance.now() - begun > 30000) done(null);
      else requestAnimationFrame(look);
    };
    look();
  });
}"""


def draw(project: Path) -> dict[str, Any]:
    """Seconds to the first whole map, the second time too, and the app's memory with the project open in three tabs."""
    with served(project) as (process, address), chromium() as browser:
        idle = resident(process.pid)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        figures: dict[str, Any] = {"first_map_s": _map(page, f"{address}/Map?project={project.name}")}
        figures["again_map_s"] = _map(page, f"{address}/Map?project={project.name}")
        figures["draw_ms"] = int(page.locator(DRAWN).get_attribute("data-draw-ms") or 0)
        page.close()
        for tab in TABS:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(f"{address}/{tab}?project={project.name}")
            settle(page)
        return {**figures, "idle": idle, "three_tabs": resident(process.pid), "tabs": ", ".join(TABS)}


def review(project: Path) -> dict[str, Any]:
    """Milliseconds from key to next sample over `DECIDED` decisions, with a pause and at once; how many were lost."""
    from engine.store.project import Project

    before = len(Project.open(project).decision_log(limit=1_000_000))
    with served(project) as (process, address), chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{address}/Review?project={project.name}")
        settle(page)
        page.locator("section.desk .head .place").wait_for(timeout=LONG_MS)
        half = DECIDED // 2
        calm = [_press(page, "axs"[at % 3], pause=0.3) for at in range(half)]
        hasty = [_press(page, "axs"[at % 3], pause=0.0) for at in range(half, DECIDED)]
        settle(page)
        page.wait_for_timeout(5000)
        after = len(Project.open(project).decision_log(limit=1_000_000))
        memory = resident(process.pid)
    return {
        "decided": DECIDED,
        "lost": DECIDED - (after - before),
        "stuck": sum(ms is None for ms in (*calm, *hasty)),
        "key_to_next_sample": percentiles([ms / 1e3 for ms in calm if ms is not None]),
        "key_to_next_sample_in_haste": percentiles([ms / 1e3 for ms in hasty if ms is not None]),
        "memory": memory,
    }


def _press(page: Page, key: str, *, pause: float) -> float | None:
    """Decide by a key; milliseconds until the next sample stands there, None where it never did."""
    page.locator("section.desk .head").evaluate(WATCH)
    page.keyboard.press(key)
    shown = page.evaluate("window.touchstoneShown")
    if pause:
        page.wait_for_timeout(1000 * pause)
    return None if shown is None else float(shown)


def _map(page: Page, address: str) -> float:
    begun = time.perf_counter()
    page.goto(address)
    page.locator(DRAWN).wait_for(timeout=LONG_MS)
    return round(time.perf_counter() - begun, 2)


def settle(page: Page) -> None:
    """Wait until the script of the page has run to its end."""
    page.get_by_test_id("stHeading").first.wait_for(timeout=LONG_MS)
    page.wait_for_timeout(300)
    page.get_by_test_id("stStatusWidget").wait_for(state="detached", timeout=LONG_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    """One headless browser."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        raise NotRun("Chromium is absent")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield browser
        browser.close()


@contextmanager
def served(project: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The app on the folder the project lies in, and its address; it is stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    environment = {**os.environ, "TOUCHSTONE_HOME": str(project.parent), "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/_stcore/health")
        yield server, address
    finally:
        server.terminate()
        server.wait()
