"""A stream passes the store's records on, in order, from a cursor of its own that survives
a crash.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ccnvr.edge.daemon.store import Store

Deliver = Callable[[dict[str, Any]], None]


class Stream(threading.Thread):
    """Delivers each record of a store once; after a crash the last one may come again, under the
    same scan id.

    The cursor moves after a delivery. `error` is what ended the thread early, or None.
    """

    def __init__(self, name: str, store_path: Path, deliver: Deliver) -> None:
        super().__init__(name=f"stream-{name}", daemon=True)
        self.error: BaseException | None = None
        self._cursor_name = name
        self._store_path = store_path
        self._deliver = deliver
        self._news = threading.Event()
        self._stopping = threading.Event()

    def wake(self) -> None:
        """Say that a record was committed."""
        self._news.set()

    def finish(self) -> None:
        """Deliver what is committed, then end."""
        self._stopping.set()
        self._news.set()
        self.join()

    def run(self) -> None:
        """The thread's body."""
        try:
            store = Store(self._store_path)
            try:
                self._pass_on(store)
            finally:
                store.close()
        except BaseException as error:  # handed to the daemon, which raises it in the main thread
            self.error = error

    def _pass_on(self, store: Store) -> None:
        last = store.cursor(self._cursor_name)
        while True:
            # Both are read before the query: what is committed later wakes the next round.
            self._news.clear()
            stopping = self._stopping.is_set()
            records = store.records_after(last)
            for last, record in records:
                self._deliver(record)
                store.advance(self._cursor_name, last)
            if not records:
                if stopping:
                    return
                self._news.wait()
