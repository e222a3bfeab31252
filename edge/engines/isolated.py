"""Sessions in a child process.

They serve to try a model that may crash the engine, to keep an engine that any model may crash away
from ccnvr's own process, and to run an engine of another Python environment.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ccnvr.edge.engines.registry import EngineError
from ccnvr.edge.engines.worker import Limits, receive, send
from ccnvr.firmware_bridge.arrays import Float32

SECONDS = 60.0
"""The time in which a model must load, or return its outputs.

The slowest Raspberry Pi needs a second or two, so a model that takes longer has hung.
"""


class IsolatedSession:
    """A `Session` whose engine runs in a child process, so that its crash is an error here.

    After a crash, the next input starts a new child. Close the session, or use it as a context
    manager.

    Args:
        name: the name of the engine.
        model: the content of the model file.
        python: an interpreter with ccnvr and the engine installed; None for this one.
        limits: the memory and CPU time that the child may take; None for no limits.
        seconds: the time in which the model must load, or return its outputs.

    Raises:
        EngineError: the engine is not installed, or it refuses the model, crashes, hangs or runs
            out of memory.
    """

    def __init__(
        self,
        name: str,
        model: bytes,
        *,
        python: Path | None = None,
        limits: Limits | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self.name = name
        self._model = model
        self._python = python or Path(sys.executable)
        self._limits = limits
        self._seconds = seconds
        self._open()

    def _open(self) -> None:
        self._process = self._start(self.name, self._python, self._limits)
        # Ends the child also when the session is garbage-collected and when Python exits.
        self._end_process = weakref.finalize(self, _end, self._process)
        self._ask(self._model)

    @staticmethod
    def _start(name: str, python: Path, limits: Limits | None) -> subprocess.Popen[bytes]:
        # -P keeps the working folder out of the import path: a file there must not be able to
        # stand in for a module.
        command = [
            str(python),
            "-P",
            "-m",
            "ccnvr.edge.engines.worker",
            name,
            *(str(most) for most in limits or ()),
        ]
        # Standard error is dropped: engines write warnings and stack traces there from C++.
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def __call__(self, inputs: Float32) -> Float32:
        """Run the network, see `Session`.

        Raises:
            EngineError: the engine fails on these inputs, crashes or hangs.
        """
        if not self._end_process.alive:
            self._open()
        outputs = self._ask(np.ascontiguousarray(inputs, dtype=np.float32))
        if not isinstance(outputs, np.ndarray):
            raise EngineError("its reply is not an array")
        return outputs

    def _ask(self, message: Float32 | bytes) -> Float32 | bytes:
        assert self._process.stdin is not None and self._process.stdout is not None
        # A pipe has no time-out in Python. Killing the child ends the read below with EOF.
        late = threading.Event()
        timer = threading.Timer(self._seconds, self._expire, (late,))
        timer.start()
        try:
            send(self._process.stdin, message)
            reply = receive(self._process.stdout)
        except (EOFError, OSError):
            raise EngineError(self._reason(late.is_set())) from None
        except ValueError as error:
            self.close()
            raise EngineError(f"its reply is malformed ({error})") from None
        except BaseException:
            # Interrupted, as by Ctrl-C: the outstanding reply must not be taken for the reply to
            # the next request.
            self.close()
            raise
        finally:
            timer.cancel()
        if isinstance(reply, str):
            self.close()  # the worker exits after an error
            raise EngineError(reply)
        return reply

    def _expire(self, late: threading.Event) -> None:
        late.set()
        self._process.kill()

    def _reason(self, late: bool) -> str:
        code = self._process.wait()
        self.close()
        if late:
            return f"it does not finish in {self._seconds:.0f} s"
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        room = (
            "" if self._limits is None else f", or needs more than {self._limits.memory >> 20} MiB"
        )
        return f"it crashes the engine ({how}){room}"

    @property
    def peak_memory(self) -> int:
        """The peak resident memory of the child process so far, in bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10

    def close(self) -> None:
        """End the child process; garbage collection of the session ends it too."""
        self._end_process()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    # Not terminate: the worker ignores SIGTERM, see its `main`.
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        # Closing flushes the buffer, which fails on the pipe of a dead process.
        with suppress(OSError):
            if stream is not None:
                stream.close()
