"""What a repair restores beside the records: the marks in the table `state`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from ccnvr.edge.storage import salvage
from ccnvr.edge.store.store import Store
from ccnvr.edge.workflow.check_sample import LEARNT_FROM
from ccnvr.firmware_bridge.instrument import ScanKind
from tests.edge.store.test_store import INFO, SETTINGS, add, scan


def test_marks_are_restored_and_are_no_cursors(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with closing(Store(path, owner=True)) as store:
        store.references.add(INFO, scan(90, ScanKind.WHITE))
        store.references.forget_earlier(INFO, ScanKind.WHITE)
        add(store, 1)
        for _ in range(3):
            store.seal()
        store.remember(LEARNT_FROM, 7)
        for stream in ("stdout", "lines", "mqtt"):
            store.advance(stream, 1)
        kept = store.database.query("SELECT * FROM state WHERE name <> 'open' ORDER BY name")
    assert len(kept) == 3
    salvage.repair(path)
    with closing(Store(path, owner=True)) as store:
        query = "SELECT * FROM state WHERE name <> 'open' ORDER BY name"
        assert store.database.query(query) == kept
        cursors = store.database.query("SELECT stream FROM cursors ORDER BY stream")
        assert cursors == [("lines",), ("mqtt",), ("stdout",)]
        # The white of the old lamp, number 90, is not compared with again.
        earlier = store.references.earlier(INFO, ScanKind.WHITE, SETTINGS, 5)
        assert [one.scan.number for one in earlier] == [101]
