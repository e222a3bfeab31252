"""The causes of the crash table: what is done to a daemon, and what became of its scans."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ccnvr.edge.storage import salvage, wal
from tools.daemon_under_test import Daemon, simulator

ROOT = Path(__file__).parents[1]

PERIOD = "[run]\ninterval_s = 0.01"
RETAKE = f'{PERIOD}\n[reference]\nwhen_expired = "retake"'

DISK_TROUBLE_S = 2.0, 6.0
"""The shortest and the longest time for which writes fail."""


@dataclass
class Outcome:
    """What became of the scans under one cause.

    Attributes:
        cause: the cause, in words.
        times: how often it struck.
        scans: the records in the store.
        lost: the numbers of a power-on that are in no sound record, up to the last one stored, and
            scans that were printed and are not stored.
        told: how many lost scans the daemon spoke of.
        twice: the records beyond the first with their scan id.
        other_boot: the predictions that used references of another start of the instrument.
        back_s: the times from the end of the cause to the next record.
        note: what else must hold, in words, if anything.
    """

    cause: str
    times: int
    scans: int = 0
    lost: int = 0
    told: int = 0
    twice: int = 0
    other_boot: int = 0
    back_s: list[float] = field(default_factory=list)
    note: str = ""

    def row(self) -> str:
        """Return the outcome as a row of the table."""
        lost = f"{self.lost}" + (f" ({self.told} told)" if self.told else "")
        back = f"{statistics.median(self.back_s):.1f} / {max(self.back_s):.1f}"
        cells = (self.cause, self.times, self.scans, lost, self.twice, self.other_boot, back)
        return f"| {' | '.join(map(str, cells))} | {self.note} |"

    def judge(self, store: Path, printed: list[str]) -> None:
        """Count what is in the store."""
        with closing(sqlite3.connect(store)) as connection:
            ids = [row[0] for row in connection.execute("SELECT scan_id FROM scans NOT INDEXED")]
            taken = connection.execute("SELECT boot, number FROM reference_scans").fetchall()
            served = connection.execute(
                "SELECT s.scan_id, d.boot, w.boot FROM scans s"
                " JOIN reference_scans d ON d.id = s.dark_id"
                " JOIN reference_scans w ON w.id = s.white_id"
            ).fetchall()
            (whole,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            unsound = salvage.unsound_ids(connection)
        assert whole == "ok", whole
        numbers: dict[int, set[int]] = {}
        for boot, number in [*taken, *map(_boot_and_number, ids)]:
            numbers.setdefault(boot, set()).add(number)
        self.scans = len(ids)
        self.lost = len(unsound) + sum(max(found) - len(found) for found in numbers.values())
        self.lost += len(set(printed) - set(ids))
        self.twice = len(ids) - len(set(ids))
        self.other_boot = sum(
            _boot_and_number(scan_id)[0] != dark or dark != white for scan_id, dark, white in served
        )


def _boot_and_number(scan_id: str) -> tuple[int, int]:
    boot, number = scan_id.rsplit("-", 2)[1:]
    return int(boot), int(number)


def kills(folder: Path, source: random.Random, times: int) -> Outcome:
    """Kill the daemon at any moment, three in ten times while it starts, and start it again."""
    outcome, printed = Outcome("`kill -9` of the daemon", times), []
    with simulator("--seed", source.randrange(1000), "--boot", 1) as url:
        for killed in range(times + 1):
            daemon = Daemon(folder, url, PERIOD)
            if killed and source.random() < 0.3:
                time.sleep(source.uniform(0.0, 1.3))
            else:
                outcome.back_s.append(daemon.back_after(daemon.started))
                time.sleep(source.expovariate(8.0))
            if killed == times:
                daemon.wait_for_lines(5)
                daemon.end()
            else:
                daemon.kill()
            printed += daemon.scan_ids()
    outcome.judge(folder / "s.sqlite", printed)
    return outcome


def unplugs(folder: Path, source: random.Random, times: int) -> Outcome:
    """Cut the line in the middle of a reply; the port comes back at once, under the same name."""
    return _faults(folder, source, times, "hangup", "cable pulled and plugged in again", PERIOD)


def dips(folder: Path, source: random.Random, times: int) -> Outcome:
    """Restart the instrument in the middle of a reply, while the port stays open."""
    outcome = _faults(folder, source, times, "reset", "instrument restarted, port open", RETAKE)
    outcome.note = "what it took anew: its references"
    return outcome


def _faults(
    folder: Path, source: random.Random, times: int, kind: str, cause: str, configuration: str
) -> Outcome:
    replies, moment = [], 30
    for _ in range(times):
        moment += source.randrange(60, 140)
        replies.append(moment)
    script = ",".join(f"{kind}@{reply}" for reply in replies)
    outcome = Outcome(cause, times)
    given = ("--seed", source.randrange(1000), "--boot", 1, "--faults", script)
    with simulator(*given, "--link", folder / "port") as url:
        daemon = Daemon(folder, url, configuration)
        gaps = _watch_gaps(daemon, replies[-1] // 5)
        daemon.wait_for_lines(len(daemon.lines) + 50)
        daemon.end()
    # The cause lasts no time: the longest pauses are the times that it took to be back.
    outcome.back_s = sorted(gaps(), reverse=True)[:times]
    outcome.judge(daemon.store, daemon.scan_ids())
    return outcome


def _watch_gaps(daemon: Daemon, lines: int) -> Callable[[], Iterator[float]]:
    daemon.wait_for_lines(lines, timeout_s=1_200)

    def gaps() -> Iterator[float]:
        moments = [when for when, _ in daemon.lines]
        return (b - a for a, b in itertools.pairwise(moments))

    return gaps


@contextmanager
def _shim(folder: Path, source: Path, variable: str) -> Iterator[tuple[dict[str, str], Path]]:
    """Build a library to preload; give its environment and the file that steers it."""
    library, steering = folder / f"{source.stem}.so", folder / source.stem
    compiler = shutil.which("gcc") or shutil.which("cc") or "cc"
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    yield {"LD_PRELOAD": str(library), variable: str(steering)}, steering


def disk_full(folder: Path, source: random.Random, times: int) -> Outcome:
    """Let each write to the store fail with ENOSPC for a while."""
    return _failing_disk(folder, source, times, "ENOSPC", "its disk is full")


def read_only(folder: Path, source: random.Random, times: int) -> Outcome:
    """Let each write to the store fail with EROFS for a while."""
    return _failing_disk(folder, source, times, "EROFS", "its file system is read-only")


def _failing_disk(
    folder: Path, source: random.Random, times: int, error: str, words: str
) -> Outcome:
    outcome = Outcome(f"{words.removeprefix('its ')} for {DISK_TROUBLE_S[0]:.0f} s or more", times)
    shim = _shim(folder, ROOT / "tests" / "support" / "failing_writes.c", "FAULT_TRIGGER")
    with shim as (environment, trigger), simulator("--seed", 1, "--boot", 1) as url:
        daemon = Daemon(folder, url, PERIOD, environment)
        for _ in range(times):
            daemon.wait_for_lines(len(daemon.lines) + source.randrange(20, 60))
            trigger.write_text(f"{error} 0 1000000000")
            time.sleep(source.uniform(*DISK_TROUBLE_S))
            trigger.unlink()
            outcome.back_s.append(daemon.back_after(time.monotonic()))
        daemon.end()
    assert daemon.log.count(words) == times, daemon.log
    outcome.judge(daemon.store, daemon.scan_ids())
    return outcome


def locked(folder: Path, source: random.Random, seconds: int) -> Outcome:
    """Hold the database's write lock from another program."""
    outcome = Outcome(f"database locked by another program for {seconds} s", 1)
    with simulator("--seed", 1, "--boot", 1) as url:
        daemon = Daemon(folder, url, PERIOD)
        daemon.wait_for_lines(source.randrange(20, 60))
        with closing(sqlite3.connect(daemon.store, timeout=60, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
        outcome.back_s.append(daemon.back_after(time.monotonic()))
        daemon.end()
    outcome.judge(daemon.store, daemon.scan_ids())
    return outcome


def clock_back(folder: Path, source: random.Random, seconds: int) -> Outcome:
    """Set the wall clock back while the daemon runs, then kill it and start it again."""
    words = {300: "5 minutes", 36_000: "10 hours", 172_800: "2 days"}.get(seconds, f"{seconds} s")
    outcome = Outcome(f"clock set back by {words}, then `kill -9`", 1)
    shim = _shim(folder, Path(__file__).with_name("clock_set_back.c"), "CLOCK_OFFSET")
    printed = []
    with shim as (environment, offset), simulator("--seed", 1, "--boot", 1) as url:
        offset.write_text("0")
        daemon = Daemon(folder, url, PERIOD, environment)
        daemon.wait_for_lines(source.randrange(20, 60))
        offset.write_text(str(-seconds))
        daemon.wait_for_lines(len(daemon.lines) + 20)
        daemon.kill()
        printed += daemon.scan_ids()
        daemon = Daemon(folder, url, PERIOD, environment)
        outcome.back_s.append(daemon.back_after(daemon.started))
        daemon.wait_for_lines(20)
        daemon.end()
    outcome.judge(daemon.store, [*printed, *daemon.scan_ids()])
    taken = daemon.log.count("taking the dark reference")
    outcome.note = "references taken anew" if taken == 2 else "**old references passed as fresh**"
    return outcome


def last_page(folder: Path, source: random.Random, times: int) -> Outcome:
    """Kill the daemon, damage the last page of the log, and start it again."""
    outcome, printed = Outcome("`kill -9`, last page of the log damaged", times), []

    def damage(store: Path) -> None:
        log = wal.path_of(store)
        frames = wal.examine(log).frames
        if not frames:
            return
        size = len(frames[-1].page)
        start = 32 + (len(frames) - 1) * (24 + size) + 24
        _flip(log, start + source.randrange(size), source)

    with simulator("--seed", 1, "--boot", 1) as url:
        for _ in range(times):
            daemon = Daemon(folder, url, PERIOD)
            daemon.wait_for_lines(source.randrange(20, 60))
            daemon.kill()
            printed += daemon.scan_ids()
            damage(daemon.store)
            daemon = Daemon(folder, url, PERIOD)
            outcome.back_s.append(daemon.back_after(daemon.started))
            daemon.wait_for_lines(20)  # what waited in the instrument is among them
            daemon.end()
            printed += daemon.scan_ids()
    outcome.judge(daemon.store, printed)
    return outcome


def a_record(folder: Path, source: random.Random, times: int) -> Outcome:
    """Flip a bit in the counts of a stored record while the daemon is away."""
    outcome, printed = Outcome("a bit of a stored record flipped", times), []
    with simulator("--seed", 1, "--boot", 1) as url:
        for _ in range(times):
            daemon = Daemon(folder, url, PERIOD)
            daemon.wait_for_lines(source.randrange(30, 60))
            daemon.end()
            printed += daemon.scan_ids()
            with closing(sqlite3.connect(daemon.store)) as connection:
                query = "SELECT counts FROM scans ORDER BY random() LIMIT 1"
                (counts,) = connection.execute(query).fetchone()
            start = daemon.store.read_bytes().index(counts[:24])
            _flip(daemon.store, start + source.randrange(24), source)
            daemon = Daemon(folder, url, PERIOD)
            outcome.back_s.append(daemon.back_after(daemon.started))
            daemon.end()
            printed += daemon.scan_ids()
    outcome.judge(daemon.store, printed)
    outcome.told = outcome.lost if f"{times} records of store" in daemon.log else 0
    return outcome


def _flip(file: Path, position: int, source: random.Random) -> None:
    with open(file, "r+b") as stream:
        stream.seek(position)
        (byte,) = stream.read(1)
        stream.seek(position)
        stream.write(bytes([byte ^ 1 << source.randrange(8)]))
        stream.flush()
        os.fsync(stream.fileno())
