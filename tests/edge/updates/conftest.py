"""The bundle that serves the instrument of the tests of updates."""

from __future__ import annotations

from pathlib import Path

import pytest

from ccnvr.edge.bundle import archive, family
from ccnvr.firmware_bridge.connect.registry import open_instrument


@pytest.fixture
def bundle() -> Path:
    """The bundle of the family that serves the simulated handheld."""
    instrument = open_instrument("sim://?pace=0")
    try:
        name = family.choose(instrument.identify().wavelengths_nm).name
    finally:
        instrument.close()
    return Path(archive.__file__).parents[1] / "models" / f"{name}.ccnvr"
