"""Fill a store, then measure it under its size limit: `python -m tools.large_store FOLDER`.

Prints one JSON object: the time to open the store and to commit a scan, the bytes that the process
had the kernel write for each scan (/proc/self/io), and the size of the files before and after.

Power-ons of the instrument matter for the index on scan ids, which is in the order of text: the
oldest of many scans of one power-on have others between them there (20000 to 20009 follow 2000), so
that each deletion writes a page of its own. That ends when the numbers that are deleted exceed a
ninth of the stored scans, since ten times such a number is no stored scan's (`--deleted`).
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.daemon.main_loop import CURSOR_EVERY, LOG_BYTES, PRUNE_AT_ONCE, PRUNE_EVERY
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.storage.schema import columns
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings

AVERAGES = 16

_COPIED = 1000
"""The scans of which the rest of a large store are copies."""

INFO = InstrumentInfo("NIR-512", "SIM-512", "1.0", 1, np.linspace(1000, 2500, 512), 65535, 1, 2, 3)
PREDICTION = Prediction(
    {
        name: Estimate(35.546143746854185, "cmol(+)/kg", 23.28569701536363, 47.80659047834473)
        for name in ("OC", "N", "CEC", "pH", "clay")
    },
    ("out_of_domain:Q",),
)


def main() -> None:
    """Fill a store, then add scans under a limit as the daemon does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scans", type=int, default=1_000_000, help="scans to fill it with")
    parser.add_argument(
        "--scans-a-start", type=int, default=500, help="scans of one power-on of the instrument"
    )
    parser.add_argument("--deleted", type=int, default=0, help="the oldest of them, gone before")
    parser.add_argument("--more", type=int, default=5_000, help="scans to measure")
    arguments = parser.parse_args()
    path = arguments.folder / "large.sqlite"
    source = np.random.default_rng(1)
    spectra = [made_up_counts(source) for _ in range(64)]
    fill(path, spectra, arguments.scans, arguments.scans_a_start)
    delete(path, arguments.deleted)
    filled = used_bytes(path)
    started = time.perf_counter()
    store = Store(path, owner=True)
    opening = time.perf_counter() - started
    before, times, largest, pruned = _written(), [], 0, 0
    most = filled + LOG_BYTES
    for number in range(arguments.scans, arguments.scans + arguments.more):
        started = time.perf_counter()
        add(store, spectra, number, arguments.scans_a_start)
        if number % PRUNE_EVERY == 0:
            pruned += store.prune(most - LOG_BYTES, number - 1, PRUNE_AT_ONCE)
        times.append(time.perf_counter() - started)
        largest = max(largest, sum(file.stat().st_size for file in path.parent.glob("large*")))
    store.close()
    per_scan = {name: round(value - before[name]) for name, value in _written().items()}
    print(
        json.dumps(
            {
                "scans": arguments.scans,
                "limit_bytes": most,
                "filled_bytes": filled,
                "largest_bytes_of_all_files": largest,
                "pruned": pruned,
                "open_s": round(opening, 3),
                "commit_ms_p50_p99": np.round(np.percentile(times, (50, 99)) * 1e3, 2).tolist(),
                "bytes_a_scan": {name: value // arguments.more for name, value in per_scan.items()},
            }
        )
    )


def made_up_counts(source: np.random.Generator) -> np.ndarray:
    smooth = 300_000 + 40_000 * np.sin(np.arange(512) / 80)
    return np.rint(smooth + source.normal(0, 150, 512)) / AVERAGES


def fill(path: Path, spectra: list[np.ndarray], scans: int, a_start: int) -> None:
    """Fill the store by SQL, with copies of a thousand scans."""
    store = Store(path, owner=True)
    for number in range(min(scans, _COPIED)):
        add(store, spectra, number, a_start)
    store.close()
    if scans <= _COPIED:
        return
    names = [name for name in columns("scans") if name not in ("id", "scan_id", "checksum")]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
            connection.execute(f"PRAGMA {pragma}")
        # The copies have no checksum, since that covers their id.
        connection.execute(
            f"INSERT INTO scans (scan_id, {', '.join(names)}) "
            "WITH RECURSIVE k (i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM k WHERE i + 1 < ?) "
            f"SELECT 'SIM-512-' || (1 + i / ?) || '-' || (1 + i % ?), {', '.join(names)} "
            "FROM k, scans WHERE scans.id = i % 1000 + 1",
            (scans, a_start, a_start),
        )


def delete(path: Path, scans: int) -> None:
    """Delete so many of the oldest scans by SQL."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("DELETE FROM scans WHERE id <= ?", (scans,))


def used_bytes(path: Path) -> int:
    """Return the size of a store without its free pages."""
    with closing(sqlite3.connect(path)) as connection:
        ((used,),) = connection.execute(
            "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count,"
            " pragma_freelist_count, pragma_page_size"
        ).fetchall()
    return int(used)


def add(store: Store, spectra: list[np.ndarray], number: int, a_start: int) -> None:
    counts = spectra[number % len(spectra)]
    start, within = divmod(number, a_start)
    info = replace(INFO, boot=1 + start)
    scan = Scan(1 + within, ScanKind.SAMPLE, counts, Settings(10_000, AVERAGES), False, 30.0)
    last = {"stdout": number - 1} if number % CURSOR_EVERY == 0 else {}
    store.add(NewScan(info, scan, PREDICTION, None, "0" * 64, 8.0), delivered=last)


def _written() -> dict[str, int]:
    text = Path("/proc/self/io").read_text("ascii")
    values = dict(line.split(": ") for line in text.splitlines())
    return {name: int(values[name]) for name in ("write_bytes", "wchar")}


if __name__ == "__main__":
    main()
