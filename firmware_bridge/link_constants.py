"""The numbers of the link's specification, PROTOCOL.md.

Generated from link.toml by `make generate`: change that file, not this one.
"""

VERSION = 1
"""The version byte of every frame."""

INCOMPATIBLE_FLAGS = 0xF0
"""Flag bits that a receiver must know to read the frame."""

MAX_PAYLOAD = 1024
"""Longest payload of a reply, bytes; also the length of every chunk but the last."""

MAX_REQUEST = 128
"""Longest payload of a request, bytes: all that an instrument must be able to receive."""

DEFAULT_BAUD = 921600
"""Rate at which a serial line starts."""

LONGEST_NAME = 32
"""Longest model, serial number or firmware version, bytes."""

LONGEST_DETAIL = 200
"""Longest text of an ERROR, bytes."""

MOST_COEFFICIENTS = 16
"""Most values in COEFFICIENTS."""

MOST_PIXELS = 16384
"""Most pixels."""

SAMPLES_KEPT = 8
"""Unacknowledged samples that an instrument keeps unless it states another number."""

ATTEMPTS = 4
"""A request is given up after this many times its time-out."""

REPLY_MS = 1000
"""The host repeats a request after this."""

WHITE_MS = 30000
"""The same for a white scan, which an operator may have to start."""

AFTER_DAMAGE_MS = 50
"""The host repeats a request this long after something damaged arrived."""

ANSWER_MS = 500
"""An instrument answers within this, a SCAN within this and 2 x light time."""

BAUD_SETTLE_MS = 50
"""After BAUD_SET: the instrument has changed its rate, and the host may speak."""

BAUD_FALLBACK_MS = 1500
"""Bytes but no frame for this long: the instrument returns to the rate it started with."""

HEADER_FORMAT = "<BBBBHHH"
"""The header as `struct` names it: version, flags, type, reserved, sequence, chunk, chunks."""
