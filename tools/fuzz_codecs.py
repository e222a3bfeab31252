"""Feed mutated frames to every codec.

Run it as `python -m tools.fuzz_codecs --frames 10000000 [--codec NAME] [--start N]`. A codec may
report a mutated frame as damage, or raise `Trouble`; no other exception may leave it, and what has
a checksum may not be accepted if it was altered. A plain sum cannot guarantee that, so its failures
are counted. Prints progress, and a JSON object for each codec. A run that was interrupted can be
continued with `--start` from the last number of frames that it showed.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ccnvr.firmware_bridge.drivers import as7265x as driver_as7265x
from ccnvr.firmware_bridge.drivers import asd as driver_asd
from ccnvr.firmware_bridge.drivers import chromation as driver_chromation
from ccnvr.firmware_bridge.drivers import nirone as driver_nirone
from ccnvr.firmware_bridge.drivers import nirscan as driver_nirscan
from ccnvr.firmware_bridge.drivers import ooi as driver_ooi
from ccnvr.firmware_bridge.drivers.instrument_profile import (
    parse_json,
    parse_numbers,
    read_instrument_profile,
)
from ccnvr.firmware_bridge.framing import SlidingDecoder
from ccnvr.firmware_bridge.instrument import Settings
from ccnvr.firmware_bridge.link import frames as codec
from ccnvr.firmware_bridge.polled import nirscan_frames as codec_nirscan
from ccnvr.firmware_bridge.polled import obp_frames as codec_obp
from ccnvr.firmware_bridge.polled.exchange import Trouble
from ccnvr.firmware_bridge.polled.instrument import floats
from tests.support.helpers import WithoutRate

_STEP, _SHOWN = 50_000, 1_000_000


@dataclass
class Tally:
    frames: int = 0
    unharmed: int = 0
    refused: int = 0
    altered: int = 0
    seconds: float = 0.0

    def row(self) -> dict[str, int]:
        """Return the counts as a dictionary."""
        return {**vars(self), "seconds": round(self.seconds)}


@dataclass
class Target:
    """A codec under test.

    `read` takes bytes and returns what was accepted, or raises `Trouble`; `genuine` lists the
    unaltered results of `originals`. A `guarded` codec has a checksum, so it may accept nothing
    else.
    """

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
    """Apply one to three changes of the kinds that lines make."""
    out, draw = bytearray(data), source.getrandbits
    # One draw for each change, because drawing takes most of the time: bits 0-15 say where, 16-31
    # where else, 32-39 what, and those from 40 on which kind.
    for _ in range(draw(16) % 3 + 1):
        bits, size = draw(56), len(out)
        at, other, value = (
            (bits & 0xFFFF) * size >> 16,
            (bits >> 16 & 0xFFFF) * size >> 16,
            bits >> 32 & 0xFF,
        )
        match (bits >> 40) % 7:
            case 0 if size:
                out[at] ^= 1 << (value & 7)
            case 1 if size:
                out[at] = value
            case 2:
                del out[at : at + (value & 7) + 1]
            case 3:
                out[at:at] = source.randbytes((value & 7) + 1)
            case 4:
                del out[at:]
            case 5:
                out[at:at] = out[at : at + (value & 15) + 1]
            case 6 if size > 1:
                out[at], out[other] = out[other], out[at]
    return bytes(out)


def _stream(
    frames: list[object],
    encode: Callable[..., bytes],
    decoder: Callable[[], object],
    kind: type,
    guarded: bool,
) -> Target:
    """Return a target for a codec with a decoder."""
    originals = [encode(frame) for frame in frames]

    def read(data: bytes) -> list[object]:
        fresh = decoder()
        return [
            event
            for event in fresh.feed(data)  # type: ignore[attr-defined]
            if isinstance(event, kind) and getattr(event, "protected", True)
        ]

    return Target(originals, read, list(frames), guarded)


def _parser(originals: list[bytes], parse: Callable[[bytes], object], guarded: bool) -> Target:
    """Return a target for a codec without frames; what it makes of the originals is genuine."""

    def read(data: bytes) -> list[object]:
        return [parse(data)]

    return Target(originals, read, [parse(data) for data in originals], guarded)


class _Answer(WithoutRate):
    """A transport on which `data` arrive after a command, and nothing more."""

    url = "fuzz://"

    def __init__(self, data: bytes) -> None:
        self._data, self._arriving = data, b""

    def write(self, data: bytes) -> None:
        self._arriving, self._data = self._data, b""

    def read(self, timeout_s: float) -> bytes:
        data, self._arriving = self._arriving, b""
        return data

    def close(self) -> None:
        pass


def targets() -> dict[str, Target]:
    """Return every codec, with small frames, so that more of them are done in the time."""
    return {**_framed(), **_records(), **_lines(), **_answers()}


def _framed() -> dict[str, Target]:
    """Return the codecs with frames."""
    source = random.Random(7)
    bits = [source.randbytes(size) for size in (0, 4, 16, 40)]
    return {
        "ccnvr": _stream(
            [codec.Frame(3, 7, data) for data in bits],
            codec.encode,
            codec.Decoder,
            codec.Frame,
            True,
        ),
        "obp": _stream(
            [codec_obp.ObpMessage(0x101100, 7, data) for data in bits],
            codec_obp.encode,
            lambda: SlidingDecoder(codec_obp.next_message),
            codec_obp.ObpMessage,
            True,
        ),
        "nirscan": _stream(
            [codec_nirscan.Packet(0x2E, 7, data) for data in bits],
            codec_nirscan.encode,
            lambda: SlidingDecoder(codec_nirscan.next_packet),
            codec_nirscan.Packet,
            False,
        ),
    }


def _records() -> dict[str, Target]:
    """Return the parsers of binary records."""
    bands = np.zeros(4, driver_nirscan.BAND)
    bands["nm"] = np.arange(900.0, 904.0)
    counts = np.arange(1_000, 1_024, dtype=">u2")
    ooi = (
        driver_ooi.HEADER.pack(driver_ooi.START, 0, 1, 10, 0, 0, 0)
        + counts.tobytes()
        + driver_ooi.END.to_bytes(2, "big")
    )
    settings = Settings(10_000, 1)
    header = np.zeros(driver_asd.HEADER_INTS, ">i4")
    asd = header.tobytes() + np.full(driver_asd.WAVELENGTHS.size, 1_000.0, ">f4").tobytes()
    return {
        "nirscan file 8": _parser(
            [struct.pack("<i", 4) + bands.tobytes()],
            lambda data: _listed(*driver_nirscan.parse_interpreted(data)),
            False,
        ),
        "ooi": _parser(
            [ooi], lambda data: _listed(driver_ooi.parse_spectrum(data, 24, settings)), False
        ),
        "asd": _parser([asd], lambda data: _listed(driver_asd.parse_spectrum(data).values), False),
        "nirone, floats": _parser(
            [np.arange(1_000.0, 1_024.0, dtype=">f4").tobytes()],
            lambda data: (driver_nirone.tell_order(data), _listed(floats(data, ">f4"))),
            False,
        ),
    }


def _lines() -> dict[str, Target]:
    """Return the parsers of lines of text."""
    multispeq = read_instrument_profile("multispeq")
    luxnode = read_instrument_profile("luxnode")
    frame = {"device": "luxnode", "kind": "scan", "pixels": list(range(400, 420))}
    plain = json.dumps(frame).encode()
    summed = json.dumps({"sample": [[{"data_raw": list(range(100, 110))}]]}).encode()
    summed += f"{zlib.crc32(summed):08X}".encode()
    return {
        "lines, JSON with CRC-32": _parser(
            [summed], lambda data: _listed(parse_json(data, multispeq)), True
        ),
        "lines, JSON": _parser([plain], lambda data: _listed(parse_json(data, luxnode)), False),
        "lines, numbers": _parser(
            [b"100,101,102,103\n", b"5990 6001 6010\r\n"], parse_numbers, False
        ),
        "as7265x": _parser(
            [", ".join(["1234"] * 18).encode()],
            lambda data: _listed(driver_as7265x.parse_data(data.decode("ascii", errors="replace"))),
            False,
        ),
    }


def _answers() -> dict[str, Target]:
    """Return the answers that only a driver reads as a whole."""
    restore = driver_asd.RESTORE.pack(
        100, 0, b"VStartingWavelength", *[b""] * 199, 350.0, *[0.0] * 199, 1, 0
    )
    return {
        "asd RESTORE": _parser(
            [restore],
            lambda data: driver_asd.parse_restore(
                driver_asd.FieldSpec(_Answer(data), 0.0)._ask("RESTORE,1", len(restore))
            ),
            False,
        ),
        "chromation": _parser(
            [bytes.fromhex("00000188") + 392 * b"\x04\xd2"],
            lambda data: _listed(
                driver_chromation.Chromation(_Answer(data), 0.0, [0.0, 1.0])._capture(0.0)
            ),
            False,
        ),
        "nirone": _parser(
            [b"Minimum wavelength: 1550.0\r\n"],
            lambda data: driver_nirone.Nirone(_Answer(data), 0.0)._value("h3"),
            False,
        ),
    }


def _listed(*arrays: np.ndarray) -> object:
    return [array.tobytes() for array in arrays]


def fuzz(target: Target, frames: int, seed: int) -> Tally:
    """Feed `frames` mutated frames to a target."""
    source, began = random.Random(seed), time.monotonic()
    originals, feed = target.originals, target.feed
    for _ in range(frames):
        feed(mutate(source, originals[source.getrandbits(16) % len(originals)]))
    target.tally.seconds += time.monotonic() - began
    return target.tally


def run(target: Target, start: int, frames: int, seed: int) -> Iterator[int]:
    """Feed the frames from `start` to `frames`, and yield how far it got.

    Each step has a seed of its own, so that a run can be continued later.
    """
    for done in range(start, frames, _STEP):
        fuzz(target, min(_STEP, frames - done), seed + done)
        yield min(done + _STEP, frames)


def main() -> int:
    """Run the fuzzer; exit with 1 if something altered passed a checksum."""
    known = targets()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--codec",
        action="append",
        choices=known,
        metavar="NAME",
        help="this one alone; may be repeated (all)",
    )
    parser.add_argument(
        "--frames", type=int, default=10_000_000, help="mutated frames for each codec (10000000)"
    )
    parser.add_argument(
        "--start", type=int, default=0, help="go on after so many, a multiple of 50000 (0)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed (1)")
    arguments = parser.parse_args()
    if arguments.start % _STEP or arguments.start < 0:
        parser.error(
            f"--start {arguments.start} is not a multiple of {_STEP}; use the last number that "
            "was shown"
        )
    # A warning of NumPy would end up in the daemon's log, so it counts as a failure.
    warnings.simplefilter("error")
    failed = False
    for name in arguments.codec or known:
        target = known[name]
        for done in run(target, arguments.start, arguments.frames, arguments.seed):
            seconds = target.tally.seconds / target.tally.frames * (arguments.frames - done)
            line = f"{name}: {done:,} of {arguments.frames:,} frames, {seconds:.0f} s left"
            if sys.stderr.isatty():
                print(f"\r{line} ", end="", file=sys.stderr, flush=True)
            elif done % _SHOWN == 0:
                print(line, file=sys.stderr, flush=True)
        failed |= target.guarded and target.tally.altered > 0
        print(
            json.dumps(
                {
                    "codec": name,
                    "seed": arguments.seed,
                    "start": arguments.start,
                    **target.tally.row(),
                }
            ),
            flush=True,
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
