"""What is written of a prediction, and the checksums that tell whether it is still that."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.storage.salvage import unsound_ids
from ccnvr.edge.storage.schema import checksum
from ccnvr.edge.store.new_scan import NewScan, predictions_text
from ccnvr.edge.store.store import Store
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings

INFO = InstrumentInfo("m", "S1", "f", 2, np.arange(3.0), 100, 1, 2, 3)
NUMBERS = (
    *(0.0, -0.0, 1.0, 12.5, 1 / 3, 1e-4, 9.99999999e-5, 1e-30, -7.25, 1234567.0, 12345678.9, 1e22),
    *(9999999.6, 0.30000001, -2e-9, math.nan, math.inf, -math.inf, 100, True, None),
)


@pytest.mark.parametrize("number", NUMBERS)
def test_estimates_are_written_as_json_of_seven_digits(number: float | None) -> None:
    rounded = float(f"{number:.7g}") if isinstance(number, float) else number
    estimate = Estimate(2 / 3, 'of "%" Ä', number, number, "new")
    expected = {"value": 0.6666667, "unit": 'of "%" Ä', "low": rounded, "high": rounded}
    text = json.dumps({"OC": {**expected, "places": "new"}}, separators=(",", ":"))
    assert predictions_text(Prediction({"OC": estimate})) == text


def test_no_estimates_are_written_as_an_empty_object() -> None:
    assert predictions_text(Prediction({}, ("rescan:saturated",))) == "{}"


def test_a_checksum_stays_what_earlier_versions_wrote() -> None:
    class Form(IntEnum):
        SUMS = 1

    record = {"b": "Ä", "a": b"\0\1", "d": 2.5, "c": 7, "e": True, "f": Form.SUMS, "g": "x" * 300}
    # Computed by the version that introduced checksums.
    assert checksum({**record, "id": 9, "checksum": 8, "h": None}) == 1_074_120_717


def test_records_with_damaged_text_are_found(tmp_path: Path) -> None:
    path = tmp_path / "ccnvr.sqlite"
    store = Store(path, owner=True)
    for number in range(1, 6):
        scan = Scan(number, ScanKind.SAMPLE, np.ones(3), Settings(10, 16), False, 24.5)
        prediction = Prediction({"OC": Estimate(12.5, "g/kg", None, None)})
        store.add(NewScan(INFO, scan, prediction, None, "digest", 1.25))
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for number, change in (
            (2, "instrument = CAST(x'53ff' AS TEXT)"),
            (3, "bundle_sha256 = 'other'"),
            # As versions without checksums left them: judged by whether they can be read.
            (4, "checksum = NULL"),
            (5, "checksum = NULL, predictions = CAST(x'7bff' AS TEXT)"),
        ):
            connection.execute(f"UPDATE scans SET {change} WHERE id = {number}")
        assert unsound_ids(connection) == [("scans", 2), ("scans", 3), ("scans", 5)]
        assert connection.text_factory is str
