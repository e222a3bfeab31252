"""The values of the check sample on the page: those that the limits beside them are for."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.doctor import store_checks
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.storage.context import CHECK, SampleIdentity, ScanContext
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from ccnvr.edge.web.records import PageRecords
from tests.edge.store.test_store import INFO, scan

CHART = {"name": "jar", "instrument": "S1", "bundle": "new", "limits": {}}


def add_check(store: Store, number: int, name: str, serial: str, bundle: str) -> None:
    prediction = Prediction({"OC": Estimate(float(number), "g/kg", None, None)}, ())
    context = ScanContext(SampleIdentity(name), purpose=CHECK)
    info = replace(INFO, serial=serial)
    store.add(NewScan(info, scan(number), prediction, None, bundle, 1.0, context))


def test_only_sound_values_of_the_present_chart_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with closing(Store(path)) as store:
        add_check(store, 1, "jar", "S1", "old")
        add_check(store, 2, "jar", "S2", "new")
        add_check(store, 3, "another jar", "S1", "new")
        for number in (4, 5, 6, 7):
            add_check(store, number, "jar", "S1", "new")
    with closing(sqlite3.connect(path)) as connection:
        # A text that is no JSON, and a digit that is another.
        connection.execute("UPDATE scans SET predictions = '{' WHERE scan_id = 'S1-2-5'")
        connection.execute(
            "UPDATE scans SET predictions = replace(predictions, '6.0', '9.0')"
            " WHERE scan_id = 'S1-2-6'"
        )
        connection.commit()
    records = PageRecords(path)
    try:
        assert asyncio.run(records.checks(CHART)) == {"OC": [4.0, 7.0]}
        assert asyncio.run(records.checks({})) == {}
    finally:
        records.close()
    told = [str(finding.text) for finding in store_checks.examine(path)]
    assert "2 records are damaged, the first is 5 of scans" in told
    assert any("check sample 'jar' of S1" in text for text in told)
