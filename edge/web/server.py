"""The server of the page, in a thread of the daemon."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ccnvr.edge.streams.page_settings import WebConfig
from ccnvr.edge.streams.settings import check_installed, is_loopback, listen
from ccnvr.edge.web.app import App
from ccnvr.edge.web.guard import Guard
from ccnvr.edge.web.http import MOST_HEAD
from ccnvr.edge.web.records import Examples, PageRecords
from ccnvr.edge.workflow.control import Control

_LOG = logging.getLogger(__name__)

MOST_CONNECTIONS = 64
"""Connections at once; a page takes two or three."""

PATIENCE_S = 10.0
"""How often connections are looked at: one without a whole request at two looks is closed."""

KEEP_ALIVE_S = 5

END_S = 2


@contextmanager
def served(
    config: WebConfig,
    control: Control,
    store: Path,
    examples: Examples = lambda wavelengths_nm: None,
) -> Iterator[App]:
    """Serve the page while the block runs.

    Args:
        config: port, address and secret.
        control: the daemon's control.
        store: the daemon's store.
        examples: soils that the model knows, see `PageRecords`.

    Raises:
        CcnvrError: the port or the file of the secret cannot be used, or uvicorn is not installed.
    """
    # All that can be refused comes before the daemon starts to measure.
    check_installed("web", "uvicorn", "uvicorn")
    guard = Guard(config.token(), (*config.names, config.host))
    listener = listen("web", config.host, config.port)
    session = PageRecords(store, examples)
    app = App(control, session, guard)
    server = _server(app)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="page", daemon=True
    )
    thread.start()
    port = listener.getsockname()[1]
    host = f"[{config.host}]" if ":" in config.host else config.host
    _LOG.info("the page is at http://%s:%d", host, port)
    if not is_loopback(config.host):
        _LOG.warning("the page is open to the network; the secret travels without encryption")
    try:
        yield app
    finally:
        # Streams of events never end by themselves, and the server waits for them.
        app.close()
        server.should_exit = True
        thread.join(END_S + 1.0)
        session.close()
        listener.close()


def _server(app: App) -> Any:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        """A connection that ends if it sends no whole request: uvicorn itself would wait."""

        _idle_looks = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.loop.call_later(PATIENCE_S, self._look)

        def _look(self) -> None:
            if self.transport.is_closing():
                return
            answering = self.cycle is not None and not self.cycle.response_complete
            self._idle_looks = 0 if answering else self._idle_looks + 1
            if self._idle_looks == 2:
                self.transport.close()
            else:
                self.loop.call_later(PATIENCE_S, self._look)

    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Impatient,
            # Nothing here needs them, and each would be one more way in.
            ws="none",
            lifespan="off",
            # Its records go to the daemon's log, as all others do.
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=END_S,
            h11_max_incomplete_event_size=MOST_HEAD,
        )
    )
