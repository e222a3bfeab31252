"""Record a session: stand between a host and an instrument, pass every byte on, and write it down
with its time.

It prints the URL of a port of its own, which the host (ccnvr run, or any other program) then uses
instead of the instrument's. ccnvr simulate --replay plays the session back. The host's baud rate is
passed on, modem lines are not.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from ccnvr.firmware_bridge.connect import registry as drivers
from ccnvr.firmware_bridge.serving.port import ServedPort, serve_at
from ccnvr.firmware_bridge.serving.recording import FROM_INSTRUMENT, TO_INSTRUMENT, Recorder
from ccnvr.firmware_bridge.transport import SerialTransport

_LOOK_UP_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr record`."""
    parser.add_argument(
        "url",
        help="the instrument, as ccnvr run takes it: serial:///dev/NAME or socket://HOST:PORT",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="write the session here, a new file"
    )
    parser.add_argument(
        "--listen", metavar="HOST:PORT", help="serve the host here by TCP, not on a pseudo-terminal"
    )


def run(arguments: argparse.Namespace) -> int:
    """Pass bytes on until SIGINT or SIGTERM, or until the instrument goes away."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    _, port, _ = drivers.resolve(arguments.url)
    instrument = SerialTransport(port)
    try:
        host = serve_at(arguments.listen)
        try:
            recorder = Recorder(arguments.out, arguments.url)
            # For scripts: once they read it, the instrument can be used there.
            print(drivers.with_options_of(arguments.url, host.url), flush=True)
            try:
                record(instrument, host, recorder, stop)
            finally:
                recorder.close()
                sent, received = recorder.passed[TO_INSTRUMENT], recorder.passed[FROM_INSTRUMENT]
                print(
                    f"ccnvr: {sent} bytes to the instrument and {received} from it in "
                    f"{arguments.out}",
                    file=sys.stderr,
                )
        finally:
            host.close()
    finally:
        instrument.close()
    return 0


def record(
    instrument: SerialTransport, host: ServedPort, recorder: Recorder, stop: threading.Event
) -> None:
    """Pass bytes both ways until `stop` is set.

    Raises:
        LinkLost: the instrument went away.
        CcnvrError: the recording cannot be written.
    """
    errors: list[BaseException] = []
    follow_rate = _RateFollower(instrument, host)

    def pump(
        direction: str, read: Callable[[float], bytes], write: Callable[[bytes], None]
    ) -> None:
        try:
            while not stop.is_set():
                if data := read(_LOOK_UP_S):
                    # Written down first: an answer cannot come before its request.
                    recorder.note(direction, data)
                    write(data)
        except BaseException as error:  # raised again in the thread that waits
            errors.append(error)
            stop.set()

    def to_instrument(data: bytes) -> None:
        follow_rate()
        instrument.write(data)

    def to_host(data: bytes) -> None:
        host.write(data, stop)

    ways = ((TO_INSTRUMENT, host.read, to_instrument), (FROM_INSTRUMENT, instrument.read, to_host))
    threads = [threading.Thread(target=pump, args=way, name=f"recorder-{way[0]}") for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class _RateFollower:
    """Gives the instrument's port the baud rate that the host sets on its own; until it sets one,
    the URL's holds.
    """

    def __init__(self, instrument: SerialTransport, host: ServedPort) -> None:
        self._instrument, self._host = instrument, host
        self._rate = host.baud()

    def __call__(self) -> None:
        rate = self._host.baud()
        if rate is not None and rate != self._rate:
            self._rate = rate
            self._instrument.set_baud(rate)
