"""A real server and a real browser for the end-to-end tests.

A browser test fails where CI=true and no Chromium is found; elsewhere it is skipped and says so.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120_000  # ms; a busy machine is no fault of a page
expect.set_options(timeout=PATIENCE)
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


@dataclass
class Watched:
    """A page with what it did: console errors, page errors, and every request beyond its own server."""

    page: Page
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Server:
    """A running app and the folder its projects live in."""

    address: str
    home: Path


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Debian's Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("Chromium is absent, and with CI=true a browser test must run")
    if found is None:
        pytest.skip("Chromium is absent")
    return found


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """One headless browser for all tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


def start_server(script: Path, home: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start Streamlit on `script` at a free local port, projects under `home`; return the process and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]
    environment = {**os.environ, "TOUCHSTONE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    log = home.parent / f"server-{port}.log"
    with log.open("wb") as out:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                return server, address
        except OSError:  # refused, or too slow to answer
            time.sleep(0.1)
    server.kill()
    server.wait()
    pytest.fail(f"the server did not start: {log.read_text()}")


def stop_server(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, and wait until it has."""
    process.terminate()
    try:
        process.wait(PATIENCE / 1000)
    finally:
        process.kill()


def running(home: Path) -> Iterator[Server]:
    """The app on the projects in `home`, until the tests that asked for it have ended."""
    process, address = start_server(ROOT / "app.py", home)
    try:
        yield Server(address, home)
    finally:
        stop_server(process)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app, one for all tests: each module makes projects of names of its own."""
    home = tmp_path_factory.mktemp("app") / "projects"
    home.mkdir()
    yield from running(home)


# Opened at a deep link, Streamlit's client looks for its server below the page's path first, is told 404, and goes on.
PROBES = ("/_stcore/health", "/_stcore/host-config")


def watch(page: Page, address: str) -> Watched:
    """Record what `page` does; only requests to `address` (and data and blob addresses) are its own."""
    watched = Watched(page)
    own = (address, address.replace("http", "ws", 1), "data:", "blob:")

    def listen(message: ConsoleMessage) -> None:
        url = message.location["url"]
        if message.type == "error" and not (url.startswith(address) and url.endswith(PROBES)):
            watched.errors.append(f"{message.text} ({url})")

    page.on("console", listen)
    page.on("pageerror", lambda e: watched.errors.append(str(e)))
    page.on("request", lambda r: None if r.url.startswith(own) else watched.foreign.append(r.url))
    return watched


@pytest.fixture
def watched(browser: Browser, server: Server) -> Iterator[Watched]:
    """A fresh page of the app that must stay free of errors and of requests to any other host."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    watched = watch(context.new_page(), server.address)
    yield watched
    context.close()
    assert watched.errors == [], "the browser's console shows errors"
    assert watched.foreign == [], "the page asked another host"


# Nothing is running, nothing is waited for (parts that load later leave a skeleton), and so it stays for a moment.
RESTED = """() => {
  const now = performance.now();
  const busy = !document.querySelector('.stApp[data-test-script-state="notRunning"] [data-testid="stHeading"]')
    || document.querySelector('[data-testid="stSkeleton"]');
  if (busy) window.restingSince = undefined;
  else window.restingSince ??= now;
  return !busy && now - window.restingSince > 400;
}"""


def rested(page: Page) -> None:
    """Wait until the page has been drawn by the server and its parts have been loaded."""
    page.evaluate("window.restingSince = undefined")
    page.wait_for_function(RESTED, timeout=2 * PATIENCE)  # the first page of all brings torch along


def lasso(page: Page) -> None:
    """Draw around the upper left quarter of the map with the lasso tool."""
    page.get_by_role("button", name=re.compile("^Lasso points")).click()
    box = page.locator("canvas").first.bounding_box()
    assert box is not None
    corners = [(0.12, 0.08), (0.6, 0.08), (0.6, 0.6), (0.12, 0.6), (0.12, 0.09)]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=8)
    page.mouse.up()
