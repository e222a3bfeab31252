"""The numbers in the link's specification, PROTOCOL.md.

Generated from link.toml by `make generate`: change that file, not this one.
"""

VERSION = 1
"""The version byte of every frame."""

INCOMPATIBLE_FLAGS = 0xF0
"""Flag bits that a receiver must know in order to read the frame."""

MAX_PAYLOAD = 1024
"""Longest payload of a reply in bytes; also the length of every chunk except the last."""

MAX_REQUEST = 128
"""Longest payload of a request in bytes, which every instrument must be able to receive."""

DEFAULT_BAUD = 921600
"""Rate at which a serial line starts."""

LONGEST_NAME = 32
"""Longest model, serial number or firmware version in bytes."""

LONGEST_DETAIL = 200
"""Longest text of an ERROR in bytes."""

MOST_COEFFICIENTS = 16
"""Largest number of values in COEFFICIENTS_DATA."""

MOST_PIXELS = 16384
"""Largest number of pixels."""

SAMPLES_KEPT = 8
"""Unacknowledged samples that an instrument keeps if it does not state another number."""

ATTEMPTS = 4
"""A request is given up after this many time-outs."""

REPLY_MS = 1000
"""Time after which the host repeats a request."""

WHITE_MS = 30000
"""The same for a white scan, which an operator may have to start."""

AFTER_DAMAGE_MS = 50
"""Time after which the host repeats a request if something damaged arrived."""

ANSWER_MS = 500
"""Time within which an instrument answers; for SCAN, 2 x light time is added."""

BAUD_SETTLE_MS = 50
"""Time after BAUD_SET by which the instrument has changed its rate and the host may speak."""

BAUD_FALLBACK_MS = 1500
"""Time with bytes but no frame after which the instrument returns to its starting rate."""

HEADER_FORMAT = "<BBBBHHH"
"""The header in the notation of `struct`.

Its fields are version, flags, type, reserved, sequence, chunk, chunks.
"""
