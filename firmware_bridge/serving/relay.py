"""A relay between a host and an instrument that records every byte with its time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ccnvr.firmware_bridge.serving.port import ServedPort
from ccnvr.firmware_bridge.serving.recording import FROM_INSTRUMENT, TO_INSTRUMENT, Recorder
from ccnvr.firmware_bridge.transport import SerialTransport

_LOOK_UP_S = 0.1
"""How long a read waits before it looks whether to stop, in s."""


def relay(
    instrument: SerialTransport, host: ServedPort, recorder: Recorder, stop: threading.Event
) -> None:
    """Pass bytes both ways until `stop` is set, and record them.

    The baud rate that the host sets is passed on; modem lines are not.

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
                    # Recorded before it is passed on, so that a reply never precedes its request.
                    recorder.note(direction, data)
                    write(data)
        except BaseException as error:  # raised again in the thread that waits for both
            errors.append(error)
            stop.set()

    def to_instrument(data: bytes) -> None:
        # Before each write: a host sets the rate and then speaks.
        follow_rate()
        instrument.write(data)

    def to_host(data: bytes) -> None:
        host.write(data, stop)

    ways = ((TO_INSTRUMENT, host.read, to_instrument), (FROM_INSTRUMENT, instrument.read, to_host))
    threads = [threading.Thread(target=pump, args=way, name=f"relay-{way[0]}") for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class _RateFollower:
    """A follower of the host: the instrument's port gets the baud rate that the host sets.

    Until the host sets one, the rate of the instrument's URL holds.
    """

    def __init__(self, instrument: SerialTransport, host: ServedPort) -> None:
        self._instrument, self._host = instrument, host
        self._rate = host.baud()

    def __call__(self) -> None:
        rate = self._host.baud()
        if rate is not None and rate != self._rate:
            self._rate = rate
            self._instrument.set_baud(rate)
