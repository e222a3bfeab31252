"""All streams of a run of the daemon: standard output, and those that the configuration names."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

from ccnvr.edge.daemon.config import Config
from ccnvr.edge.daemon.stream import Stream
from ccnvr.edge.storage.health import Patience
from ccnvr.edge.store.store import Store
from ccnvr.edge.streams.destination import Deliver, Destination
from ccnvr.edge.streams.destinations import opened
from ccnvr.edge.streams.fleet import Status
from ccnvr.edge.versions import installed_version

_LOG = logging.getLogger(__name__)

STANDARD_OUTPUT = "stdout"


class Broadcast:
    """The streams of one run, each with a thread and a cursor of its own.

    Without standard output nobody at the terminal sees the predictions, so its error ends the run.
    An error of another stream ends that stream alone, and its records wait in the store.

    Args:
        config: the configuration.
        deliver: takes each record for standard output.
        patience: how to wait for trouble of the store to pass.
        status: returns the daemon's status, of which some streams tell a part.
    """

    def __init__(
        self, config: Config, deliver: Deliver, patience: Patience, status: Status = dict
    ) -> None:
        self._config = config
        self._status = status
        self._patience = patience
        self._main = self._stream(Destination(STANDARD_OUTPUT, deliver))
        self._others: list[Stream] = []
        self._opened = ExitStack()

    def start(self) -> None:
        """Open all destinations and start to deliver.

        Raises:
            CcnvrError: a destination cannot be used.
        """
        bundle = Path(self._config.model.bundle).stem
        model = self._status().get("model", {}).get("running", bundle)
        # Opened here and not before, because a repaired store begins another round with new ones.
        destinations = self._opened.enter_context(
            opened(
                self._config.mqtt,
                self._config.lines,
                installed_version("ccnvr") or "",
                model,
                self._status,
            )
        )
        self._others = [self._stream(destination) for destination in destinations]
        for stream in self._all:
            stream.start()

    def wake(self) -> None:
        """Tell all streams that a record was committed."""
        for stream in self._all:
            stream.wake()

    def finish(self) -> None:
        """Deliver what can be delivered, and end all streams."""
        # Not those that an error at the start left unstarted.
        started = [stream for stream in self._all if stream.ident is not None]
        try:
            # All at once: one that waits for its reader or broker must not delay the others' end.
            for stream in started:
                stream.begin_to_finish()
            for stream in started:
                stream.finish()
        finally:
            self._opened.close()
        for stream in self._others:
            if stream.error is not None:
                _LOG.error(
                    "the stream %s ended (%s: %s); its predictions wait in the store",
                    stream.cursor_name,
                    type(stream.error).__name__,
                    stream.error,
                )

    @property
    def error(self) -> BaseException | None:
        """The error that ended the stream of standard output, or None."""
        return self._main.error

    @property
    def delivered(self) -> dict[str, int]:
        """The id of the last record that each stream has delivered, once it has begun."""
        return {
            stream.cursor_name: stream.delivered
            for stream in self._all
            if stream.delivered is not None
        }

    def held_at(self, store: Store) -> int:
        """Return the id of the last record that all streams have delivered.

        Records after it must stay in the store: what a stream has not sent exists nowhere else. A
        stream that could not open the store counts with its cursor there.
        """
        delivered = self.delivered
        names = [stream.cursor_name for stream in self._all]
        return min(delivered[name] if name in delivered else store.cursor(name) for name in names)

    @property
    def _all(self) -> list[Stream]:
        return [self._main, *self._others]

    def _stream(self, destination: Destination) -> Stream:
        return Stream(destination, self._config.store_path, self._patience)


__all__ = ["STANDARD_OUTPUT", "Broadcast", "Deliver"]
