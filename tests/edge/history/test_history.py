"""The scans of a store read again: exported, read back, trained on, predicted by other bundles."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.history.stored_scans import StoredScans
from ccnvr.edge.inference.pipeline import Pipeline, References
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.spectrum_files.read import read_file
from ccnvr.edge.spectrum_files.tables.text_table import read_spectra
from ccnvr.edge.storage.context import CHECK, GeoPosition, SampleIdentity, ScanContext
from ccnvr.edge.storage.counts import decode
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from ccnvr.firmware_bridge.instrument import Scan, ScanKind, Settings
from ccnvr.firmware_bridge.link.messages import ScanRequest
from ccnvr.firmware_bridge.simulators.handheld import SimulatedSpectrometer, onto_pixels
from tests.support.helpers import NETWORK_BUNDLE, assert_one_sentence, run_ccnvr

SETTINGS = Settings(10_000, 16)
PANEL = 0.97
PLACE = GeoPosition(52.5, 13.25, 3.0)
SAMPLES = (
    SampleIdentity("=Plot 1\u00e9", 0.0, 10.0, "A. Jones"),
    SampleIdentity("Plot 2", 10.0, 30.0),
    SampleIdentity("Plot 3"),
    SampleIdentity(),
)


def take(bench: SimulatedSpectrometer, kind: ScanKind, number: int) -> Scan:
    asked = ScanRequest(kind, SETTINGS.integration_us, SETTINGS.averages)
    exposure = bench.expose(asked, number)
    counts = exposure.sums / SETTINGS.averages
    return Scan(number, kind, counts, SETTINGS, exposure.saturated, exposure.temperature_c)


@pytest.fixture
def store(tmp_path: Path, soils_csv: Path, model: ProvedModel) -> Path:
    """A store with four samples, a replicate, a check sample, and a saturated scan."""
    table = read_spectra(soils_csv)
    soils = onto_pixels(table.wavelengths_nm, table.reflectance("reflectance"))
    bench = SimulatedSpectrometer(soils, pace=0.0)
    path = tmp_path / "field.sqlite"
    opened = Store(path, owner=True)
    dark, white = take(bench, ScanKind.DARK, 1), take(bench, ScanKind.WHITE, 2)
    ids = (
        opened.references.add(bench.info, dark).id,
        opened.references.add(bench.info, white, panel_reflectance=PANEL).id,
    )
    pipeline = Pipeline(
        model.bind(bench.info.wavelengths_nm), bench.info, References(dark, white, PANEL)
    )
    contexts = [
        *(ScanContext(sample, PLACE if n else None) for n, sample in enumerate(SAMPLES)),
        ScanContext(SAMPLES[0], replicate_of="x"),
        ScanContext(purpose=CHECK),
        ScanContext(),
    ]
    for number, context in enumerate(contexts, 3):
        scan = take(bench, ScanKind.SAMPLE, number)
        scan = replace(scan, saturated=number == 9)
        prediction = pipeline(scan).judged({"OC": 9.0}, ["read_later"])
        opened.add(NewScan(bench.info, scan, prediction, ids, "old", 1.0, context))
    opened.close()
    return path


def test_reflectance_comes_back_from_counts_and_references(store: Path, soils_csv: Path) -> None:
    table = read_spectra(soils_csv)
    soils = onto_pixels(table.wavelengths_nm, table.reflectance("reflectance"))
    scans = StoredScans(store)
    found = list(scans)
    assert [scan.context.sample.id for scan in found] == [*(one.id for one in SAMPLES), ""]
    for scan, soil in zip(found[:4], soils, strict=True):
        # The noise of a scan is below this but in the last, dim bands.
        np.testing.assert_allclose(scan.reflectance()[:450], soil[:450] * PANEL / 0.99, rtol=0.03)
    scans.close()


@pytest.mark.slow
def test_a_table_for_training_is_read_by_the_reader_of_training(
    store: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from ccnvr.train.libraries.own import files
    from ccnvr.train.libraries.sensor import View

    laboratory, out = tmp_path / "lab.csv", tmp_path / "soils.csv"
    laboratory.write_text(
        "sample,OC_g_kg,pH_H2O\n=Plot 1\u00e9,12.5,6.1\nPlot 2,30,5\nPlot 3,8,\nelsewhere,1,7\n",
        "utf-8",
    )
    done = run_ccnvr("export-data", store, "--out", out, "--laboratory", laboratory)
    assert done.returncode == 0, done.stderr
    assert "3 of 4 samples have values" in done.stderr
    assert "1 scans were left out: 1 were saturated" in done.stderr
    grid = Grid(1104.0, 4.0, 348)
    soils = files.read(out, "reflectance", View(grid), {})
    # A formula of a spreadsheet is made text; ids without the danger are as they were.
    assert [name.partition("/")[2] for name in soils.sample_ids[:3]] == [
        "'=Plot 1\u00e9",
        "Plot 2",
        "Plot 3",
    ]
    assert soils.properties == ("OC", "pH")
    np.testing.assert_array_equal(soils.values[0], [12.5, 6.1])
    assert np.isnan(soils.values[2, 1]) and np.isnan(soils.values[3]).all()
    scans = StoredScans(store)
    first = next(iter(scans))
    expected = np.interp(grid.wavelengths(), first.info.wavelengths_nm, first.reflectance())
    np.testing.assert_allclose(10.0 ** -soils.spectra[0], expected, rtol=1e-3)
    scans.close()


def test_without_values_no_prediction_passes_for_a_measured_value(
    store: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from ccnvr.firmware_bridge.errors import UsageError
    from ccnvr.train.libraries.own import files
    from ccnvr.train.libraries.sensor import View

    out = tmp_path / "soils.csv"
    assert run_ccnvr("export-data", store, "--out", out).returncode == 0
    (row, *_) = csv.DictReader(io.StringIO(out.read_text()))
    assert float(row["predicted OC"]) > 0.0 and row["layer.lower.depth_usda_cm"] == "10"
    with pytest.raises(UsageError):
        files.read(out, "reflectance", View(Grid(1104.0, 4.0, 348)), {})


def test_a_map_has_points_and_predictions(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.geojson"
    assert run_ccnvr("export-data", store, "--out", out).returncode == 0
    features = json.loads(out.read_text())["features"]
    assert [one["geometry"] and one["geometry"]["coordinates"] for one in features] == [
        None, [13.25, 52.5], [13.25, 52.5], [13.25, 52.5], None,
    ]  # fmt: skip
    told = features[1]["properties"]
    assert told["sample_id"] == "Plot 2" and told["accuracy_m"] == 3.0
    assert told["OC_low"] < told["OC"] < told["OC_high"] and told["OC_unit"] == "g/kg"
    assert told["verdict"] in ("ok", "laboratory") and told["reason"]


def test_a_geopackage_has_what_its_standard_requires(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.gpkg"
    assert run_ccnvr("export-data", store, "--out", out).returncode == 0
    with closing(sqlite3.connect(out)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (0x47504B47,)
        assert connection.execute("PRAGMA user_version").fetchone() == (10300,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        known = connection.execute("SELECT srs_id FROM gpkg_spatial_ref_sys").fetchall()
        assert {(-1,), (0,), (4326,)} <= set(known)
        (contents,) = connection.execute(
            "SELECT table_name, data_type, min_x, min_y, max_x, max_y, srs_id FROM gpkg_contents"
        ).fetchall()
        assert contents == ("samples", "features", 13.25, 52.5, 13.25, 52.5, 4326)
        (geometry,) = connection.execute("SELECT * FROM gpkg_geometry_columns").fetchall()
        assert geometry == ("samples", "geom", "POINT", 4326, 0, 0)
        rows = connection.execute("SELECT geom, sample_id, OC FROM samples ORDER BY fid").fetchall()
    assert [row[0] is None for row in rows] == [True, False, False, False, True]
    blob, name, value = rows[1]
    assert struct.unpack("<2sBBi", blob[:8]) == (b"GP", 0, 1, 4326)
    assert struct.unpack("<BIdd", blob[8:]) == (1, 1, 13.25, 52.5)
    assert name == "Plot 2" and isinstance(value, float)


def test_sensor_things_have_the_interval_as_quality(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.sta.jsonl"
    assert run_ccnvr("export-data", store, "--out", out).returncode == 0
    (thing,) = map(json.loads, out.read_text().splitlines())
    observations = next(
        stream["Observations"]
        for stream in thing["Datastreams"]
        if stream["ObservedProperty"]["definition"] == "urn:ccnvr:property:OC"
    )
    # The four samples, without the check sample, the replicate and the saturated scan.
    assert [one["parameters"].get("id") for one in observations] == [
        *(sample.id for sample in SAMPLES[:3]), None,
    ]  # fmt: skip
    for one in observations:
        assert one["resultQuality"]["low"] < one["result"] < one["resultQuality"]["high"]
        assert one["resultQuality"]["verdict"]["verdict"] in ("ok", "laboratory")


def test_jcamp_is_read_back(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.dx"
    assert run_ccnvr("export-data", store, "--out", out).returncode == 0
    scans = StoredScans(store)
    expected = [scan for scan in scans if not scan.scan.saturated]
    found = list(read_file(out))
    spectra = np.concatenate([table.spectra for table in found])
    assert len(spectra) == len(expected) == 4
    for spectrum, scan in zip(spectra, expected, strict=True):
        np.testing.assert_allclose(spectrum, scan.reflectance(), atol=1e-8)
    np.testing.assert_allclose(found[0].wavelengths_nm, expected[0].info.wavelengths_nm, rtol=1e-9)
    scans.close()


def test_what_cannot_be_exported_is_said(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.xyz"
    assert_one_sentence(run_ccnvr("export-data", store, "--out", out), 2, ".csv, .geojson")
    missing = run_ccnvr("export-data", tmp_path / "no.sqlite", "--out", tmp_path / "a.csv")
    assert_one_sentence(missing, 2, "there is no store")
    assert not (tmp_path / "no.sqlite").exists()
    nobody = run_ccnvr("export-data", store, "--out", tmp_path / "a.csv", "--instrument", "X")
    assert_one_sentence(nobody, 1, "holds no sample")
    laboratory = tmp_path / "lab.csv"
    laboratory.write_text("sample,OC_g_kg\na,1\na,2\n")
    twice = run_ccnvr("export-data", store, "--out", tmp_path / "a.csv", "--laboratory", laboratory)
    assert_one_sentence(twice, 2, "row 3", "stands in it twice")
    assert not (tmp_path / "a.csv").exists()


def test_history_is_predicted_beside_what_was_predicted(store: Path, model: ProvedModel) -> None:
    with closing(sqlite3.connect(store)) as connection:
        before = connection.execute("SELECT * FROM scans ORDER BY id").fetchall()
    first = run_ccnvr("repredict", store, NETWORK_BUNDLE, "--accept", "OC=9")
    assert first.returncode == 0, first.stderr
    assert "5 scans were predicted by" in first.stderr
    records = [json.loads(line) for line in first.stdout.splitlines()]
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("SELECT * FROM scans ORDER BY id").fetchall() == before
        rows = connection.execute(
            "SELECT s.predictions, r.predictions, s.flags, r.flags, s.verdict, r.verdict"
            " FROM repredictions r JOIN scans s USING (scan_id) ORDER BY s.id"
        ).fetchall()
    # The same bundle gives the same numbers, flags and verdicts, to the last bit.
    assert len(rows) == len(records) == 5
    for old, new, old_flags, new_flags, old_verdict, new_verdict in rows:
        assert (old, old_flags, old_verdict) == (new, new_flags, new_verdict)
    assert records[0]["bundle"] == model.bundle.digest and records[0]["sample"]["id"]
    again = run_ccnvr("repredict", store, NETWORK_BUNDLE)
    assert (
        "0 scans were predicted" in again.stderr and "5 more were predicted by it" in again.stderr
    )


def test_scans_of_an_earlier_version_borrow_the_statement_of_their_instrument(store: Path) -> None:
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("UPDATE scans SET instrument_id = NULL")
        # Earlier versions kept float64, and no checksum.
        for table in ("scans", "reference_scans"):
            rows = connection.execute(f"SELECT id, counts_format, counts FROM {table}").fetchall()
            for row, form, counts in rows:
                raw = decode(form, counts, SETTINGS.averages).astype("<f8").tobytes()
                connection.execute(
                    f"UPDATE {table} SET counts = ?, counts_format = NULL, checksum = NULL"
                    " WHERE id = ?",
                    (raw, row),
                )
        connection.execute("UPDATE reference_scans SET panel_reflectance = NULL")
        connection.commit()
    scans = StoredScans(store, panel=0.5)
    found = list(scans)
    assert len(found) == 5 and found[0].references is not None
    assert found[0].references.panel_reflectance == 0.5
    scans.close()
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("DELETE FROM instruments")
        connection.commit()
    scans = StoredScans(store)
    assert list(scans) == []
    assert "5 are of an instrument whose wavelengths the store does not know" in scans.report()
    scans.close()


@pytest.mark.slow
def test_a_store_that_a_daemon_uses_is_exported(
    simulator_process: Callable[..., str], tmp_path: Path
) -> None:
    url, path = simulator_process(), tmp_path / "s.sqlite"
    assert run_ccnvr("run", "--instrument", url, "--store", path, "--count", 2).returncode == 0
    owner = Store(path, owner=True)
    done = run_ccnvr("export-data", path, "--out", tmp_path / "a.csv")
    owner.close()
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_scans_that_the_store_holds_already_are_counted_as_such(
    simulator_process: Callable[..., str], tmp_path: Path
) -> None:
    arguments = ("--store", tmp_path / "s.sqlite", "--count", 2)
    first = run_ccnvr("run", "--instrument", simulator_process(), *arguments)
    assert "2 scans predicted; " in first.stderr and first.stdout.count("\n") == 2
    # An equal instrument gives equal scans under equal ids, as a replayed recording does.
    again = run_ccnvr("run", "--instrument", simulator_process(), *arguments, "--new-references")
    assert again.returncode == 0, again.stderr
    assert "2 scans predicted, 2 of them in the store already" in again.stderr
    assert again.stdout == ""
