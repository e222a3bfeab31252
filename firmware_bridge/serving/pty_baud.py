"""The baud rate of a pseudo-terminal: it carries bytes at any, so a simulator that minds its rate
must look.
"""

from __future__ import annotations

import fcntl
import struct

# Linux: struct termios2 ends with the input and output speeds as numbers, which other calls give as
# constants only.
_TCGETS2 = 0x802C542A
_SPEEDS = struct.Struct("36x2I")


def line_baud(descriptor: int) -> int | None:
    """The rate that the other side has set; None where the system does not say."""
    try:
        speeds = fcntl.ioctl(descriptor, _TCGETS2, bytes(_SPEEDS.size))
    except OSError:
        return None
    return int(_SPEEDS.unpack(speeds)[1])


def heard_at(own: int | None, sent: int | None, data: bytes) -> bytes:
    """What a port at rate `own` makes of bytes that were sent at another: as many wrong ones."""
    if own is None or sent is None or own == sent:
        return data
    return bytes(byte ^ 0xA5 for byte in data)
