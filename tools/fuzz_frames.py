"""Damage frames at random and let the link's codec decode them.

Run it as `python -m tools.fuzz_frames --frames 10000000`. Every damaged stream must decode without
an exception, and no frame may come out of it except those that went in; any other frame is a false
accept. Prints progress, then one JSON object, and exits with 1 after a false accept. If it is
interrupted, it reports what it did.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator

from ccnvr.firmware_bridge.link.frames import Decoder, Frame, encode
from ccnvr.firmware_bridge.link_constants import MAX_PAYLOAD

_BATCH = 20_000


def originals(source: random.Random) -> list[tuple[Frame, bytes]]:
    """Return frames of every length that matters to stuffing, most of them short."""
    lengths = [source.randrange(40) for _ in range(180)] + [
        240,
        244,
        254,
        255,
        300,
        508,
        512,
        800,
        1000,
        MAX_PAYLOAD,
    ]
    frames = []
    for length in lengths:
        payload = (
            source.randbytes(length) if length % 3 else bytes(source.choices((0, 1, 255), k=length))
        )
        chunks = source.randrange(1, 5)
        frame = Frame(
            source.randrange(256),
            source.randrange(65_536),
            payload,
            source.randrange(chunks),
            chunks,
        )
        frames.append((frame, encode(frame)))
    return frames


def damaged(wire: bytes, other: bytes, source: random.Random) -> bytes:
    """Return a frame spoilt in one of the ways in which a line spoils it."""
    data, way, at = bytearray(wire), source.randrange(8), source.randrange(len(wire))
    if way == 0:
        data[at] ^= 1 << source.randrange(8)
    elif way == 1:
        for _ in range(source.randrange(2, 6)):
            data[source.randrange(len(data))] = source.randrange(256)
    elif way == 2:
        del data[at : at + source.randrange(1, 4)]
    elif way == 3:
        data[at:at] = source.randbytes(source.randrange(1, 6))
    elif way == 4:
        data[at:] = other[source.randrange(len(other)) :]
    elif way == 5:
        data[at : at + source.randrange(1, 33)] = bytes(source.randrange(1, 33))
    elif way == 6:
        end = min(len(data), at + source.randrange(2, 9))
        data[at:end] = data[at:end][::-1]
    else:
        data[at:at] = data[at : at + source.randrange(1, 9)]
    return bytes(data)


def fuzz(frames: int, seed: int) -> Iterator[Counter[str]]:
    """Decode `frames` damaged frames, and yield the counts of each batch."""
    source = random.Random(seed)
    valid = originals(source)
    sent = {frame for frame, _ in valid}
    decoder = Decoder()
    while frames > 0:
        counts: Counter[str] = Counter(frames=min(frames, _BATCH))
        for _ in range(counts["frames"]):
            stream = damaged(source.choice(valid)[1], source.choice(valid)[1], source) + b"\0"
            for event in decoder.feed(stream):
                if isinstance(event, Frame):
                    counts["accepted unharmed" if event in sent else "false accepts"] += 1
                else:
                    counts[str(event.reason)] += 1
        frames -= counts["frames"]
        yield counts


def _work(
    frames: int, seed: int, results: multiprocessing.SimpleQueue[Counter[str] | None]
) -> None:
    try:
        for counts in fuzz(frames, seed):
            results.put(counts)
    except KeyboardInterrupt:
        pass
    finally:
        results.put(None)


def main() -> int:
    """Run the fuzzer in several processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=10_000_000, help="damaged frames (10000000)")
    parser.add_argument("--processes", type=int, default=2, help="processes (2)")
    parser.add_argument("--seed", type=int, default=1, help="seed (1)")
    arguments = parser.parse_args()
    results: multiprocessing.SimpleQueue[Counter[str] | None] = multiprocessing.SimpleQueue()
    shares = [
        (arguments.frames + number) // arguments.processes for number in range(arguments.processes)
    ]
    workers = [
        multiprocessing.Process(
            target=_work, args=(share, 1_000 * arguments.seed + number, results)
        )
        for number, share in enumerate(shares)
    ]
    started, total, ended = time.monotonic(), Counter[str](), 0
    for worker in workers:
        worker.start()
    while ended < len(workers):
        try:
            counts = results.get()
        except KeyboardInterrupt:
            continue
        ended += counts is None
        total.update(counts or {})
        rate = total["frames"] / max(time.monotonic() - started, 1e-9)
        print(
            f"\r{total['frames']:,} of {arguments.frames:,} frames, {rate:,.0f}/s ",
            end="",
            file=sys.stderr,
            flush=True,
        )
    print(file=sys.stderr)
    for worker in workers:
        worker.join()
    failed = any(worker.exitcode for worker in workers)
    print(
        json.dumps({"seed": arguments.seed, "seconds": round(time.monotonic() - started), **total})
    )
    return int(failed or total["false accepts"] > 0)


if __name__ == "__main__":
    sys.exit(main())
