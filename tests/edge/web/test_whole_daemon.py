"""A session in the browser with the real daemon and a simulated instrument on a pseudo-terminal."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.edge.web.test_page import errors, fill, text
from tests.support.brokers import free_port
from tests.support.helpers import CCNVR, wait_until


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The page of `ccnvr run` on an instrument of `ccnvr simulate`."""
    link, port = tmp_path / "handheld", free_port()
    (tmp_path / "ccnvr.toml").write_text(
        f'[instrument]\nurl = "serial://{link}?baud=921600"\n[scan]\nstart = "command"\n'
        f"[accept]\nOC = 20\n[web]\nport = {port}\n[lines]\nport = {free_port()}\n"
    )
    simulate = [*CCNVR, "simulate", "--pace", "0", "--link", str(link)]
    run = [*CCNVR, "run", "-c", "ccnvr.toml"]
    with subprocess.Popen(simulate, stdout=subprocess.PIPE) as simulator:
        assert simulator.stdout is not None
        simulator.stdout.readline()
        with subprocess.Popen(run, cwd=tmp_path, stdout=subprocess.DEVNULL) as daemon:
            yield f"http://127.0.0.1:{port}/"
            assert listened_at(daemon.pid) == {"127.0.0.1": 2}
            daemon.terminate()
            assert daemon.wait(20) == 0
        simulator.terminate()


@pytest.mark.slow
def test_references_and_three_soils_from_the_browser(url: str, browser: Any) -> None:
    wait_until(lambda: answered(f"{url}health"))
    browser.get(url)
    wait_until(lambda: text(browser, "activity") == "ready for the next scan", 60)
    browser.find_element("id", "take-references").click()
    wait_until(lambda: browser.find_element("id", "job").is_displayed())
    while not browser.find_element("id", "scan").is_enabled():
        if browser.find_element("id", "job").is_displayed():
            browser.find_element("id", "proceed").click()
        time.sleep(0.1)
    for name in ("A1", "A2", "A3"):
        wait_until(lambda: browser.find_element("id", "scan").is_enabled())
        fill(browser, id=name, top_cm="0", bottom_cm="10")
        browser.find_element("id", "scan").click()
        wait_until(lambda: name in text(browser, "sample-line"))  # noqa: B023 - used at once
    assert "OC" in text(browser, "cards")
    assert text(browser, "verdict")
    wait_until(lambda: browser.find_elements("css selector", "#spectrum path.example"))
    features = json.loads(answered(f"{url}api/session.geojson"))["features"]
    assert [feature["properties"]["sample_id"] for feature in features] == ["A1", "A2", "A3"]
    assert errors(browser) == []


def listened_at(pid: int) -> dict[str, int]:
    """Return at how many ports a process listens, by address."""
    open_ones = psutil.Process(pid).net_connections("inet")
    return Counter(one.laddr.ip for one in open_ones if one.status == psutil.CONN_LISTEN)


def answered(address: str) -> str:
    """Return what a server answers; "" before it does."""
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        time.sleep(0.1)
        return ""
