"""A stream delivers the store's records in order, from a cursor that survives a crash."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ccnvr.edge.daemon.store import Store

Deliver = Callable[[dict[str, Any]], None]


class Stream(threading.Thread):
    """A thread that delivers each record of a store once.

    The cursor moves after a delivery, so after a crash the last record may come again, under the
    same scan id; moving it before would lose that record.

    Args:
        name: the name of the stream's cursor in the store.
        store_path: the store.
        deliver: takes one record; an exception from it ends the stream.

    Attributes:
        error: the exception that ended the thread early, or None.
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
        """Tell the stream that a record was committed."""
        self._news.set()

    def finish(self) -> None:
        """Deliver what is committed, then end the thread and wait for it."""
        # In this order: a thread that the news wakes must see that it is to stop.
        self._stopping.set()
        self._news.set()
        self.join()

    def run(self) -> None:
        """Run the thread: deliver records until `finish`, or until a delivery fails."""
        try:
            # A SQLite connection belongs to one thread, so the stream opens its own.
            store = Store(self._store_path)
            try:
                self._deliver_records(store)
            finally:
                store.close()
        except BaseException as error:  # the main loop raises it again in its own thread
            self.error = error

    def _deliver_records(self, store: Store) -> None:
        last = store.cursor(self._cursor_name)
        while True:
            # Both are read before the query: a record committed after it wakes the next round.
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
