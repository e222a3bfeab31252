"""The crash table with small numbers: every promise holds under every cause."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.support.helpers import ROOT


@pytest.mark.slow
def test_a_small_crash_table_keeps_its_promises() -> None:
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    few = {"kills": 3, "unplugs": 2, "dips": 3, "damages": 1, "locked-s": 3, "clock-s": 300}
    numbers = [f"--{name}={value}" for name, value in few.items()]
    result = subprocess.run(
        [sys.executable, "-m", "tools.crash_table", "--seed", "2", *numbers],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    rows = result.stdout.splitlines()[2:]
    assert len(rows) == 9, result.stderr
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        scans, lost, twice, other_boot = cells[2:6]
        assert int(scans) > 3 and (twice, other_boot) == ("0", "0"), row
        # A damaged record whose scan the instrument has forgotten is the one loss, and is told.
        assert lost in (("0", "1 (1 told)") if "record" in row else ("0",)), row
        assert "passed as fresh" not in row
