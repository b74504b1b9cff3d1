"""Seconds from `streamlit run app.py` to the first page visible in Chromium (browser start not counted)."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright
from shell import ROOT, NotRun

REPEATS = 3


def run(folder: Path) -> dict[str, object]:
    """Three cold starts of the server, each with a fresh page of one browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise NotRun("Chromium is absent")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        seconds = [_start(folder, browser) for _ in range(REPEATS)]
        browser.close()
    return {"seconds": [round(s, 2) for s in seconds], "worst": round(max(seconds), 2)}


def _start(folder: Path, browser) -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    page = browser.new_page()
    environment = {**os.environ, "TOUCHSTONE_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    start = time.perf_counter()
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health")
        page.goto(f"http://127.0.0.1:{port}")
        page.get_by_role("button", name="demo").first.wait_for(timeout=60_000)
        return time.perf_counter() - start
    finally:
        server.terminate()
        server.wait()
        page.close()


def wait_for(address: str, seconds: float = 60) -> None:
    """Wait until a server answers at the address."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise SystemExit("The server did not start.")
