"""Lines to a descriptor whose reader is slow, stuck, gone, or behind a full disk."""

from __future__ import annotations

import os
import threading
import time

import pytest

from ccnvr.edge.streams.destination import Undelivered
from ccnvr.edge.streams.line_output import NAME, LineOutput

LINE = "x" * 10_000


def test_a_slow_reader_gets_each_line_whole() -> None:
    reading, writing = os.pipe()
    received = bytearray()

    def read() -> None:
        while data := os.read(reading, 3_000):
            received.extend(data)
            time.sleep(0.002)

    thread = threading.Thread(target=read)
    thread.start()
    output = LineOutput(writing, lambda: False)
    for _ in range(20):
        output.write(LINE)
    os.close(writing)
    thread.join()
    os.close(reading)
    assert received.decode() == f"{LINE}\n" * 20


@pytest.mark.parametrize("blocking", [True, False])
def test_a_stuck_reader_is_waited_for_until_the_run_must_end(blocking: bool) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, blocking)
    overdue = threading.Event()
    threading.Timer(0.5, overdue.set).start()
    output = LineOutput(writing, overdue.is_set)
    with pytest.raises(Undelivered, match="come again at the next start"):
        for _ in range(100):
            output.write(LINE)
    assert overdue.is_set()
    # Afterwards not even a line that there is room for is begun.
    os.read(reading, 65_536)
    with pytest.raises(Undelivered):
        output.write("short")
    os.close(reading)
    os.close(writing)


def test_what_cannot_be_written_names_standard_output() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError) as caught:
        LineOutput(full.fileno(), lambda: False).write("line")
    assert caught.value.filename == NAME
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        LineOutput(writing, lambda: False).write("line")
    os.close(writing)
