"""Mutated frames against every codec: `python tests/fuzz_codecs.py --frames 1000000 --seed 1 [codec ...]`.

A codec may call a mutated frame damage, or raise `Trouble`; nothing else may leave it, it may keep no more than one frame,
and what bears a checksum may not be accepted altered. A plain sum cannot keep that: how often it fails is counted.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ccnvr.firmware_bridge import (
    codec,
    codec_nirscan,
    codec_obp,
    driver_as7265x,
    driver_asd,
    driver_lines,
    driver_nirscan,
    driver_ooi,
)
from ccnvr.firmware_bridge.exchange import Trouble
from ccnvr.firmware_bridge.instrument import Settings


@dataclass
class Tally:
    frames: int = 0
    unharmed: int = 0
    refused: int = 0
    altered: int = 0
    seconds: float = 0.0


@dataclass
class Target:
    """`originals` as bytes; `read` gives what was accepted, of which `genuine` knows the unaltered; else it raises Trouble."""

    originals: list[bytes]
    read: Callable[[bytes], list[object]]
    genuine: list[object]
    guarded: bool
    tally: Tally = field(default_factory=Tally)

    def feed(self, data: bytes) -> None:
        self.tally.frames += 1
        try:
            accepted = self.read(data)
        except Trouble:
            self.tally.refused += 1
            return
        altered = [thing for thing in accepted if thing not in self.genuine]
        self.tally.altered += bool(altered)
        self.tally.unharmed += bool(accepted) and not altered
        self.tally.refused += not accepted


def mutate(source: random.Random, data: bytes) -> bytes:
    """One to three changes of a kind that lines make."""
    out = bytearray(data)
    for _ in range(source.randrange(1, 4)):
        at = source.randrange(len(out)) if out else 0
        match source.randrange(7):
            case 0 if out:
                out[at] ^= 1 << source.randrange(8)
            case 1 if out:
                out[at] = source.randrange(256)
            case 2:
                del out[at : at + source.randrange(1, 9)]
            case 3:
                out[at:at] = source.randbytes(source.randrange(1, 9))
            case 4:
                del out[at:]
            case 5:
                out[at:at] = out[at : at + source.randrange(1, 17)]
            case 6 if len(out) > 1:
                other = source.randrange(len(out))
                out[at], out[other] = out[other], out[at]
    return bytes(out)


def _stream(
    frames: list[object], encode: Callable[..., bytes], decoder: Callable[[], object], kind: type, guarded: bool
) -> Target:
    """A codec with a decoder."""
    originals = [encode(frame) for frame in frames]

    def read(data: bytes) -> list[object]:
        fresh = decoder()
        return [event for event in fresh.feed(data) if isinstance(event, kind) and getattr(event, "protected", True)]  # type: ignore[attr-defined]

    return Target(originals, read, list(frames), guarded)


def _parser(originals: list[bytes], parse: Callable[[bytes], object], guarded: bool) -> Target:
    """A codec without frames; what it makes of the originals is genuine."""

    def read(data: bytes) -> list[object]:
        return [parse(data)]

    return Target(originals, read, [parse(data) for data in originals], guarded)


def targets() -> dict[str, Target]:
    """Every codec, with small frames: more of them in the time."""
    source = random.Random(7)
    bits = [source.randbytes(size) for size in (0, 4, 16, 40)]
    settings = Settings(10_000, 1)
    counts = np.arange(1_000, 1_024, dtype=">u2")
    ooi = driver_ooi.HEADER.pack(driver_ooi.START, 0, 1, 10, 0, 0, 0) + counts.tobytes() + driver_ooi.END.to_bytes(2, "big")
    bands = np.zeros(4, driver_nirscan.BAND)
    bands["nm"] = np.arange(900.0, 904.0)
    header = np.zeros(driver_asd.HEADER_INTS, ">i4")
    asd = header.tobytes() + np.full(driver_asd.WAVELENGTHS.size, 1_000.0, ">f4").tobytes()
    multispeq, luxnode = driver_lines.read_profile("multispeq"), driver_lines.read_profile("luxnode")
    plain = json.dumps({"device": "luxnode", "kind": "scan", "pixels": list(range(400, 420))}).encode()
    summed = json.dumps({"sample": [[{"data_raw": list(range(100, 110))}]]}).encode()
    summed += f"{zlib.crc32(summed):08X}".encode()
    return {
        "ccnvr": _stream([codec.Frame(3, 7, data) for data in bits], codec.encode, codec.Decoder, codec.Frame, True),
        "obp": _stream(
            [codec_obp.Message(0x101100, 7, data) for data in bits],
            codec_obp.encode,
            codec_obp.Decoder,
            codec_obp.Message,
            True,
        ),
        "nirscan": _stream(
            [codec_nirscan.Packet(0x2E, 7, data) for data in bits],
            codec_nirscan.encode,
            codec_nirscan.Decoder,
            codec_nirscan.Packet,
            False,
        ),
        "nirscan file 8": _parser(
            [struct.pack("<i", 4) + bands.tobytes()], lambda data: _listed(*driver_nirscan.parse_interpreted(data)), False
        ),
        "lines, JSON with CRC-32": _parser([summed], lambda data: _listed(driver_lines.parse_json(data, multispeq)), True),
        "lines, JSON": _parser([plain], lambda data: _listed(driver_lines.parse_json(data, luxnode)), False),
        "lines, numbers": _parser([b"100,101,102,103\n", b"5990 6001 6010\r\n"], driver_lines.parse_numbers, False),
        "as7265x": _parser(
            [", ".join(["1234"] * 18).encode()],
            lambda data: _listed(driver_as7265x.parse_data(data.decode("ascii", errors="replace"))),
            False,
        ),
        "ooi": _parser([ooi], lambda data: _listed(driver_ooi.parse_spectrum(data, 24, settings)), False),
        "asd": _parser([asd], lambda data: _listed(driver_asd.parse_spectrum(data).values), False),
    }


def _listed(*arrays: np.ndarray) -> object:
    return [array.tobytes() for array in arrays]


def fuzz(target: Target, frames: int, seed: int) -> Tally:
    """Feed so many mutated frames."""
    source, began = random.Random(seed), time.monotonic()
    for _ in range(frames):
        target.feed(mutate(source, source.choice(target.originals)))
    target.tally.seconds += time.monotonic() - began
    return target.tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("codecs", nargs="*")
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    failed = False
    for name, target in targets().items():
        if arguments.codecs and name not in arguments.codecs:
            continue
        done = 0
        while done < arguments.frames:
            step = min(50_000, arguments.frames - done)
            tally = fuzz(target, step, arguments.seed + done)
            done += step
            if sys.stderr.isatty():
                print(f"\r{name}: {done} of {arguments.frames}", end="", file=sys.stderr, flush=True)
        failed |= target.guarded and tally.altered > 0
        what = "altered and accepted" if target.guarded else "altered and accepted (no checksum that could tell)"
        print(
            f"{name}: {tally.frames} frames in {tally.seconds:.0f} s, {tally.refused} refused, {tally.unharmed} unharmed, "
            f"{tally.altered} {what}",
            flush=True,
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
