"""The speed of the link's codec, compared with the least that a codec must do and with the wire."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from ccnvr.edge.benchmark.interleaved import median_seconds
from ccnvr.firmware_bridge.link.frames import Decoder, Frame, encode
from ccnvr.firmware_bridge.link.messages import Type
from ccnvr.firmware_bridge.link_constants import MAX_PAYLOAD

FASTEST_WIRE_BAUD = 12_000_000
_BITS_PER_BYTE = 10  # start, eight data, stop
_CALLS = 20


def frames_of(data: bytes) -> list[Frame]:
    """Return the DATA frames that carry a scan's data."""
    chunks = [data[start : start + MAX_PAYLOAD] for start in range(0, len(data), MAX_PAYLOAD)]
    return [Frame(Type.DATA, 1, chunk, index, len(chunks)) for index, chunk in enumerate(chunks)]


def throughput(rounds: int) -> dict[str, dict[str, float]]:
    """Return the throughput of each stage of the codec for one scan, as medians of `rounds`.

    Each row has MB/s on the wire, and the stage's time relative to a CRC-32 with a copy and to the
    wire at 12 Mbit/s. The scan is 2,048 bands with 16 averages.
    """
    # Random counts: the work of COBS depends on where zero bytes lie, and constant counts would
    # have none of them or nothing else.
    counts = np.random.default_rng(1).integers(1_000, 60_000, 2_048) * 16
    frames = frames_of(counts.astype("<u4").tobytes())
    wire = b"".join(map(encode, frames))
    stages: dict[str, Callable[[], object]] = {
        "CRC-32 and a copy": lambda: (zlib.crc32(wire), bytearray(wire)),
        "decode": lambda: Decoder().feed(wire),
        "decode, 64 bytes at a time": lambda: _decode_in_pieces(wire, 64),
        "encode": lambda: [encode(frame) for frame in frames],
    }
    seconds = median_seconds(stages, rounds, _CALLS)
    wire_s = len(wire) * _BITS_PER_BYTE / FASTEST_WIRE_BAUD
    return {
        name: {
            "megabytes_per_s": len(wire) / taken / 1e6,
            "times_crc_and_copy": taken / seconds["CRC-32 and a copy"],
            "share_of_wire_time": taken / wire_s,
        }
        for name, taken in seconds.items()
    }


def _decode_in_pieces(wire: bytes, size: int) -> None:
    decoder = Decoder()
    for start in range(0, len(wire), size):
        decoder.feed(wire[start : start + size])
