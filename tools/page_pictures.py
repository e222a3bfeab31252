"""Draw the page for the documents: `python -m tools.page_pictures` (Debian's chromium needed).

A real daemon looks at real soils through a simulated handheld; the browser measures three of them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver

from tests.support.brokers import free_port

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
CCNVR = [sys.executable, "-m", "ccnvr.edge.cli"]
SIZES = {"page-phone.png": (412, 1330), "page-desk.png": (1280, 1210)}


def main() -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as folder, served_page(Path(folder)) as url:
        draw(url)


@contextmanager
def served_page(folder: Path) -> Iterator[str]:
    """Run a daemon on a simulated handheld on a pseudo-terminal; give its page's address."""
    link, port = folder / "handheld", free_port()
    subprocess.run([*CCNVR, "demo", "--save-soils", "soils.csv"], cwd=folder, check=True)
    (folder / "ccnvr.toml").write_text(
        f'[instrument]\nurl = "serial://{link}?baud=921600"\n[scan]\nstart = "command"\n'
        f"[accept]\nOC = 8\npH = 0.8\n[web]\nport = {port}\n"
    )
    simulate = [*CCNVR, "simulate", "--pace", "0", "--link", str(link)]
    with subprocess.Popen(
        [*simulate, "--spectra", "soils.csv"], cwd=folder, stdout=subprocess.PIPE
    ) as simulator:
        assert simulator.stdout is not None
        simulator.stdout.readline()
        run = [*CCNVR, "run", "-c", "ccnvr.toml"]
        with subprocess.Popen(run, cwd=folder, stdout=subprocess.DEVNULL) as daemon:
            try:
                yield f"http://127.0.0.1:{port}/"
            finally:
                daemon.terminate()
                simulator.terminate()


@contextmanager
def chromium() -> Iterator[Any]:
    """Run a headless Chromium."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(word)
    browser = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))
    )
    try:
        yield browser
    finally:
        browser.quit()


def draw(url: str) -> None:
    """Measure three soils in the browser, and keep its pictures."""
    with chromium() as browser:
        opened(browser, url)
        for number in range(1, 4):
            browser.find_element("name", "id").send_keys(f"plot 7-{number}")
            browser.find_element("name", "top_cm").send_keys("0")
            browser.find_element("name", "bottom_cm").send_keys("20")
            browser.find_element("id", "scan").click()
            waited(browser, "sample-line", f"plot 7-{number}")
        time.sleep(1.0)
        browser.execute_script("document.activeElement.blur()")
        for name, (width, height) in SIZES.items():
            browser.set_window_size(width, height)
            browser.execute_script("window.scrollTo(0, 0)")
            time.sleep(0.5)
            browser.save_screenshot(str(FIGURES / name))


def opened(browser: Any, url: str) -> None:
    """Open the page once the daemon serves it and is ready."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            browser.get(url)
            break
        except Exception:  # it does not listen yet
            time.sleep(0.5)
    waited(browser, "activity", "ready")


def waited(browser: Any, name: str, words: str) -> None:
    """Wait until an element has these words."""
    end = time.monotonic() + 60
    while words not in browser.find_element("id", name).text:
        if time.monotonic() > end:
            raise SystemExit(f"{name} does not say {words!r}")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
