"""A TCP port that gives a line of text for each prediction, as QField and QGIS sensors read it.

A sensor of theirs holds the last line, and a form takes it as a field's default, so that photo,
position and synchronisation come from the tool that surveyors already use: docs/streams.md.
A reader that is slow or does not read is dropped, since only the newest line matters; one that
sends anything is dropped when the next one comes.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from collections.abc import Mapping
from typing import Any

from ccnvr.edge.streams.settings import LinesConfig, is_loopback, listen

_LOG = logging.getLogger(__name__)

MOST_READERS = 16

SEPARATOR = ";"


def line_of(record: Mapping[str, Any], properties: tuple[str, ...] = ()) -> str:
    """Return a prediction as `scan id;OC=21.4;pH=6.8;...;flags`, without a line break.

    A property that the record lacks has no value: `OC=`.
    """
    predictions = record["predictions"]
    values = [
        f"{_plain(name)}={predictions[name]['value']:.4g}"
        if name in predictions
        else f"{_plain(name)}="
        for name in properties or predictions
    ]
    flags = " ".join(_plain(flag) for flag in record["flags"])
    return SEPARATOR.join([_plain(record["scan_id"]), *values, flags])


def _plain(text: object) -> str:
    """Return a text without what would break a line in two or one field into two."""
    return "".join(
        letter if letter.isprintable() and letter not in ";=" else "_" for letter in str(text)
    )


class LineServer:
    """The server of the port, in a thread of its own.

    Args:
        config: the port and the address.

    Raises:
        CcnvrError: the port cannot be opened.
    """

    def __init__(self, config: LinesConfig) -> None:
        self._properties = config.properties
        self._readers: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._last = b""
        self._listener = listen("lines", config.host, config.port)
        if not is_loopback(config.host):
            _LOG.warning(
                "the lines at %s port %d can be read by everyone on the network",
                config.host,
                config.port,
            )
        self._listener.setblocking(False)
        self._closing, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, name="lines", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port."""
        return int(self._listener.getsockname()[1])

    def deliver(self, record: Mapping[str, Any]) -> None:
        """Send a record's line to all who are connected."""
        line = (line_of(record, self._properties) + "\n").encode()
        with self._lock:
            self._last = line
            for reader in list(self._readers):
                self._send(reader, line)

    def close(self) -> None:
        """Close the port and all connections."""
        self._wake.send(b"x")
        self._thread.join()
        with self._lock:
            for open_socket in (*self._readers, self._listener, self._closing, self._wake):
                open_socket.close()
            self._readers.clear()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._closing, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._closing:
                        return
                    self._welcome()

    def _welcome(self) -> None:
        try:
            reader, _ = self._listener.accept()
        except OSError:
            return  # it went away again, or there are too many open files
        with self._lock:
            for unwanted in [one for one in self._readers if _is_to_go(one)]:
                self._drop(unwanted)
            if len(self._readers) >= MOST_READERS:
                reader.close()
                return
            reader.setblocking(False)
            self._readers.add(reader)
            # So that a form that was opened after the scan has its value.
            if self._last:
                self._send(reader, self._last)

    def _send(self, reader: socket.socket, line: bytes) -> None:
        try:
            sent = reader.send(line)
        except OSError:
            sent = 0
        if sent < len(line):
            self._drop(reader)

    def _drop(self, reader: socket.socket) -> None:
        self._readers.discard(reader)
        reader.close()


def _is_to_go(reader: socket.socket) -> bool:
    """Return whether a reader has closed its connection or sends anything, as no real one does.

    It reads once, because a reader that sends without pause would hold the lock of `deliver`.
    """
    try:
        reader.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
