"""The child process of an `IsolatedSession`: an engine with a model, behind a pair of pipes.

It is started as `python -m ccnvr.edge.engines.worker ENGINE [BYTES SECONDS]`, with limits on its
memory and CPU time; 0 seconds means no limit.

A message is a type (B, A or T), a length and that many bytes: raw bytes, an array as .npy, or text.
The first request is the model file, and the reply to it is empty; each further request is an array
of inputs, and its reply the outputs. A reply of text is an error, after which the worker exits.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from ccnvr.edge.engines.registry import ENGINES, EngineError
from ccnvr.firmware_bridge.arrays import Float32
from ccnvr.firmware_bridge.errors import CcnvrError

# As much as the largest bundle; no model file and no batch of inputs is larger.
LARGEST_MESSAGE = 64 << 20

_HEADER = struct.Struct("<cI")


class Limits(NamedTuple):
    """The limits on a worker's resources.

    `memory` is in bytes, on top of what the engine itself takes. `seconds` of CPU time, if above 0,
    end the worker even if its parent is gone.
    """

    memory: int
    seconds: int = 0


def send(stream: IO[bytes], message: Float32 | bytes | str) -> None:
    """Write one message: an array, the bytes of a model file, or the text of an error."""
    if isinstance(message, bytes):
        kind, content = b"B", message
    elif isinstance(message, str):
        kind, content = b"T", message.encode()
    else:
        array = io.BytesIO()
        npy.write_array(array, message, allow_pickle=False)
        kind, content = b"A", array.getvalue()
    stream.write(_HEADER.pack(kind, len(content)) + content)
    stream.flush()


def receive(stream: IO[bytes]) -> Float32 | bytes | str:
    """Read one message.

    Raises:
        EOFError: the other process is gone.
        ValueError: the message is malformed or too long.
    """
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError("the other process is gone")
    kind, length = _HEADER.unpack(header)
    if length > LARGEST_MESSAGE:
        raise ValueError(f"a message of {length} bytes exceeds the limit of {LARGEST_MESSAGE}")
    content = stream.read(length)
    if len(content) < length:
        raise EOFError("the other process is gone")
    if kind == b"T":
        return content.decode(errors="replace")
    return content if kind == b"B" else _array(content)


def _array(content: bytes) -> Float32:
    """Return the float32 array in .npy bytes, as a view of them.

    Raises:
        ValueError: it is malformed, or its header states another size than the bytes have.
    """
    stream = io.BytesIO(content)
    if npy.read_magic(stream) != (1, 0):
        raise ValueError("it is not .npy of version 1.0")
    shape, by_columns, dtype = npy.read_array_header_1_0(stream)
    if dtype != np.float32 or by_columns:
        raise ValueError(f"it is an array of {dtype} and not of float32 in rows")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)


def apply_limits(limits: Limits) -> None:
    """Set the limits on this process, and make it the first to be killed when memory is short."""
    # The engine is loaded by now, so the address space taken so far is the engine's own.
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = {
        resource.RLIMIT_AS: pages * resource.getpagesize() + limits.memory,
        resource.RLIMIT_CORE: 0,  # a core file of a crash could fill a small disk
    }
    if limits.seconds:
        most[resource.RLIMIT_CPU] = limits.seconds
    for kind, value in most.items():
        hard = resource.getrlimit(kind)[1]
        # An unprivileged process may only lower its hard limits.
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    Path("/proc/self/oom_score_adj").write_text("1000")


def serve(engine: str, requests: IO[bytes], replies: IO[bytes], limits: Limits | None) -> None:
    """Open the model in the first request, then reply to inputs until the requests end."""
    try:
        open_model = ENGINES[engine].load()
        if limits is not None:
            apply_limits(limits)
        model = receive(requests)
        assert isinstance(model, bytes)
        session = open_model(model)
        # An empty reply says that the model is open; its time-out counts apart from the first
        # inputs'.
        send(replies, b"")
        while True:
            inputs = receive(requests)
            assert isinstance(inputs, np.ndarray)
            send(replies, np.ascontiguousarray(session(inputs), dtype=np.float32))
    except EOFError:
        return
    except CcnvrError as error:
        send(replies, str(error))
    except Exception as error:  # whatever an engine raises on a model it should have refused
        send(replies, str(EngineError(error)))


def main() -> None:
    """Serve on standard input and output; what an engine prints goes to standard error."""
    # Ctrl-C and systemd signal the whole process group. The parent then still needs replies to its
    # last spectra, and ends this process by closing the pipe.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Replies go to a copy of standard output, so that nothing an engine prints can mix with them.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    engine, *limits = sys.argv[1:]
    serve(engine, sys.stdin.buffer, replies, Limits(*map(int, limits)) if limits else None)


if __name__ == "__main__":
    main()
