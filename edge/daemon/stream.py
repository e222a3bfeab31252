"""A stream delivers the store's records in order, from a cursor that survives a crash."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from ccnvr.edge.storage.health import Patience
from ccnvr.edge.store.store import Store
from ccnvr.edge.streams.destination import IDLE_S, Destination, Undelivered

_BATCH = 100
"""How many records are read from the store at once."""

_LOG = logging.getLogger(__name__)


class Stream(threading.Thread):
    """A thread that delivers each record of a store once.

    The cursor moves after a delivery, so after a crash the last records may come again, under the
    same scan ids; moving it before would lose them. The main loop commits the cursor with the next
    scan, and the stream itself only at its end, since each commit writes to the disk.

    Args:
        destination: where records go; an exception from it ends the stream.
        store_path: the store.
        patience: how to wait for trouble of the store to pass.

    Attributes:
        error: the exception that ended the thread early, or None.
        cursor_name: the name of the stream's cursor in the store.
        delivered: the id of the last record that was delivered; None until the store is open.
    """

    def __init__(
        self, destination: Destination, store_path: Path, patience: Patience | None = None
    ) -> None:
        super().__init__(name=f"stream-{destination.name}", daemon=True)
        self.error: BaseException | None = None
        self.cursor_name = destination.name
        self.delivered: int | None = None
        self._patience = patience
        self._store_path = store_path
        self._destination = destination
        self._news = threading.Event()
        self._stopping = threading.Event()

    def wake(self) -> None:
        """Tell the stream that a record was committed."""
        self._news.set()

    def finish(self) -> None:
        """Deliver all committed records, then stop the thread and wait for its end."""
        self.begin_to_finish()
        self.join()

    def begin_to_finish(self) -> None:
        """Do the same without waiting for the end."""
        if self._stopping.is_set():
            return
        # In this order: a thread that the news wakes must see that it is to stop.
        self._stopping.set()
        self._news.set()
        if self._destination.stop is not None:
            self._destination.stop()

    def run(self) -> None:
        """Run the thread: deliver records until `finish`, or until a delivery fails."""
        try:
            # A SQLite connection belongs to one thread, so the stream opens its own.
            store = Store(self._store_path, patience=self._patience)
            try:
                self._deliver_records(store)
            except Undelivered as why:
                # The cursor stands before what did not arrive.
                if str(why):
                    _LOG.warning("%s", why)
            finally:
                store.close()
        except BaseException as error:  # the main loop raises it again in its own thread
            self.error = error

    def _wait_for_news(self) -> None:
        idle = self._destination.idle
        if idle is None:
            self._news.wait()
            return
        while not self._news.wait(IDLE_S):
            idle()

    def _deliver_records(self, store: Store) -> None:
        committed = self.delivered = store.cursor(self.cursor_name)
        first, settle = True, self._destination.settle
        try:
            while True:
                # Both are read before the query: a record committed after it wakes the next round.
                self._news.clear()
                stopping = self._stopping.is_set()
                records = store.records_after(self.delivered, _BATCH)
                for last, record in records:
                    self._destination.deliver(record)
                    if settle is None:
                        self.delivered = last
                if records and settle is not None:
                    settle()
                    self.delivered = records[-1][0]
                if len(records) == _BATCH or (records and first):
                    # What an earlier run left would come again and again if each is killed before
                    # its first scan; and a long backlog should not come twice.
                    committed, first = self.delivered, False
                    store.advance(self.cursor_name, committed)
                if not records:
                    if stopping:
                        return
                    self._wait_for_news()
        finally:
            if self.delivered > committed:
                store.advance(self.cursor_name, self.delivered)
