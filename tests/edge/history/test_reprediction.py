"""A history predicted again: means of replicates, and what is kept of a long one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ccnvr.edge.history.reprediction import Reprediction
from ccnvr.edge.history.stored_scans import StoredScans
from ccnvr.edge.inference.pipeline import Pipeline, References
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.spectrum_files.tables.text_table import read_spectra
from ccnvr.edge.storage.context import SampleIdentity, ScanContext
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from ccnvr.edge.workflow.replicates import mean_scan, with_spread
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind
from ccnvr.firmware_bridge.simulators.handheld import SimulatedSpectrometer, onto_pixels
from tests.edge.history.test_history import take


class Field:
    """A store that is filled as the daemon fills it, by a simulated instrument."""

    def __init__(self, path: Path, soils_csv: Path, model: ProvedModel) -> None:
        table = read_spectra(soils_csv)
        soils = onto_pixels(table.wavelengths_nm, table.reflectance("reflectance"))
        self.bench = SimulatedSpectrometer(soils, pace=0.0)
        self.path = path
        self.model = model
        self.number = 0
        self.new_references()

    @property
    def info(self) -> InstrumentInfo:
        return self.bench.info

    def take(self, kind: ScanKind = ScanKind.SAMPLE) -> Scan:
        self.number += 1
        return take(self.bench, kind, self.number)

    def new_references(self) -> None:
        dark, white = self.take(ScanKind.DARK), self.take(ScanKind.WHITE)
        with closing(Store(self.path)) as store:
            self.ids = (
                store.references.add(self.info, dark).id,
                store.references.add(self.info, white, panel_reflectance=0.99).id,
            )
        predictor = self.model.bind(self.info.wavelengths_nm)
        self.pipeline = Pipeline(predictor, self.info, References(dark, white, 0.99))

    def add(self, scan: Scan, prediction: Prediction, context: ScanContext, name: str = "") -> None:
        new = NewScan(self.info, scan, prediction, self.ids, "old", 1.0, context, name)
        with closing(Store(self.path)) as store:
            store.add(new)

    def add_mean(self, scans: Sequence[Scan], used: Sequence[int]) -> Prediction:
        """Store replicates and their mean; it is refused if none of them is `used`."""
        sample = SampleIdentity("Plot")
        ids = [self.info.scan_id(scan.number) for scan in scans]
        name = f"{ids[0]}-mean"
        single = [self.pipeline(scan) for scan in scans]
        for scan, prediction in zip(scans, single, strict=True):
            self.add(scan, prediction, ScanContext(sample, replicate_of=name))
        if used:
            mean = mean_scan([scans[i] for i in used])
            prediction = with_spread(self.pipeline(mean), [single[i] for i in used])
        else:
            mean, prediction = mean_scan(scans), Prediction({}, ("rescan:too_dark",))
        named = {"used": [ids[i] for i in used], "rejected": []}
        self.add(mean, prediction, ScanContext(sample, replicates=named), name)
        return prediction

    def repredicted(self) -> tuple[list[dict[str, Any]], Reprediction]:
        with closing(StoredScans(self.path)) as scans:
            history = Reprediction(scans, self.model, {})
            return list(history.records()), history


@pytest.fixture
def field(tmp_path: Path, soils_csv: Path, model: ProvedModel) -> Field:
    return Field(tmp_path / "field.sqlite", soils_csv, model)


def test_a_mean_has_the_spread_of_its_replicates_again(field: Field) -> None:
    scans = [field.take() for _ in range(3)]
    before = field.add_mean(scans, (0, 1, 2))
    bare = field.pipeline(mean_scan(scans))
    ((record,), _) = field.repredicted()
    for name, estimate in record["predictions"].items():
        assert estimate["low"] == pytest.approx(before[name].low, rel=1e-5)
        assert estimate["high"] == pytest.approx(before[name].high, rel=1e-5)
    assert record["flags"] == list(before.flags)
    # Three different soils: their spread shows.
    low, high = bare["OC"].low, bare["OC"].high
    assert low is not None and high is not None
    assert record["predictions"]["OC"]["high"] > high
    assert any(flag.endswith(":replicates_disagree") for flag in record["flags"])


def test_a_mean_that_was_refused_gets_no_numbers(field: Field) -> None:
    good = field.take()
    dark = [replace(one, counts=one.counts * 0.01) for one in (field.take(), field.take())]
    field.add_mean([good, *dark], ())
    records, history = field.repredicted()
    assert records == []
    assert "1 are means of replicates of which most could not be used" in history.scans.report()


def test_a_mean_without_its_replicates_is_left_out(field: Field) -> None:
    scans = [field.take() for _ in range(2)]
    field.add_mean(scans, (0, 1))
    single = field.take()
    field.add(single, field.pipeline(single), ScanContext())
    with closing(sqlite3.connect(field.path)) as connection:
        connection.execute("DELETE FROM scans WHERE id = 1")
        connection.commit()
    records, history = field.repredicted()
    assert len(records) == 1
    assert "1 are means of replicates that are lost or damaged" in history.scans.report()


def test_a_long_history_binds_the_model_once_and_keeps_the_last_references(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = []
    for _ in range(5):
        for _ in range(2):
            scan = field.take()
            expected.append(field.pipeline(scan))
            field.add(scan, expected[-1], ScanContext())
        field.new_references()
    bound: list[Predictor] = []
    bind = ProvedModel.bind

    def counted(model: ProvedModel, wavelengths_nm: Any) -> Predictor:
        bound.append(bind(model, wavelengths_nm))
        return bound[-1]

    monkeypatch.setattr(ProvedModel, "bind", counted)
    records, history = field.repredicted()
    assert len(bound) == len(history.scans._references) == len(history._last) == 1
    # Each scan was computed with its own references.
    for record, prediction in zip(records, expected, strict=True):
        value = record["predictions"]["OC"]["value"]
        assert value == pytest.approx(prediction["OC"].value, rel=1e-4)
        assert json.dumps(record["flags"]) == json.dumps(prediction.flags)
