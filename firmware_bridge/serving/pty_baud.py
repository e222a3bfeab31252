"""The baud rate of a pseudo-terminal.

A pseudo-terminal carries bytes at any rate, so a simulator that minds its rate has to look it up.
"""

from __future__ import annotations

import fcntl
import struct

# On Linux, struct termios2 ends with the input and output speeds as numbers; the calls of the
# termios module know only the constants of standard rates.
_TCGETS2 = 0x802C542A
_SPEEDS = struct.Struct("36x2I")


def line_baud(descriptor: int) -> int | None:
    """Return the rate that the other side has set; None if the system does not say."""
    try:
        speeds = fcntl.ioctl(descriptor, _TCGETS2, bytes(_SPEEDS.size))
    except OSError:
        return None
    return int(_SPEEDS.unpack(speeds)[1])


def heard_at(own: int | None, sent: int | None, data: bytes) -> bytes:
    """Return what a port at rate `own` receives of bytes that were sent at rate `sent`.

    At the wrong rate these are as many wrong bytes.
    """
    if own is None or sent is None or own == sent:
        return data
    # Real lines deliver other numbers of bytes, too; that they are wrong is what matters here.
    return bytes(byte ^ 0xA5 for byte in data)
