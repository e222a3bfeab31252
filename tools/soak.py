"""Run the daemon for many scans: `python -m tools.soak FOLDER --scans 100000`.

Prints one JSON object: what the store lost or printed twice, the memory and the open files of the
process, the latency by tenths of the run, the bytes written for each scan, and the largest size of
the store's files beside its limit.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import psutil

from tools.daemon_under_test import CCNVR, simulator

TENTHS = 10


class Watch:
    """Samples of a process and of the files of its store."""

    def __init__(self, process: int, folder: Path) -> None:
        self._process, self._folder = psutil.Process(process), folder
        self.memory_kb: list[int] = []
        self.files: set[int] = set()
        self.threads: set[int] = set()
        self.written = {"write_bytes": 0, "write_chars": 0}
        self.largest_bytes = 0

    def look(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self.memory_kb.append(self._process.memory_info().rss // 1024)
            self.files.add(self._process.num_fds())
            self.threads.add(self._process.num_threads())
            counters = self._process.io_counters()
            self.written = {name: getattr(counters, name) for name in self.written}
            size = sum(file.stat().st_size for file in self._folder.glob("s.sqlite*"))
            self.largest_bytes = max(self.largest_bytes, size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scans", type=int, default=100_000)
    parser.add_argument("--limit-mb", type=int, default=50)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with simulator("--seed", 4, "--boot", 77) as url:
        print(json.dumps(soak(arguments.folder, url, arguments.scans, arguments.limit_mb)))


def soak(folder: Path, url: str, scans: int, limit_mb: int) -> dict[str, object]:
    """Run the daemon; return what was measured."""
    store, settings = folder / "s.sqlite", folder / "c.toml"
    settings.write_text(
        f'[instrument]\nurl = "{url}"\n[store]\npath = "{store}"\nmax_size_mb = {limit_mb}\n'
        # One pair of references for the whole run, whose clock is not the point.
        "[reference]\nmax_age_s = 86400\n"
    )
    command = [*CCNVR, "run", "-c", str(settings), "--count", str(scans)]
    latencies, numbers, started = [], [], time.monotonic()
    with (
        open(folder / "log", "w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        watch = Watch(process.pid, folder)
        assert process.stdout is not None
        for line in process.stdout:
            record = json.loads(line)
            latencies.append(record["latency_ms"])
            numbers.append(int(record["scan_id"].rsplit("-", 1)[1]))
            if len(numbers) % max(1, scans // 200) == 0:
                watch.look()
    seconds = time.monotonic() - started
    with closing(sqlite3.connect(store)) as connection:
        stored, oldest, newest = connection.execute(
            "SELECT count(*), min(id), max(id) FROM scans"
        ).fetchone()
        (whole,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    blocks = np.array_split(np.array(latencies), TENTHS)
    every = max(1, len(watch.memory_kb) // TENTHS)
    return {
        "exit_code": process.returncode,
        "scans": len(numbers),
        "printed_twice": len(numbers) - len(set(numbers)),
        "numbers_missing": numbers[-1] - numbers[0] + 1 - len(set(numbers)),
        "stored": stored,
        "ids_missing_in_store": newest - oldest + 1 - stored,
        "integrity": whole,
        "seconds": round(seconds),
        "memory_mb_by_tenths": [round(kb / 1024, 1) for kb in watch.memory_kb[::every]],
        "open_files": sorted(watch.files),
        "threads": sorted(watch.threads),
        "latency_ms_p50_by_tenths": [round(float(np.percentile(b, 50)), 1) for b in blocks],
        "latency_ms_p99_by_tenths": [round(float(np.percentile(b, 99)), 1) for b in blocks],
        "bytes_a_scan": {name: value // len(numbers) for name, value in watch.written.items()},
        "limit_bytes": limit_mb * 1_000_000,
        "largest_bytes": watch.largest_bytes,
    }


if __name__ == "__main__":
    main()
