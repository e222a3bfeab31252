"""Measure how long after a scan its prediction stands on the page: `python -m tools.page_delay`.

A real daemon looks at real soils through a simulated handheld on a pseudo-terminal, and a headless
Chromium asks for the scans (Debian's chromium needed). The time begins with the last byte of the
scan, which is the record's time less its latency, and ends when the browser has painted the card.
Both are read from the clock of the one computer.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from tools.page_pictures import chromium, opened, served_page, waited

SCANS = 20

# The second frame after a change is drawn once the first has been painted.
_WATCH = """
window.painted = [];
new MutationObserver(() => requestAnimationFrame(() => requestAnimationFrame(
  () => window.painted.push(Date.now())
))).observe(document.getElementById("cards"), {childList: true});
"""


def main() -> None:
    """Print the delay of the first prediction, and of those after it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        served_page(Path(folder)) as url,
        chromium() as browser,
    ):
        opened(browser, url)
        delays = [delay(browser, Path(folder), number) for number in range(SCANS)]
    first, rest = delays[0], delays[1:]
    print(
        f"the first prediction was painted {first:.0f} ms after its scan, {len(rest)} more "
        f"{statistics.median(rest):.0f} ms (median) and {max(rest):.0f} ms (at most)"
    )


def delay(browser: Any, folder: Path, number: int) -> float:
    """Have a soil scanned; return the delay in ms."""
    end = time.monotonic() + 60
    while not browser.find_element("id", "scan").is_enabled() and time.monotonic() < end:
        time.sleep(0.05)
    browser.execute_script(_WATCH)
    browser.find_element("name", "id").send_keys(f"soil {number}")
    browser.find_element("id", "scan").click()
    waited(browser, "sample-line", f"soil {number}")
    while not (painted := browser.execute_script("return window.painted")):
        time.sleep(0.02)
    with closing(sqlite3.connect(folder / "ccnvr.sqlite")) as store:
        ((moment, latency_ms),) = store.execute(
            "SELECT time, latency_ms FROM scans ORDER BY id DESC LIMIT 1"
        )
    scanned = datetime.fromisoformat(moment).timestamp() * 1e3 - latency_ms
    return float(painted[0] - scanned)


if __name__ == "__main__":
    main()
