"""The control of a daemon for other processes: a Unix domain socket beside its store.

Only the user who runs the daemon may connect (mode 0600). What a peer sends, or how slowly it reads
and writes, cannot hold up the measuring: each connection has a thread of its own, lines and times
are bounded, and so is the number of connections.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ccnvr.edge.workflow import messages
from ccnvr.edge.workflow.control import Control, Job, JobRefused
from ccnvr.edge.workflow.requests import JobFailed, JobFinished

MOST_CONNECTIONS = 8
IDLE_S = 60.0
"""How long a connection without a job may be silent, in s."""

SEND_S = 2.0
"""How long a peer may take to accept an answer, in s."""

LAST_WORDS_S = 0.5
"""How long connections may last after the daemon's end, to deliver the last answers, in s."""

_LOOK_UP_S = 0.1
_BIND_AGAIN_S = 5.0

_LOG = logging.getLogger(__name__)


def socket_path(store: Path) -> Path:
    """Return the path of the control socket of the daemon that uses a store."""
    # Through links, so that every name of the store leads to the same socket.
    real = store.resolve()
    # Hidden, so that no copy of the store and its log by `STORE*` stumbles over a socket.
    return real.with_name(f".{real.name}.control")


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """Give an address of a socket that fits the system's 107 bytes, however long the path is."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class ControlServer(threading.Thread):
    """The thread that accepts connections; start it, and `close` it in the end.

    The daemon must own the store, because a socket that a killed daemon left is replaced.

    Args:
        control: the daemon's control.
        store: the daemon's store.
    """

    def __init__(self, control: Control, store: Path) -> None:
        super().__init__(name="control", daemon=True)
        self.path = socket_path(store)
        self.listening = threading.Event()
        """Set once connections are accepted, a moment after the socket's file appears."""
        self._control = control
        self._stopping = threading.Event()
        self._connections: list[_Connection] = []

    def close(self) -> None:
        """End all connections, and remove the socket."""
        self._stopping.set()
        self.join()

    def run(self) -> None:
        """Run the thread: accept connections until `close`."""
        listener, told = None, ""
        while listener is None:
            try:
                listener = self._listen()
            except OSError as error:
                # A full disk or the like passes; the measuring goes on without the socket.
                if told != (told := f"{self.path} ({error.strerror or error})"):
                    _LOG.warning("the control socket %s cannot be made; trying again", told)
                if self._stopping.wait(_BIND_AGAIN_S):
                    return
        self.listening.set()
        try:
            self._accept(listener)
        finally:
            listener.close()
            with suppress(OSError):
                self.path.unlink()
            self._end_connections()

    def _end_connections(self) -> None:
        deadline = time.monotonic() + LAST_WORDS_S
        for connection in self._connections:
            connection.join(max(0.0, deadline - time.monotonic()))
        for connection in self._connections:
            connection.cut()
            connection.join()

    def _listen(self) -> socket.socket:
        # The store is this daemon's alone, so a socket in its place is a killed daemon's. Anything
        # else is someone's file.
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(self.path.lstat().st_mode):
                self.path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Before the name exists: at no moment may another user connect. Linux takes the mode of
            # the new file from the socket.
            os.fchmod(listener.fileno(), 0o600)
            with short_address(self.path) as address:
                listener.bind(address)
            os.chmod(self.path, 0o600)
            listener.listen(MOST_CONNECTIONS)
        except BaseException:
            listener.close()
            raise
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            if not select.select([listener], [], [], _LOOK_UP_S)[0]:
                continue
            try:
                peer, _ = listener.accept()
            except OSError:  # too many open files, or the peer went away at once
                self._stopping.wait(_LOOK_UP_S)
                continue
            self._connections = [one for one in self._connections if one.is_alive()]
            if len(self._connections) >= MOST_CONNECTIONS:
                with suppress(OSError):
                    peer.settimeout(_LOOK_UP_S)
                    peer.sendall(messages.event_line(JobFailed("too many programs are connected")))
                peer.close()
                continue
            self._connections.append(_Connection(self._control, peer, self._stopping))
            self._connections[-1].start()


class _Connection(threading.Thread):
    """One peer: it asks for jobs, one at a time, and is told their events."""

    def __init__(self, control: Control, peer: socket.socket, stopping: threading.Event) -> None:
        super().__init__(name="control-peer", daemon=True)
        self._control = control
        self._peer = peer
        self._stopping = stopping
        self._job: Job | None = None
        self._received = b""
        self._heard = time.monotonic()

    def cut(self) -> None:
        """End the connection, whatever it waits for."""
        with suppress(OSError):
            self._peer.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Run the thread: serve the peer until it goes away or breaks the rules."""
        try:
            self._peer.settimeout(SEND_S)
            while self._goes_on():
                pass
        except OSError:
            _LOG.debug("a peer of the control socket went away")
        except Exception:  # an error here must not look like one of the measuring
            _LOG.exception("a request of the control socket failed; report this")
        finally:
            if self._job is not None:
                self._job.cancel()
            self._peer.close()

    def _goes_on(self) -> bool:
        """Serve for a moment; return whether the connection lasts."""
        if self._job is not None:
            event = self._job.next_event(_LOOK_UP_S)
            if event is not None:
                self._peer.sendall(messages.event_line(event))
            if isinstance(event, JobFinished | JobFailed):
                self._job, self._heard = None, time.monotonic()
            if event is not None:
                return True
        elif self._stopping.is_set():
            return False
        # With a job, its events are waited for instead.
        wait_s = 0.0 if self._job is not None else _LOOK_UP_S
        if select.select([self._peer], [], [], wait_s)[0]:
            return self._read()
        return self._job is not None or time.monotonic() - self._heard < IDLE_S

    def _read(self) -> bool:
        data = self._peer.recv(4096)
        self._received += data
        *lines, self._received = self._received.split(b"\n")
        for line in lines:
            self._heard = time.monotonic()
            self._carry_out(line)
        if len(self._received) > messages.MOST_LINE:
            self._fail(f"a line has more than {messages.MOST_LINE} bytes")
            return False
        return bool(data)

    def _carry_out(self, line: bytes) -> None:
        try:
            request = messages.read_request(line)
        except ValueError as error:
            return self._fail(str(error))
        if request == "status":
            status = {"event": "status", "status": self._control.status()}
            return self._peer.sendall(messages.encode(status))
        if isinstance(request, str):
            if self._job is None:
                return self._fail(f"there is no job to {request}; ask for one first")
            return self._job.proceed() if request == "proceed" else self._job.cancel()
        if self._job is not None:
            return self._fail("a job of this connection is not done; connect anew for another")
        try:
            self._job = self._control.submit(request)
        except JobRefused as refused:
            return self._fail(str(refused))
        return None

    def _fail(self, text: str) -> None:
        self._peer.sendall(messages.event_line(JobFailed(text)))
