"""An engine in a process of its own: to try a model that may crash it, for an engine that any model
may crash, or to run one in another Python environment.
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
"""A model that takes longer to load, or to answer, has hung; on the slowest Raspberry Pi it is a
second or two.
"""


class IsolatedSession:
    """A `Session` whose engine runs in a child process, and whose crash is an error here.

    `python` is an interpreter with ccnvr and the engine installed, this one if None. After a crash
    the next input finds a new child. Close it, or use it as a context manager.

    Raises:
        EngineError: the engine is not there, or it refuses the model, crashes, hangs or runs out of
            memory on it.
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
        self._end_process = weakref.finalize(self, _end, self._process)
        self._ask(self._model)

    @staticmethod
    def _start(name: str, python: Path, limits: Limits | None) -> subprocess.Popen[bytes]:
        # -P: as the command itself, the child must not import what happens to lie in the working
        # folder.
        command = [
            str(python),
            "-P",
            "-m",
            "ccnvr.edge.engines.worker",
            name,
            *(str(most) for most in limits or ()),
        ]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def __call__(self, inputs: Float32) -> Float32:
        """See `Session`."""
        if not self._end_process.alive:
            self._open()
        outputs = self._ask(np.ascontiguousarray(inputs, dtype=np.float32))
        if not isinstance(outputs, np.ndarray):
            raise EngineError("it answers with no numbers")
        return outputs

    def _ask(self, message: Float32 | bytes) -> Float32 | bytes:
        assert self._process.stdin is not None and self._process.stdout is not None
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
            raise EngineError(f"it answers with what is no array ({error})") from None
        except (
            BaseException
        ):  # interrupted: its answer must not be taken for that to the next question
            self.close()
            raise
        finally:
            timer.cancel()
        if isinstance(reply, str):
            self.close()  # the worker ends after an error
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
        """The most resident memory that the process had so far, in bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10

    def close(self) -> None:
        """End the process; it ends too when nothing refers to this any more."""
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
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        with suppress(OSError):  # what was not yet sent has nobody to read it
            if stream is not None:
                stream.close()
