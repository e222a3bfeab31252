"""The child process of `isolated`: an engine with a model in it, behind a pipe.

`python -m ccnvr.edge.engines.worker ENGINE [BYTES SECONDS]`, with what it may take of memory and of
computing, 0 for no end of it.

A message is a kind, a length and so many bytes: the model itself, an array as .npy, or text, which
from the worker is an error.
The worker answers the model with no bytes, and each input with outputs; or with an error.
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

LARGEST_MESSAGE = 64 << 20

_HEADER = struct.Struct("<cI")


class Limits(NamedTuple):
    """What a worker may take: bytes of `memory` beyond the engine's own and, if above 0, `seconds`
    of computing, after which it ends even when nobody is left to end it.
    """

    memory: int
    seconds: int = 0


def send(stream: IO[bytes], message: Float32 | bytes | str) -> None:
    """Write one message."""
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
        EOFError: the other side is gone.
        ValueError: it is no message.
    """
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError("the other side is gone")
    kind, length = _HEADER.unpack(header)
    if length > LARGEST_MESSAGE:
        raise ValueError(f"a message of {length} bytes exceeds {LARGEST_MESSAGE}")
    content = stream.read(length)
    if len(content) < length:
        raise EOFError("the other side is gone")
    if kind == b"T":
        return content.decode(errors="replace")
    return content if kind == b"B" else _array(content)


def _array(content: bytes) -> Float32:
    """A float32 array from .npy bytes; what its header states must be what is there, so nothing
    more is allocated.
    """
    stream = io.BytesIO(content)
    if npy.read_magic(stream) != (1, 0):
        raise ValueError("it is no .npy of version 1.0")
    shape, by_columns, dtype = npy.read_array_header_1_0(stream)
    if dtype != np.float32 or by_columns:
        raise ValueError(f"it is an array of {dtype} and not of float32 by rows")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)


def limit(limits: Limits) -> None:
    """From here on this process is bound by them, and goes first when the computer's memory is
    short.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = {
        resource.RLIMIT_AS: pages * resource.getpagesize() + limits.memory,
        resource.RLIMIT_CORE: 0,
    }
    if limits.seconds:
        most[resource.RLIMIT_CPU] = limits.seconds
    for kind, value in most.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    Path("/proc/self/oom_score_adj").write_text("1000")


def serve(engine: str, requests: IO[bytes], replies: IO[bytes], limits: Limits | None) -> None:
    """Open the model that comes first, then answer inputs until there are no more."""
    try:
        open_model = ENGINES[engine].load()
        if limits is not None:
            limit(limits)
        model = receive(requests)
        assert isinstance(model, bytes)
        backend = open_model(model)
        send(replies, b"")
        while True:
            inputs = receive(requests)
            assert isinstance(inputs, np.ndarray)
            send(replies, np.ascontiguousarray(backend(inputs), dtype=np.float32))
    except EOFError:
        return
    except CcnvrError as error:
        send(replies, str(error))
    except Exception as error:  # whatever an engine raises on a model that it should have refused
        send(replies, str(EngineError(error)))


def main() -> None:
    """Serve on standard input and output; what an engine prints goes to standard error.

    Signals that end the parent in order, as Ctrl-C at its terminal, are its affair: its last
    spectra still need an answer.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    engine, *limits = sys.argv[1:]
    serve(engine, sys.stdin.buffer, replies, Limits(*map(int, limits)) if limits else None)


if __name__ == "__main__":
    main()
