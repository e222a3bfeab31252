"""The table in the layout of the Open Soil Spectral Library: columns of predictions."""

from __future__ import annotations

import csv
import io
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.history.ossl_table import LaboratoryValues, write_ossl
from ccnvr.edge.history.stored_scans import StoredScans
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from ccnvr.firmware_bridge.instrument import Quantity
from tests.edge.store.test_store import INFO, scan


def test_each_property_of_any_bundle_has_columns_with_its_unit(tmp_path: Path) -> None:
    info = replace(INFO, quantity=Quantity.REFLECTANCE)
    predictions = (
        # The first scan has none, and the second bundle another unit and another property.
        Prediction({}, ("rescan:too_dark",)),
        Prediction({"OC": Estimate(2.1, "%", 1.5, 2.7)}, ()),
        Prediction(
            {"OC": Estimate(21.0, "g/kg", None, None), "N": Estimate(1.0, "g/kg", 1, 1)}, ("a",)
        ),
    )
    with closing(Store(tmp_path / "s.sqlite")) as store:
        for number, prediction in enumerate(predictions, 1):
            one = replace(scan(number), counts=np.full(3, 0.25))
            store.add(NewScan(info, one, prediction, None, f"bundle {number}", 1.0))
    table = io.StringIO()
    with closing(StoredScans(tmp_path / "s.sqlite")) as scans:
        assert write_ossl(scans, LaboratoryValues(("OC_g_kg",)), table) == (3, 0)
    table.seek(0)
    header, *rows = csv.reader(table)
    assert header[-8:] == [
        "OC_g_kg",
        *("predicted OC", "predicted OC half width", "predicted OC unit"),
        *("predicted N", "predicted N half width", "predicted N unit"),
        "flags",
    ]
    assert [row[-7:] for row in rows] == [
        ["", "", "", "", "", "", "rescan:too_dark"],
        ["2.1", "0.6", "%", "", "", "", ""],
        ["21", "", "g/kg", "1", "0", "g/kg", "a"],
    ]


def test_a_store_without_samples_is_an_empty_table(tmp_path: Path) -> None:
    Store(tmp_path / "s.sqlite").close()
    table = io.StringIO()
    with closing(StoredScans(tmp_path / "s.sqlite")) as scans:
        assert write_ossl(scans, LaboratoryValues(), table) == (0, 0)
    assert not table.getvalue()
