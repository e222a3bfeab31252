"""Records as a table on a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ccnvr.edge.quality.checks import OK
from ccnvr.edge.streams.record_table import HEADER_EVERY, RecordTable
from tests.support.helpers import CCNVR


def estimate(
    value: float, half: float, unit: str = "g/kg", places: str = "known"
) -> dict[str, Any]:
    return {
        "value": value, "unit": unit, "low": value - half, "high": value + half, "places": places,
    }  # fmt: skip


def record(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "scan_id": "SIM-512-1-3",
        "time": "2026-11-23T05:58:33.993+00:00",
        "instrument": "SIM-512",
        "predictions": {"OC": estimate(34.002, 12.25), "pH": estimate(5.617, 0.935, "pH")},
        "flags": [],
        "verdict": None,
    }
    return found | changes


def test_values_are_rounded_to_what_their_interval_means() -> None:
    legend, header, row = RecordTable().lines(record())
    assert legend.startswith("± half the 90 % interval") and len(legend) < 80
    assert header.split() == ["time", "sample", "OC", "g/kg", "pH"]
    assert row.split()[1:] == ["3", "34", "±", "12", "5.6", "±", "0.9"]
    assert row.index("12") + 2 == header.index("g/kg") + 4
    assert len(row) == len(header)


def test_flags_are_words_and_a_long_row_is_wrapped() -> None:
    flags = ["out_of_domain:Q", "out_of_domain:T2", "pH:noisy", "some:thing", "\x1b[2J"]
    table = RecordTable(width=60)
    *_, row, notes = table.lines(record(flags=flags, sample={"id": "Plot 7"}))
    assert "Plot 7" in row
    assert notes.strip() == "unlike known soils, pH noisy, some:thing, \\x1b[2J"


def test_a_scan_without_numbers_keeps_the_columns() -> None:
    table = RecordTable()
    list(table.lines(record()))
    (row,) = table.lines(record(predictions={}, flags=["rescan:saturated"]))
    assert row.split()[2:] == ["-", "-", "saturated"]
    # A record that the store could not read has no time that can be shown.
    (row,) = table.lines(record(predictions={}, flags=["rescan:damaged_record"], time="?"))
    assert row.startswith("- ")


def test_the_verdict_has_a_column_and_its_reason_a_line() -> None:
    table = RecordTable(width=80)
    _, header, row = table.lines(record(verdict={"sample": OK, "reason": "x", "properties": {}}))
    assert "verdict" in header and " ok " in row
    reason = "OC: +-12 g/kg is more than the accepted 3"
    verdict = {"sample": "laboratory", "reason": reason, "properties": {}}
    row, below = table.lines(record(verdict=verdict))
    assert " laboratory " in row and below.strip() == reason


def test_the_header_comes_again_and_the_wide_interval_is_marked() -> None:
    table = RecordTable(plus_minus="+-")
    marked = record(predictions={"OC": estimate(34.0, 12.25, places="new")})
    counts = [len(list(table.lines(marked))) for _ in range(HEADER_EVERY + 1)]
    assert counts == [3] + [1] * (HEADER_EVERY - 1) + [2]
    assert "34 +- 12*" in next(iter(table.lines(marked)))


@pytest.mark.parametrize(
    ("low", "value", "high", "cell"),
    [
        (0.0, 0.2, 40.4, "0 (0-40)"),
        (59.6, 98.0, 100.0, "100 (60-100)"),
        (2.7, 9.8, 29.8, "10 (3-30)"),
        (0.13, 1.0, 2.53, "1.0 (0.1-2.5)"),
        (11.8, 49.8, 87.9, "50 ± 40"),
        (4.13, 5.7, 7.28, "5.7 ± 1.6"),
        (-1.0, 0.0, 8.0, "0 (-1 to 8)"),
    ],
)
def test_an_interval_that_lies_unevenly_is_shown_by_its_ends(
    low: float, value: float, high: float, cell: str
) -> None:
    one = {"value": value, "unit": "%", "low": low, "high": high, "places": "known"}
    *_, row = RecordTable().lines(record(predictions={"clay": one}))
    assert row[26:].strip() == cell


def test_a_mean_without_a_name_is_shown_by_its_first_number() -> None:
    *_, row = RecordTable().lines(record(scan_id="SIM-512-1-3-mean"))
    assert row.split()[1] == "3"


def _on_a_terminal(command: list[str]) -> str:
    """Run a command whose standard output is a terminal; return what it shows there."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(command, stdout=terminal, stderr=subprocess.PIPE, text=True)
    os.close(terminal)
    shown = b""
    while select.select([controller], [], [], 60)[0]:
        try:
            shown += os.read(controller, 4096)
        except OSError:  # the other end is closed
            break
    os.close(controller)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return shown.decode()


@pytest.mark.slow
def test_a_terminal_gets_a_table_and_a_pipe_gets_json(
    simulator_process: Callable[..., str], soils_csv: Path, tmp_path: Path
) -> None:
    url = simulator_process("--spectra", soils_csv)
    command = [*CCNVR, "run", "--instrument", url, "--count", "2", "--store"]
    shown = _on_a_terminal([*command, str(tmp_path / "a.sqlite"), "--accept", "OC=9"])
    _, header, *rows = shown.splitlines()
    assert header.split()[:3] == ["time", "sample", "verdict"]
    assert [row.split()[1] for row in rows if row[0] != " "] == ["3", "4"]
    as_json = _on_a_terminal([*command, str(tmp_path / "b.sqlite"), "--json"])
    for line in as_json.splitlines():
        assert json.loads(line)["predictions"]["OC"]["unit"] == "g/kg"
