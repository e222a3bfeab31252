"""`make test-c`: the C reference with warnings, sanitizers, vectors, fuzz corpus and branches."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ccnvr.firmware_bridge.schema import schema

C = Path(schema.__file__).parents[1] / "c"


@pytest.mark.slow
def test_the_c_reference_passes_its_own_tests(c_build: Path) -> None:
    command = ["make", "-C", str(C), "test", f"BUILD={c_build}", "CHANGES=5000"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(re.findall(r"^[1-9]\d+ checks, 0 failed$", result.stdout, re.MULTILINE)) == 2
    assert (
        len(re.findall(r"^[1-9]\d* inputs and 5000 changed ones$", result.stdout, re.MULTILINE))
        == 2
    )
    assert "ccnvr_frame.c branches taken 100.00 %" in result.stdout
