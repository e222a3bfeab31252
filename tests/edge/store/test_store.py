"""The store: each scan once, in order, under a lock; and its streams."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.daemon.stream import Stream
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.storage import schema
from ccnvr.edge.storage.counts import decode
from ccnvr.edge.storage.database import StoreError, repair_store
from ccnvr.edge.storage.health import Health
from ccnvr.edge.storage.host_clock import age_s, now
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from ccnvr.edge.streams.destination import Destination
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings

SETTINGS = Settings(10_000, 16)
INFO = InstrumentInfo("m", "S1", "f", 2, np.arange(3.0), 100, 1, 2, 3)
PREDICTION = Prediction({"OC": Estimate(12.5, "g/kg", None, None)}, ("a", "b"))


def scan(number: int, kind: ScanKind = ScanKind.SAMPLE) -> Scan:
    return Scan(number, kind, np.array([1.5, 2.25, 3.0]) * number, SETTINGS, False, 24.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ccnvr.sqlite"


def references(store: Store) -> tuple[int, int]:
    return (
        store.references.add(INFO, scan(100, ScanKind.DARK)).id,
        store.references.add(INFO, scan(101, ScanKind.WHITE)).id,
    )


def add(store: Store, number: int) -> None:
    store.add(NewScan(INFO, scan(number), PREDICTION, references(store), "digest", 1.25))


def test_a_record_comes_back_and_raw_counts_are_kept(path: Path) -> None:
    store = Store(path, owner=True)
    add(store, 1)
    ((identifier, record),) = store.records_after(0)
    assert record["scan_id"] == "S1-2-1"
    assert record["predictions"] == {
        "OC": {"value": 12.5, "unit": "g/kg", "low": None, "high": None, "places": "known"}
    }
    assert (record["flags"], record["latency_ms"], record["instrument"]) == (["a", "b"], 1.25, "S1")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(record["time"])).total_seconds()) < 60
    assert store.records_after(identifier) == []
    (row,) = sqlite3.connect(path).execute("SELECT counts_format, counts, averages FROM scans")
    np.testing.assert_array_equal(decode(*row), scan(1).counts)
    store.close()


def test_an_instrument_without_a_thermometer_has_no_temperature(path: Path) -> None:
    """NaN in a `Scan` is NULL in the store, NaN when read again, and never in a record."""
    store = Store(path, owner=True)
    dark = store.references.add(INFO, replace(scan(1, ScanKind.DARK), temperature_c=math.nan))
    white = store.references.add(INFO, scan(2, ScanKind.WHITE))
    sample = replace(scan(3), temperature_c=math.nan)
    store.add(NewScan(INFO, sample, PREDICTION, (dark.id, white.id), "digest", 1.25))
    assert store.holds(INFO, sample)
    found = store.references.newest(INFO, ScanKind.DARK, SETTINGS)
    assert found is not None and math.isnan(found.scan.temperature_c)
    ((_, record),) = store.records_after(0)
    json.dumps(record, allow_nan=False)
    with closing(sqlite3.connect(path)) as connection:
        kept = connection.execute(
            "SELECT temperature_c FROM scans UNION ALL SELECT temperature_c FROM reference_scans"
        )
        assert kept.fetchall() == [(None,), (None,), (24.5,)]
    store.close()


def test_a_scan_is_stored_once(path: Path) -> None:
    store = Store(path, owner=True)
    assert not store.holds(INFO, scan(1))
    add(store, 1)
    assert store.holds(INFO, scan(1))
    add(store, 1)
    other = Scan(**{**vars(scan(1)), "counts": np.zeros(3)})
    with pytest.raises(StoreError, match=r"scan S1-2-1 is in store .* already, with other data"):
        store.holds(INFO, other)
    with pytest.raises(StoreError, match="boot counter did not change"):
        store.add(NewScan(INFO, other, PREDICTION, None, "digest", 1.0))
    assert len(store.records_after(0)) == 1
    store.close()


def test_references_belong_to_a_start_of_an_instrument_and_its_settings(path: Path) -> None:
    store = Store(path, owner=True)
    kept = store.references.add(INFO, scan(5, ScanKind.WHITE))
    assert store.references.add(INFO, scan(5, ScanKind.WHITE)).id == kept.id
    np.testing.assert_array_equal(kept.scan.counts, scan(5).counts)
    assert store.references.newest(INFO, ScanKind.DARK, SETTINGS) is None
    other = Scan(**{**vars(scan(5, ScanKind.WHITE)), "counts": np.zeros(3)})
    with pytest.raises(StoreError, match="boot counter did not change"):
        store.references.add(INFO, other)
    assert store.references.newest(INFO, ScanKind.WHITE, Settings(10_000, 4)) is None
    after_restart = InstrumentInfo(**{**vars(INFO), "boot": 3})
    assert store.references.newest(after_restart, ScanKind.WHITE, SETTINGS) is None
    newer = store.references.add(INFO, scan(6, ScanKind.WHITE))
    found = store.references.newest(INFO, ScanKind.WHITE, SETTINGS)
    assert found is not None and found.id == newer.id
    store.close()


def test_two_daemons_on_one_store(path: Path) -> None:
    store = Store(path, owner=True)
    with pytest.raises(StoreError, match=r"another daemon uses store .*; stop it"):
        Store(path, owner=True)
    link = path.with_name("link.sqlite")
    link.symlink_to(path)
    with pytest.raises(StoreError, match="another daemon"):
        Store(link, owner=True)
    Store(path).close()
    store.close()
    Store(path, owner=True).close()


def test_the_lock_goes_with_a_killed_process(path: Path) -> None:
    code = (
        "import sys, pathlib, time; from ccnvr.edge.store.store import Store;"
        "store = Store(pathlib.Path(sys.argv[1]), owner=True); print('open', flush=True); "
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(StoreError, match="another daemon"):
        Store(path, owner=True)
    process.kill()
    process.communicate()
    Store(path, owner=True).close()


def test_files_that_are_no_store_are_refused(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"certainly no database" * 100)
    with pytest.raises(StoreError, match="is not a database; name another file as the store"):
        Store(path, owner=True)
    assert path.read_bytes() == b"certainly no database" * 100
    newer = tmp_path / "newer.sqlite"
    Store(newer).close()
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(StoreError, match="has schema 9 and this ccnvr knows 5"):
        Store(newer, owner=True)
    foreign = tmp_path / "foreign.sqlite"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE photos (id)")
    with pytest.raises(StoreError, match="is a database of another program; name another file"):
        Store(foreign, owner=True)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(tmp_path / "no folder" / "a.sqlite", owner=True)


@pytest.mark.parametrize(
    ("old", "difference"),
    [
        ("ALTER TABLE scans DROP COLUMN flags", "column flags of its table scans"),
        (
            # As development versions before the drivers of other makers' instruments made it, with
            # the same schema number.
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = "
            "replace(sql, 'temperature_c REAL', 'temperature_c REAL NOT NULL') WHERE name = "
            "'scans'",
            "column temperature_c of its table scans",
        ),
        ("DROP TABLE cursors; PRAGMA user_version = 0", "column last_id of its table cursors"),
    ],
)
def test_a_store_of_an_older_version_is_refused_and_left_as_it_is(
    path: Path, old: str, difference: str
) -> None:
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.executescript(old)
    connection.close()
    before = path.read_bytes()
    for owner in (True, False):
        with pytest.raises(
            StoreError, match=rf"older development version of ccnvr \({difference}\); move it away"
        ):
            Store(path, owner=owner)
    assert path.read_bytes() == before


DUMP = Path(__file__).with_name("store_of_9c37a97.sql").read_text("utf-8")
"""A store that the release before migrations (commit 9c37a97) wrote itself, as SQL."""

VERSION_1 = "\n".join(line for line in DUMP.splitlines() if not line.startswith("INSERT"))
"""The schema of that store, without its rows."""


def make_version_1(path: Path) -> None:
    """Write a store of schema 1 with a pair of references and one scan."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)
        for number, kind in ((1, ScanKind.DARK), (2, ScanKind.WHITE)):
            connection.execute(
                "INSERT INTO reference_scans VALUES"
                " (NULL, 'S1', 2, ?, ?, '2026-11-23T05:00:00+00:00', 10000, 16, 24.5, 0, ?)",
                (number, kind, scan(number).counts.tobytes()),
            )
        connection.execute(
            "INSERT INTO scans VALUES (NULL, 'S1-2-3', '2026-11-23T05:00:01.000+00:00', 'S1',"
            " 10000, 16, NULL, 0, ?, 1, 2, 'digest', '{}', '[\"a\"]', 1.5)",
            (scan(3).counts.tobytes(),),
        )
        connection.commit()


@pytest.mark.parametrize("owner", [True, False])
def test_a_store_of_the_predecessor_opens_and_is_read_whole(path: Path, owner: bool) -> None:
    make_version_1(path)
    store = Store(path, owner=owner)
    ((_, record),) = store.records_after(0)
    assert record == {
        "scan_id": "S1-2-3",
        "time": "2026-11-23T05:00:01.000+00:00",
        "instrument": "S1",
        "predictions": {},
        "flags": ["a"],
        "verdict": None,
        "latency_ms": 1.5,
        "clock_synchronised": None,
    }
    assert store.holds(INFO, scan(3))
    found = store.references.newest(INFO, ScanKind.WHITE, SETTINGS)
    assert found is not None and (found.id, found.scan.number) == (2, 2)
    # Nothing is known of the clock of that time, so its age is not either.
    assert age_s(found.moment, now()) is None
    add(store, 4)
    assert [record["scan_id"] for _, record in store.records_after(0)] == ["S1-2-3", "S1-2-4"]
    store.close()
    Store(path, owner=True).close()


def test_a_store_written_by_the_predecessor_s_code_is_read_whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DUMP)
        before = connection.execute("SELECT id, scan_id, counts, predictions FROM scans").fetchall()
    store = Store(path, owner=True)
    records = store.records_after(0)
    assert [(identifier, record["scan_id"]) for identifier, record in records] == [
        (1, "SIM-512-7-3"),
        (2, "SIM-512-7-4"),
    ]
    assert [record["predictions"] for _, record in records] == [
        json.loads(row[3]) for row in before
    ]
    assert store.cursor("stdout") == 1
    info = InstrumentInfo(**{**vars(INFO), "serial": "SIM-512", "boot": 7})
    for number, row in ((3, before[0]), (4, before[1])):
        counts = np.frombuffer(row[2])
        assert counts.shape == (512,)
        assert store.holds(info, Scan(number, ScanKind.SAMPLE, counts, SETTINGS, False, 30.0))
    white = store.references.newest(info, ScanKind.WHITE, SETTINGS)
    assert white is not None and white.scan.counts.shape == (512,)
    store.close()


def test_what_an_instrument_states_is_stored_once_and_survives_a_repair(path: Path) -> None:
    store = Store(path, owner=True)
    for number, info in ((1, INFO), (2, INFO), (3, replace(INFO, boot=3))):
        store.add(NewScan(info, scan(number), PREDICTION, None, "digest", 1.0))
    store.add(NewScan(replace(INFO, firmware="f2"), scan(4), PREDICTION, None, "digest", 1.0))
    query = "SELECT instrument_id FROM scans ORDER BY scans.id"
    assert store.database.query(query) == [(1,), (1,), (1,), (2,)]
    store.close()
    repair_store(path, Health(silent=True))
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT wavelengths_format, wavelengths, serial, quantity, saturation_counts, firmware"
            " FROM instruments ORDER BY id"
        ).fetchall()
    np.testing.assert_array_equal(decode(rows[0][0], rows[0][1], 1), INFO.wavelengths_nm)
    assert [row[2:] for row in rows] == [("S1", "counts", 100, "f"), ("S1", "counts", 100, "f2")]


def test_a_store_of_schema_3_opens_and_its_records_stay_sound(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript("".join(schema.VERSIONS[:3]))
        connection.execute("PRAGMA user_version = 3")
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        values: dict[str, object] = {
            "scan_id": "S1-2-1",
            "time": "2026-11-23T05:00:01.000+00:00",
            "instrument": "S1",
            "integration_us": 10_000,
            "averages": 16,
            "saturated": 0,
            "counts": b"",
            "bundle_sha256": "",
            "predictions": "{}",
            "flags": "[]",
            "latency_ms": 1.0,
        }
        values["checksum"] = schema.checksum(values)
        places = ", ".join("?" * len(values))
        connection.execute(
            f"INSERT INTO scans ({', '.join(values)}) VALUES ({places})", tuple(values.values())
        )
    store = Store(path, owner=True)
    ((_, record),) = store.records_after(0)
    assert (record["scan_id"], record["flags"]) == ("S1-2-1", [])
    store.close()


def test_a_migration_that_fails_leaves_the_store_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_version_1(path)
    with monkeypatch.context() as context:
        context.setattr(schema, "VERSIONS", (*schema.VERSIONS, "ALTER TABLE none ADD x;"))
        context.setattr(schema, "SCHEMA", schema.SCHEMA + 1)
        with pytest.raises(StoreError, match="no such table: none"):
            Store(path, owner=True)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT * FROM scans").fetchall()
    Store(path, owner=True).close()


def test_a_stream_delivers_each_record_once_across_restarts(path: Path) -> None:
    store, seen = Store(path, owner=True), []
    for first in (1, 11):
        stream = Stream(Destination("test", lambda record: seen.append(record["scan_id"])), path)
        stream.start()
        for number in range(first, first + 10):
            add(store, number)
            stream.wake()
        stream.finish()
        assert stream.error is None
    assert seen == [f"S1-2-{number}" for number in range(1, 21)]
    store.close()


def test_a_delivery_that_fails_is_delivered_again(path: Path) -> None:
    store = Store(path, owner=True)
    for number in (1, 2, 3):
        add(store, number)
    seen: list[str] = []

    def fails_at_two(record: dict[str, str]) -> None:
        if record["scan_id"].endswith("-2"):
            raise BrokenPipeError
        seen.append(record["scan_id"])

    for deliver in (fails_at_two, lambda record: seen.append(record["scan_id"])):
        stream = Stream(Destination("test", deliver), path)
        stream.start()
        stream.finish()
    assert seen == ["S1-2-1", "S1-2-2", "S1-2-3"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stream")]
    store.close()
