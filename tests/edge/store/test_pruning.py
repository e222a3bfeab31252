"""A store above its limit: what is deleted with the oldest scans, and what stays."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ccnvr.edge.storage.context import CHECK, ScanContext
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.rows import insert
from ccnvr.edge.store.store import Store
from ccnvr.firmware_bridge.instrument import InstrumentInfo, ScanKind
from tests.edge.store.test_store import INFO, PREDICTION, scan

POWER_ONS = 30


def fill(store: Store, info: InstrumentInfo, context: ScanContext, number: int) -> None:
    """Store two references and a scan of a power-on, and what another bundle predicted."""
    ids = tuple(
        store.references.add(info, scan(number + kind, kind)).id
        for kind in (ScanKind.DARK, ScanKind.WHITE)
    )
    new = NewScan(info, scan(number), PREDICTION, (ids[0], ids[1]), "digest", 1.0, context)
    store.add(new)
    again: dict[str, object] = {
        "scan_id": new.record_id,
        "bundle_sha256": "another",
        "time": "2026-11-29T10:00:00+00:00",
        "predictions": "{}",
        "flags": "[]",
        "verdict": None,
    }
    store.database.change(insert("repredictions", again))


def boots(store: Store, serial: str) -> list[int]:
    rows = store.database.query(
        "SELECT DISTINCT boot FROM reference_scans WHERE serial = ? ORDER BY boot", (serial,)
    )
    return [boot for (boot,) in rows]


def test_references_and_repredictions_go_with_their_scans(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "s.sqlite", owner=True)) as store:
        for boot in range(1, POWER_ONS + 1):
            context = ScanContext(purpose=CHECK) if boot == 3 else ScanContext()
            fill(store, replace(INFO, boot=boot), context, 10)
            fill(store, replace(INFO, boot=boot), ScanContext(), 20)
        # An instrument that was put away still has references to compare the next ones with.
        fill(store, replace(INFO, serial="S0"), ScanContext(), 10)
        fill(store, replace(INFO, boot=POWER_ONS + 1), ScanContext(), 10)
        newest = store.database.newest_scan()
        assert store.prune(1 << 30, newest, 1000) == 0
        # Half of the second power-on: its references are still needed.
        assert store.prune(1, 3, 1000) == 3
        assert boots(store, "S1") == list(range(2, POWER_ONS + 2))
        assert store.prune(1, newest, 1000) == newest - 3 - 2
        kept = boots(store, "S1")
        # That of the check sample, and the 16 newest references of each kind.
        assert kept == [3, *range(POWER_ONS - 7, POWER_ONS + 2)]
        assert boots(store, "S0") == [INFO.boot]
        left = store.database.query("SELECT scan_id FROM repredictions ORDER BY id")
        assert left == [("S1-3-10",), (f"S1-{POWER_ONS + 1}-10",)]
        assert store.database.query("PRAGMA foreign_key_check") == []
        assert store.database.query("PRAGMA foreign_keys") == [(1,)]
