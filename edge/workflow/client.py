"""The other end of the control socket, for `ccnvr scan` and `ccnvr reference`."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ccnvr.edge.workflow import messages
from ccnvr.edge.workflow.control_socket import short_address, socket_path
from ccnvr.edge.workflow.requests import JobEvent, JobFailed, JobFinished, JobRequest
from ccnvr.firmware_bridge.errors import CcnvrError

# A record has a few kilobytes; this bounds what a wrong peer can make the client hold.
_MOST_ANSWER = 1 << 20


class ControlClient:
    """A connection to the daemon that uses a store; a context manager.

    Args:
        store: the daemon's store.
        timeout_s: how long an answer may take.

    Raises:
        CcnvrError: no daemon serves the store, or it cannot be reached.
    """

    def __init__(self, store: Path, timeout_s: float = 600.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            with short_address(socket_path(store)) as address:
                self._socket.connect(address)
        # Refused is a socket that a killed daemon left behind.
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            self._socket.close()
            raise CcnvrError(
                f"no daemon serves store {store}; start one with ccnvr run --instrument URL "
                f"--store {store}"
            ) from error
        except OSError as error:
            self._socket.close()
            raise CcnvrError(
                f"the daemon of store {store} cannot be reached ({error.strerror or error}); run "
                "this command as the user who runs the daemon"
            ) from error
        self._lines = self._socket.makefile("rb")

    def close(self) -> None:
        """Close the connection; a job that waits for the operator is withdrawn."""
        self._lines.close()
        self._socket.close()

    def ask(self, request: JobRequest) -> Iterator[JobEvent]:
        """Ask for a job and yield its events; answer a prompt by `proceed`.

        Raises:
            CcnvrError: the daemon went away or gave something else.
        """
        self._send(messages.request_line(request))
        while True:
            try:
                event = messages.read_event(self._line())
            except ValueError as error:
                raise CcnvrError(f"the daemon's answer is not understood: {error}") from error
            yield event
            if isinstance(event, JobFinished | JobFailed):
                return

    def proceed(self) -> None:
        """Answer a prompt: the operator is ready."""
        self._send(messages.encode({"request": "proceed"}))

    def status(self) -> dict[str, Any]:
        """Return the daemon's status.

        Raises:
            CcnvrError: the daemon went away or gave something else.
        """
        self._send(messages.encode({"request": "status"}))
        try:
            answer = messages.decode(self._line())
        except ValueError as error:
            raise CcnvrError(f"the daemon's answer is not understood: {error}") from error
        if not isinstance(answer.get("status"), dict):
            raise CcnvrError(f"the daemon gave no status: {answer.get('text', answer)!s:.200}")
        return dict(answer["status"])

    def _send(self, line: bytes) -> None:
        try:
            self._socket.sendall(line)
        except OSError as error:
            raise self._lost(error.strerror) from error

    def _line(self) -> bytes:
        try:
            line = self._lines.readline(_MOST_ANSWER)
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from error
        # Cut by the end of the connection, or longer than any answer.
        if not line.endswith(b"\n"):
            raise self._lost("it closed the connection")
        return line

    def _lost(self, reason: str | None) -> CcnvrError:
        return CcnvrError(
            f"the daemon went away ({reason}); see its log. A scan that it had taken is stored"
        )
