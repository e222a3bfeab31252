"""`ccnvr bench` times any model, with an instrument that has the bands of that model."""

from __future__ import annotations

import numpy as np
import pytest

from ccnvr.edge.benchmark.stages import simulated_bands, stage_milliseconds
from ccnvr.edge.bundle import family
from ccnvr.edge.chemometrics.grid import Grid, check_wavelengths
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.firmware_bridge.simulators.handheld import pixel_wavelengths
from tests.support.wrong_use import refused

# Its range is a whole multiple of the widest gap, where rounding could make one too wide.
INFRARED = Grid(start_nm=2_500.0, step_nm=6.0, bands=2_499)


@pytest.mark.parametrize(
    "grid",
    [*(member.manifest.preprocessing.grid for member in family.members()), INFRARED],
    ids=[*(member.name for member in family.members()), "infrared"],
)
def test_the_simulated_bands_suit_the_model(grid: Grid) -> None:
    check_wavelengths(simulated_bands(grid), grid)


def test_the_handheld_is_simulated_where_it_suits() -> None:
    (nir,) = (one for one in family.members() if one.name == "nir")
    bands = simulated_bands(nir.manifest.preprocessing.grid)
    assert np.array_equal(bands, pixel_wavelengths())


@pytest.mark.parametrize("bundle", ["default:asd", "default:as7265x"])
def test_stages_of_a_model_that_the_handheld_does_not_suit(bundle: str) -> None:
    stages = stage_milliseconds(ProvedModel(bundle, "numpy"), 1)
    assert list(stages) == [
        "decode frames",
        "preprocessing",
        "inference",
        "counts to prediction",
        "commit to the store",
    ]
    assert all(taken > 0.0 for taken in stages.values())


@pytest.mark.parametrize(
    ("command", "bundle"),
    [("bench --profile int8", "default"), ("bench default:asd --profile weights", "default:asd")],
)
def test_a_profile_that_the_default_models_lack(
    command: str, bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, command)
    assert f"bundle {bundle} has model.fp32." in said
    assert "the default models have profile fp32 only, so leave the profile out" in said
