"""How fast the link's codec is, beside what any codec must do, and beside the wire, in one run."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable

import numpy as np

from ccnvr.firmware_bridge.link.frames import Decoder, Frame, encode
from ccnvr.firmware_bridge.link.messages import Type
from ccnvr.firmware_bridge.link_constants import MAX_PAYLOAD

FASTEST_WIRE_BAUD = 12_000_000
_BITS_PER_BYTE = 10  # start, eight data, stop
_CALLS = 20


def throughput(rounds: int) -> dict[str, dict[str, float]]:
    """Stage -> megabytes of wire a second, and its time relative to CRC-32 with a copy and to the
    wire at 12 Mbit/s.

    The bytes are a scan's: 2,048 sums of 16 averages. Stages take turns, so that a busy machine
    disturbs all alike; the medians of `rounds` are compared.
    """
    counts = np.random.default_rng(1).integers(1_000, 60_000, 2_048) * 16
    data = counts.astype("<u4").tobytes()
    chunks = [data[start : start + MAX_PAYLOAD] for start in range(0, len(data), MAX_PAYLOAD)]
    frames = [Frame(Type.DATA, 1, chunk, index, len(chunks)) for index, chunk in enumerate(chunks)]
    wire = b"".join(map(encode, frames))
    stages: dict[str, Callable[[], object]] = {
        "CRC-32 and a copy": lambda: (zlib.crc32(wire), bytearray(wire)),
        "decode": lambda: Decoder().feed(wire),
        "decode, 64 bytes at a time": lambda: _decode_in_pieces(wire, 64),
        "encode": lambda: [encode(frame) for frame in frames],
    }
    times: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(rounds):
        for name, stage in stages.items():
            started = time.perf_counter()
            for _ in range(_CALLS):
                stage()
            times[name].append((time.perf_counter() - started) / _CALLS)
    seconds = {name: float(np.median(taken)) for name, taken in times.items()}
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
