"""What the store keeps of a sample: identity, place, replicates, and jobs that did not end."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ccnvr.edge.storage import salvage
from ccnvr.edge.storage.context import CHECK, GeoPosition, SampleIdentity, ScanContext, escaped
from ccnvr.edge.storage.schema import SCHEMA
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from ccnvr.firmware_bridge.instrument import ScanKind
from tests.edge.store.test_store import INFO, PREDICTION, SETTINGS, scan

SAMPLE = SampleIdentity("Plot 7/2", 0, 15.5, "Ana", "after rain")
POSITION = GeoPosition(-33.123456789, 151.2, 3.5)

SCHEMA_3 = Path(__file__).with_name("store_of_79d9827.sql").read_text("utf-8")
"""A store of schema 3, which the commit before this schema wrote."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.sqlite"


def new(number: int, context: ScanContext, scan_id: str = "") -> NewScan:
    return NewScan(INFO, scan(number), PREDICTION, None, "digest", 1.0, context, scan_id)


def test_a_sample_comes_back_with_its_scan_and_after_a_repair(path: Path) -> None:
    store = Store(path, owner=True)
    store.add(new(1, ScanContext(SAMPLE, POSITION)))
    store.add(new(2, ScanContext()))
    (_, named), (_, plain) = store.records_after(0)
    assert named["sample"] == {
        "id": "Plot 7/2",
        "top_cm": 0.0,
        "bottom_cm": 15.5,
        "operator": "Ana",
        "note": "after rain",
    }
    assert named["position"] == {
        "latitude": -33.123456789,
        "longitude": 151.2,
        "accuracy_m": 3.5,
    }
    assert not {"sample", "position", "replicates", "purpose"} & set(plain)
    store.close()
    salvage.repair(path)
    store = Store(path, owner=True)
    assert store.record("S1-2-1") == named
    store.close()


def test_a_sample_belongs_to_the_record_that_its_checksum_covers(path: Path) -> None:
    store = Store(path, owner=True)
    store.add(new(1, ScanContext(SAMPLE)))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE scans SET sample_id = 'Plot 8/2'")
        connection.commit()
    ((_, record),) = store.records_after(0)
    assert record["flags"] == ["rescan:damaged_record"] and "sample" not in record
    store.close()


def test_a_sample_is_one_record_and_its_replicates_stay(path: Path) -> None:
    store = Store(path, owner=True)
    mean_id = "S1-2-1-mean"
    for number in (1, 2):
        store.add(new(number, ScanContext(SAMPLE, replicate_of=mean_id)))
    assert store.records_after(0) == []
    context = ScanContext(SAMPLE, replicates={"used": ["S1-2-1", "S1-2-3"], "rejected": ["S1-2-2"]})
    last = new(3, ScanContext(SAMPLE, replicate_of=mean_id))
    store.add(last, new(1, context, mean_id), ends_job=True)
    ((_, record),) = store.records_after(0)
    assert record["scan_id"] == mean_id
    assert record["replicates"] == {"used": ["S1-2-1", "S1-2-3"], "rejected": ["S1-2-2"]}
    # Again, as after a crash before the acknowledgement.
    assert store.holds(INFO, scan(3))
    store.add(last, new(1, context, mean_id))
    assert len(store.records_after(0)) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM scans").fetchone() == (4,)
    store.close()


def test_scans_of_the_check_sample_are_not_delivered_and_not_pruned(path: Path) -> None:
    store = Store(path, owner=True)
    store.add(new(1, ScanContext(purpose=CHECK)))
    for number in range(2, 40):
        store.add(new(number, ScanContext()))
    assert next(record["scan_id"] for _, record in store.records_after(0)) == "S1-2-2"
    store.prune(1, 39, 100)
    with closing(sqlite3.connect(path)) as connection:
        kept = connection.execute("SELECT scan_id FROM scans ORDER BY id").fetchall()
    assert kept == [("S1-2-1",), ("S1-2-39",)]
    store.close()


def test_a_job_that_did_not_end_is_known_to_the_next_daemon(path: Path) -> None:
    store = Store(path, owner=True)
    store.job.begin(INFO, SAMPLE, 3)
    store.close()
    store = Store(path, owner=True)
    assert store.job.begun(INFO) == (SAMPLE, 3)
    assert store.job.begun(replace(INFO, boot=3)) is None
    store.add(new(1, ScanContext(SAMPLE)), ends_job=True)
    assert store.job.begun(INFO) is None
    store.job.begin(INFO, SAMPLE, 1)
    store.job.end()
    assert store.job.begun(INFO) is None
    store.close()


def test_a_store_of_schema_3_is_read_whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA_3)
        before = connection.execute("SELECT scan_id, predictions FROM scans").fetchall()
    assert len(before) == 3
    store = Store(path, owner=True)
    records = [record for _, record in store.records_after(0)]
    assert [(one["scan_id"], one["predictions"]) for one in records] == [
        (scan_id, json.loads(predictions)) for scan_id, predictions in before
    ]
    serial, boot, _ = records[0]["scan_id"].rsplit("-", 2)
    info = replace(INFO, serial=serial, boot=int(boot))
    assert store.references.newest(info, ScanKind.WHITE, SETTINGS) is not None
    store.add(new(9, ScanContext(SAMPLE)))
    assert store.records_after(0)[-1][1]["sample"]["id"] == "Plot 7/2"
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA,)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"id": "x" * 101}, "id has more than 100 characters"),
        ({"operator": "x" * 101}, "operator has more than 100"),
        ({"note": "x" * 10**7}, "note has more than 1000"),
        ({"id": "\x00" * 100}, "id has more than 100"),
        ({"top_cm": -300.0}, "top_cm = -300 is outside -200 to 10000 cm"),
        ({"bottom_cm": float("nan")}, "bottom_cm = nan is outside"),
        ({"top_cm": 30.0, "bottom_cm": 15.0}, "top_cm = 30 lies below bottom_cm = 15"),
    ],
)
def test_what_is_too_long_or_out_of_range_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SampleIdentity(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Grünland 3 – Süd", "Grünland 3 – Süd"),
        ("01\x1d17", r"01\x1d17"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("a\nb\u2028c\u202ed\u0085e", r"a\nb\u2028c\u202ed\x85e"),
        ("\ud800", r"\ud800"),
    ],
)
def test_control_characters_are_escaped(text: str, safe: str) -> None:
    assert escaped(text) == safe
    assert SampleIdentity(id=text).id == safe == SampleIdentity(id=safe).id
