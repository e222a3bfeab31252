"""Tolerances as a user states them: in the configuration, to `run` and to `predict`."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ccnvr.edge.daemon import config
from ccnvr.firmware_bridge.errors import UsageError
from tests.support.helpers import assert_one_sentence, run_ccnvr


@pytest.mark.slow
def test_the_daemon_stores_and_streams_the_verdict_of_its_configuration(
    simulator_process: Callable[..., str], soils_csv: Path, tmp_path: Path
) -> None:
    store, settings = tmp_path / "s.sqlite", tmp_path / "ccnvr.toml"
    settings.write_text(
        f'[instrument]\nurl = "{simulator_process("--spectra", soils_csv)}"\n'
        f'[store]\npath = "{store}"\n[accept]\nOC = 9\npH = 1\n'
    )
    # What is given on the command line comes on top of the file, property by property.
    result = run_ccnvr("run", "-c", settings, "--count", 4, "--accept", "clay=1")
    assert result.returncode == 0, result.stderr
    verdicts = [json.loads(line)["verdict"] for line in result.stdout.splitlines()]
    for verdict in verdicts:
        assert list(verdict["properties"]) == ["OC", "pH", "clay"]
        assert verdict["sample"] == "laboratory"
        assert verdict["properties"]["pH"]["verdict"] == "ok"
        assert "clay: +-" in verdict["reason"] and "pH" not in verdict["reason"]
    assert {verdict["properties"]["OC"]["verdict"] for verdict in verdicts} == {"ok", "laboratory"}
    with closing(sqlite3.connect(store)) as connection:
        rows = connection.execute("SELECT verdict FROM scans ORDER BY id").fetchall()
    assert [json.loads(text) for (text,) in rows] == verdicts


@pytest.mark.slow
def test_without_a_tolerance_the_verdict_is_null(
    simulator_process: Callable[..., str], tmp_path: Path
) -> None:
    url = simulator_process()
    result = run_ccnvr("run", "--instrument", url, "--store", tmp_path / "s.sqlite", "--count", 1)
    assert json.loads(result.stdout)["verdict"] is None


def test_files_have_a_verdict_for_each_spectrum(soils_csv: Path) -> None:
    result = run_ccnvr("predict", "default", soils_csv, "--accept", "OC=9")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {row["verdict"] for row in rows} == {"ok", "laboratory"}
    for row in rows:
        half = (float(row["OC (g/kg) high"]) - float(row["OC (g/kg) low"])) / 2.0
        assert (row["verdict"] == "ok") == (half <= 9.0), row
        assert row["reason"].startswith("OC: +-")
    (line, *_) = run_ccnvr(
        "predict", "default", soils_csv, "--accept", "OC=9", "--json"
    ).stdout.splitlines()
    assert json.loads(line)["verdict"]["sample"] == rows[0]["verdict"]
    assert "verdict" not in run_ccnvr("predict", "default", soils_csv).stdout


@pytest.mark.parametrize("words", ["OC", "OC=", "=3", "OC=x", "OC=0", "OC=-1", "OC=nan"])
def test_a_tolerance_that_is_none_is_refused(words: str, soils_csv: Path) -> None:
    result = run_ccnvr("predict", "default", soils_csv, f"--accept={words}")
    assert_one_sentence(result, 2, "--accept")


def test_a_property_that_no_model_predicts_is_refused_at_the_start(
    soils_csv: Path, tmp_path: Path
) -> None:
    result = run_ccnvr("predict", "default", soils_csv, "--accept", "carbon=3")
    assert_one_sentence(result, 2, "carbon", "predicts OC")
    started = run_ccnvr(
        "run", "--instrument", "sim://", "--store", tmp_path / "s", "--accept", "carbon=3"
    )
    assert_one_sentence(started, 2, "carbon", "predicts OC")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("line", ["OC = 0", "OC = -3", 'OC = "3"', "OC = nan", "OC = [3]"])
def test_a_configuration_with_an_impossible_tolerance_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "ccnvr.toml"
    path.write_text(f'[instrument]\nurl = "sim://"\n[accept]\n{line}\n')
    with pytest.raises(UsageError, match=r"accept\.OC"):
        config.load(path, {})
