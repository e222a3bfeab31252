"""A page of a played daemon on a port of loopback, and a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ccnvr.edge.streams.page_settings import WebConfig
from ccnvr.edge.web.server import served
from ccnvr.edge.workflow.requests import JobFinished, JobRequest, SampleRequest
from tests.support.brokers import free_port
from tests.support.played_daemon import PlayedDaemon


@dataclass
class ServedPage:
    """A page, its daemon, and its address."""

    daemon: PlayedDaemon
    port: int
    stop: Callable[[], None]
    start: Callable[[], None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def scan(self, request: JobRequest | None = None) -> None:
        """Have a sample scanned."""
        job = self.daemon.control.submit(request or SampleRequest())
        while not isinstance(job.next_event(20), JobFinished):
            pass


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., ServedPage]]:
    with ExitStack() as stack:

        def make(**values: Any) -> ServedPage:
            store = tmp_path / "s.sqlite"
            daemon = PlayedDaemon(store)
            daemon.start()
            stack.callback(daemon.end)
            daemon.ready.wait(20)
            port = free_port()
            config = WebConfig(port=port, **values)
            running = ExitStack()
            stack.callback(lambda: running.close())

            def start() -> None:
                app = running.enter_context(served(config, daemon.control, store))
                daemon.on_commit = app.wake

            page = ServedPage(daemon, port, running.close, start)
            start()
            return page

        yield make


@pytest.fixture
def page(serve: Callable[..., ServedPage]) -> ServedPage:
    return serve()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """A headless Chromium of Debian, the size of a phone."""
    chromium.get_log("browser")  # discards the messages of the test before
    yield chromium
    chromium.get("about:blank")
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


# Each page has a port of its own, so nothing that one has stored is seen by the next.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver or not chromium:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=412,915"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield made
    made.quit()
