"""The page in a real browser: a whole session with references, check sample and three soils."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from ccnvr.edge.web import files
from ccnvr.edge.workflow.requests import CheckRequest
from tests.edge.web.conftest import ServedPage
from tests.support.helpers import ROOT, wait_until

SCRIPT = "<img src=x onerror=\"document.title='hacked'\">"


def text(browser: Any, name: str) -> str:
    return str(browser.find_element("id", name).text)


def fill(browser: Any, **values: str) -> None:
    form = browser.find_element("id", "sample")
    for name, value in values.items():
        form.find_element("name", name).send_keys(value)


def errors(browser: Any) -> list[Any]:
    """Return the errors of the console but for connections that the test itself has cut."""
    return [
        entry
        for entry in browser.get_log("browser")
        if entry["level"] == "SEVERE"
        and "ERR_CONNECTION" not in entry["message"]
        and "ERR_INCOMPLETE" not in entry["message"]
    ]


@pytest.mark.slow
def test_a_whole_session_is_driven_from_the_page(page: ServedPage, browser: Any) -> None:
    browser.get(page.url)
    wait_until(lambda: text(browser, "link") == "connected")
    browser.find_element("id", "take-references").click()
    wait_until(lambda: "white panel" in text(browser, "job-text"))
    browser.find_element("id", "proceed").click()
    wait_until(lambda: not browser.find_element("id", "job").is_displayed())
    wait_until(lambda: browser.find_element("id", "check-sample").is_enabled())
    browser.find_element("id", "check-sample").click()
    wait_until(lambda: browser.find_element("id", "check").is_displayed())
    for number, name in enumerate(("A1", "A2", SCRIPT)):
        wait_until(lambda: browser.find_element("id", "scan").is_enabled())
        fill(browser, id=name, top_cm="0", bottom_cm="20", note="sandy")
        if not number:
            fill(browser, operator="Mia")
        browser.find_element("id", "scan").click()
        wait_until(lambda: name in text(browser, "sample-line"))  # noqa: B023 - used at once
    assert len(browser.find_elements("css selector", "#check-charts svg")) == 3
    assert browser.title == "ccnvr"
    rows = browser.find_elements("css selector", "#session-rows tr")
    assert [row.find_elements("tag name", "td")[1].text for row in rows] == [
        SCRIPT,
        "A2",
        "A1",
    ]
    assert "26" in text(browser, "cards")
    assert "20 to 32" in text(browser, "cards")
    assert browser.find_elements("css selector", "#spectrum path.curve")
    assert len(browser.find_elements("css selector", "#map circle")) == 3
    # An earlier soil can be looked at again, with the keyboard too.
    rows[2].send_keys("\n")
    wait_until(lambda: "A1" in text(browser, "sample-line"))
    assert errors(browser) == []


def test_a_prediction_is_on_the_screen_within_a_second(page: ServedPage, browser: Any) -> None:
    browser.get(page.url)
    wait_until(lambda: text(browser, "link") == "connected")
    page.scan()
    # The browser's own clock says when the card appeared.
    browser.execute_script(
        "window.seen = 0; new MutationObserver(() => { window.seen = window.seen || Date.now(); })"
        ".observe(document.getElementById('cards'), {childList: true});"
    )
    before = time.time() * 1e3
    page.scan()
    seen = wait_until(lambda: browser.execute_script("return window.seen"))
    print(f"on the screen {seen - before:.0f} ms after the scan was asked for")


@pytest.mark.slow
def test_the_page_goes_on_after_the_daemon_was_away(page: ServedPage, browser: Any) -> None:
    browser.get(page.url)
    wait_until(lambda: text(browser, "link") == "connected")
    page.scan()
    wait_until(lambda: "23" in text(browser, "cards"))
    page.stop()
    wait_until(lambda: text(browser, "link") == "no connection")
    page.start()
    wait_until(lambda: text(browser, "link") == "connected")
    page.scan()
    wait_until(lambda: "24" in text(browser, "cards"))
    assert len(browser.find_elements("css selector", "#session-rows tr")) == 2


def test_the_page_opens_without_the_daemon_once_it_was_seen(page: ServedPage, browser: Any) -> None:
    browser.get(page.url)
    wait_until(lambda: text(browser, "link") == "connected")
    wait_until(lambda: browser.execute_script("return !!navigator.serviceWorker.controller"))
    page.stop()
    browser.get(page.url)
    wait_until(lambda: text(browser, "link") == "no connection")
    assert text(browser, "scan") == "Scan"


def test_a_refused_update_is_shown_with_its_reason(page: ServedPage, browser: Any) -> None:
    told = {"running": "nir 01234567", "on_trial": True, "refused": None, "refused_name": None}
    page.daemon.control.show("model", lambda: told)
    browser.get(page.url)
    wait_until(lambda: "nir 01234567, on trial" in text(browser, "references"))
    refused = {"refused": f"it fails {SCRIPT}", "refused_name": "new", "on_trial": False}
    page.daemon.control.show("model", lambda: told | refused)
    shown = f"nir 01234567; new was refused: it fails {SCRIPT}"
    wait_until(lambda: shown in text(browser, "references"))
    assert browser.title == "ccnvr"


@pytest.mark.slow
def test_everything_can_be_reached_with_the_keyboard(page: ServedPage, browser: Any) -> None:
    browser.get(page.url)
    wait_until(lambda: text(browser, "link") == "connected")
    page.scan()
    wait_until(lambda: text(browser, "cards"))
    reached = set()
    for _ in range(20):
        browser.switch_to.active_element.send_keys("\t")
        element = browser.switch_to.active_element
        reached.add(element.get_attribute("name") or element.get_attribute("id") or element.text)
    assert {
        "id",
        "top_cm",
        "bottom_cm",
        "operator",
        "note",
        "replicates",
        "scan",
        "take-references",
        "check-sample",
        "Download CSV",
        "Download GeoJSON",
    } <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: ServedPage, browser: Any, scheme: str) -> None:
    axe = ROOT / ".venv" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
    axe = Path(os.environ.get("CCNVR_AXE", axe))
    if not axe.exists():
        pytest.skip(
            "axe-core is not installed; make test does it where npm is, and CCNVR_AXE names it"
        )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    browser.get(page.url)
    wait_until(lambda: text(browser, "link") == "connected")
    page.scan()
    page.scan(CheckRequest())
    wait_until(lambda: text(browser, "cards"))
    browser.find_element("id", "take-references").click()
    wait_until(lambda: "white panel" in text(browser, "job-text"))
    # The test's own script: the page itself would refuse a script of elsewhere.
    browser.execute_script(axe.read_text())
    found = browser.execute_async_script(
        "const done = arguments[0]; axe.run().then((result) => done(result.violations));"
    )
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious] == []


def test_every_text_of_the_page_is_in_its_file_and_none_is_left_over() -> None:
    static = Path(files.__file__).with_name("static")
    texts = json.loads((static / "texts.en.json").read_text())
    used = set(re.findall(r'data-text="(\w+)"', (static / "index.html").read_text()))
    used |= set(re.findall(r'\bsay\("(\w+)"', (static / "page.js").read_text()))
    used |= set(re.findall(r'\bshowLink\("(\w+)"', (static / "page.js").read_text()))
    # The verdicts are named by the daemon.
    assert used | {"ok", "laboratory", "rescan"} == set(texts)
