"""The family of default bundles: one is chosen by the bands of an instrument or of a file."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle import family
from ccnvr.edge.bundle.family import FamilyMember
from ccnvr.edge.bundle.manifest import PLACES, Card
from ccnvr.edge.chemometrics.grid import Grid, WavelengthError
from ccnvr.firmware_bridge.errors import UsageError
from tests.support.helpers import NETWORK_FILE, assert_one_sentence, run_ccnvr


def member(name: str, grid: Grid, **r2: float) -> FamilyMember:
    """A member with this grid and this accuracy; the rest is that of a real bundle."""
    manifest = bundles.read(NETWORK_FILE).manifest
    return FamilyMember(
        name,
        dataclasses.replace(
            manifest,
            preprocessing=dataclasses.replace(
                manifest.preprocessing, grid=grid, channels=manifest.preprocessing.channels[:1]
            ),
            card=Card(training={"instruments": f"the {name} kind", PLACES: {"r2": r2}}),
        ),
    )


FAMILY = (
    member("broad", Grid(420.0, 10.0, 200), OC=0.6, pH=0.5),
    member("near", Grid(1100.0, 10.0, 130), OC=0.7, pH=0.5),
    member("poor", Grid(1500.0, 10.0, 60), OC=0.5),
    member("single", Grid(wavelengths_nm=(410.0, 500.0, 900.0)), OC=0.4),
)


@pytest.fixture
def small_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family, "members", lambda: FAMILY)


@pytest.mark.usefixtures("small_family")
def test_the_best_of_those_that_serve_the_bands_is_chosen() -> None:
    assert family.choose(np.arange(400.0, 2500.0)).name == "near"
    assert family.choose(np.arange(1490.0, 2200.0, 5.0)).name == "poor"
    assert family.choose(np.array([412.0, 503.0, 700.0, 899.0])).name == "single"
    # Properties count as much as accuracy: .6 + .5 is more than .7.
    assert FAMILY[0].score == pytest.approx(1.1)


@pytest.mark.usefixtures("small_family")
def test_an_instrument_that_none_serves_is_told_where_the_ranges_are_listed() -> None:
    with pytest.raises(WavelengthError) as refusal:
        family.choose(np.linspace(365.0, 939.2, 10))
    words = str(refusal.value)
    assert "10 bands of 365.0-939.2 nm, up to 63.8 nm apart" in words
    assert "ccnvr inspect default" in words
    assert words.count("\n") == 0
    # In another unit, the unit is the trouble.
    with pytest.raises(WavelengthError, match="these look like micrometres"):
        family.choose(np.arange(0.4, 2.5, 0.01))
    with pytest.raises(WavelengthError, match="must be two or more increasing numbers"):
        family.choose(np.array([500.0, 400.0]))


def test_each_of_the_family_can_be_named() -> None:
    for one in family.members():
        bundle = bundles.read(one.source)
        assert (bundle.source, bundle.manifest) == (one.source, one.manifest)
    names = ", ".join(one.source for one in family.members())
    for name in ("default", "default:", "default:none", "default:../pyproject"):
        with pytest.raises(UsageError, match="is not one bundle of the default family") as refusal:
            bundles.read(name)
        assert names in str(refusal.value)


def test_the_list_of_the_family() -> None:
    text = run_ccnvr("inspect", "default").stdout
    data = json.loads(run_ccnvr("inspect", "default", "--json").stdout)
    assert [row["name"] for row in data] == [one.name for one in family.members()]
    for one in family.members():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{one.name} ")]
        assert one.needs in line and one.instruments in line
    assert_one_sentence(run_ccnvr("inspect", "default:none"), 2, "name one of default:")
