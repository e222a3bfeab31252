"""The ccnvr link's entry in the registry of drivers."""

from __future__ import annotations

from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.link.driver import LinkInstrument
from ccnvr.firmware_bridge.transport import Transport
from ccnvr.firmware_bridge.url_options import number


def create(transport: Transport, options: dict[str, str], timeout_s: float) -> LinkInstrument:
    """A driver over `transport`; option `fast_baud` (0 for no change)."""
    return LinkInstrument(transport, timeout_s, int(number(options, "fast_baud", 0, 0, 12_000_000)))


def probe(transport: Transport, timeout_s: float) -> str | None:
    """Model and serial number of what answers HELLO."""
    try:
        # Its session repeats a request several times before it gives up.
        info = LinkInstrument(transport, timeout_s / 4.0).identify()
    except InstrumentError:
        return None
    return f"{info.model}, serial number {info.serial}"
