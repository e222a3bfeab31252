"""A damaged store: what is saved, what is told, and that the daemon always opens it."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.storage import wal
from ccnvr.edge.storage.health import Health, Patience
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings
from tests.edge.store.test_store import INFO, PREDICTION, SETTINGS, add, scan

SCANS = 60
MAKE = """
import os, sys, pathlib
sys.path.insert(0, sys.argv[2])
from tests.edge.store.test_store import Store, add
store = Store(pathlib.Path(sys.argv[1]), owner=True)
for number in range(1, int(sys.argv[3]) + 1):
    add(store, number)
os._exit(9)  # as kill -9 leaves it: with its log
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store of 60 scans whose process was killed."""
    folder = tmp_path_factory.mktemp("killed")
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", MAKE, str(folder / "s.sqlite"), str(root), str(SCANS)]
    assert subprocess.run(command, check=False).returncode == 9
    return folder


@pytest.fixture
def path(killed: Path, tmp_path: Path) -> Path:
    for name in ("s.sqlite", "s.sqlite-wal"):
        shutil.copy(killed / name, tmp_path / name)
    return tmp_path / "s.sqlite"


def opened(path: Path) -> tuple[list[str], list[str]]:
    """Open a store as the daemon does; return its scan ids that are whole, and what was told."""
    health = Health()
    store = Store(path, owner=True, patience=Patience(health, _stopped()))
    records = store.records_after(0, 1000)
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    whole = [record["scan_id"] for _, record in records if record["predictions"]]
    notes = health.status()["notes"]
    assert isinstance(notes, list)
    return whole, notes


def _stopped() -> threading.Event:
    stopping = threading.Event()
    stopping.set()
    return stopping


def ids(*numbers: int) -> list[str]:
    return [f"S1-2-{number}" for number in numbers]


def flip(path: Path, offset: int, bit: int = 0) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def zero(path: Path, start: int, length: int) -> None:
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(bytes(length))


def test_an_undamaged_log_is_read_without_a_word(path: Path) -> None:
    assert opened(path) == (ids(*range(1, SCANS + 1)), [])


def test_a_damaged_page_in_the_log_costs_at_most_its_own_scan(path: Path) -> None:
    log = wal.path_of(path)
    flip(log, log.stat().st_size // 2)
    whole, (note,) = opened(path)
    assert len(whole) >= SCANS - 1
    assert "was damaged" in note and "at most" in note


def test_a_log_without_its_header_loses_nothing(path: Path) -> None:
    zero(wal.path_of(path), 0, 32)
    whole, (note,) = opened(path)
    assert sorted(whole) == sorted(ids(*range(1, SCANS + 1)))
    assert f"at most {0} are lost" in note


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_the_last_page_of_the_log_takes_at_most_the_last_scan(path: Path, damage: str) -> None:
    log = wal.path_of(path)
    size = log.stat().st_size
    if damage == "flip":
        flip(log, size - 100)
    else:
        with open(log, "r+b") as file:
            file.truncate(size - 100)
    whole, (note,) = opened(path)
    assert whole == ids(*range(1, SCANS))
    assert "1 commits could not be read" in note and "at most 1 are lost" in note


def test_a_seal_keeps_the_last_page_from_being_a_scan_s(path: Path) -> None:
    store = Store(path, owner=True)
    add(store, SCANS + 1)
    store.seal()
    # Copied while it is open: as a power cut leaves it.
    copy = path.with_name("copy.sqlite")
    for source, target in ((path, copy), (wal.path_of(path), wal.path_of(copy))):
        shutil.copy(source, target)
    store.close()
    flip(wal.path_of(copy), wal.path_of(copy).stat().st_size - 100)
    assert opened(copy)[0] == ids(*range(1, SCANS + 2))


@pytest.mark.parametrize("how", ["deleted", "emptied"])
def test_a_log_that_is_gone_is_told(path: Path, how: str) -> None:
    log = wal.path_of(path)
    log.unlink() if how == "deleted" else log.write_bytes(b"")
    assert "was removed or emptied while the store was not closed" in opened(path)[1][0]
    # It was closed in order this time.
    assert opened(path)[1] == []


def test_an_empty_file_beside_its_log_is_rebuilt_from_it(path: Path) -> None:
    path.write_bytes(b"")
    whole, (note,) = opened(path)
    assert whole == ids(*range(1, SCANS + 1))
    assert f"{SCANS} scans and 2 references were saved, 0 scans between them are missing" in note
    assert list(path.parent.glob("s.sqlite.damaged-*"))


@pytest.fixture
def whole_file(path: Path) -> Path:
    """Return the path of a store that was closed in order."""
    opened(path)
    assert not wal.path_of(path).exists()
    return path


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no header": lambda path: zero(path, 0, 100),
    "no schema": lambda path: zero(path, 0, 512),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2048 * 1536]),
    "a hole": lambda path: zero(path, path.stat().st_size // 1024 * 512, 4096),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_sqlite_cannot_follow_is_rebuilt(whole_file: Path, damage: str) -> None:
    DAMAGES[damage](whole_file)
    before = whole_file.read_bytes()
    whole, notes = opened(whole_file)
    assert len(whole) >= SCANS // 3
    assert "was damaged and is repaired" in notes[0]
    (kept,) = whole_file.parent.glob("s.sqlite.damaged-*[0-9]")
    assert kept.read_bytes() == before
    assert opened(whole_file) == (whole, [])


def test_random_flips_never_keep_a_store_from_opening(whole_file: Path) -> None:
    source, size = random.Random(3), whole_file.stat().st_size
    for case in range(40):
        copy = whole_file.with_name(f"{case}.sqlite")
        shutil.copy(whole_file, copy)
        flips = source.choice((1, 1, 4, 32))
        for _ in range(flips):
            # The header's numbers of schema and format decide what a file is; they are not guessed.
            flip(copy, source.randrange(100, size), source.randrange(8))
        whole, notes = opened(copy)
        assert len(whole) >= SCANS - 3 * flips
        assert notes or len(whole) == SCANS


def test_a_damaged_record_is_skipped_told_and_stored_anew(whole_file: Path) -> None:
    with closing(sqlite3.connect(whole_file)) as connection:
        connection.execute(
            "UPDATE scans SET predictions = replace(predictions, '12.5', '12.6') WHERE id = 7"
        )
        connection.commit()
    store = Store(whole_file, owner=True)
    records = dict(store.records_after(0, 1000))
    assert (records[7]["predictions"], records[7]["flags"]) == ({}, ["rescan:damaged_record"])
    assert sum(bool(record["predictions"]) for record in records.values()) == SCANS - 1
    # The instrument offers it again, and it takes the damaged one's place.
    assert not store.holds(INFO, scan(7))
    add(store, 7)
    assert store.holds(INFO, scan(7))
    assert len(store.records_after(0, 1000)) == SCANS
    store.close()
    assert opened(whole_file)[1] == []


def test_a_damaged_reference_is_not_found(whole_file: Path) -> None:
    store = Store(whole_file, owner=True)
    older = store.references.newest(INFO, ScanKind.WHITE, SETTINGS)
    newer = store.references.add(INFO, Scan(300, ScanKind.WHITE, np.ones(3), SETTINGS, False, 20.0))
    with closing(sqlite3.connect(whole_file)) as connection:
        connection.execute("UPDATE reference_scans SET saturated = 1 WHERE id = ?", (newer.id,))
        connection.commit()
    found = store.references.newest(INFO, ScanKind.WHITE, SETTINGS)
    assert older is not None and found is not None and found.id == older.id
    store.close()


def test_missing_numbers_are_counted(path: Path) -> None:
    store = Store(path, owner=True)
    info = InstrumentInfo(**{**vars(INFO), "boot": 5})
    for number in (1, 2, 5):
        sample = Scan(number, ScanKind.SAMPLE, np.ones(3), Settings(1, 1), False, 1.0)
        store.add(NewScan(info, sample, PREDICTION, None, "digest", 1.0))
    later = Scan(9, ScanKind.SAMPLE, np.ones(3), Settings(1, 1), False, 1.0)
    assert store.missing_before(info, later) == 5  # 3, 4, 6, 7, 8
    store.close()
