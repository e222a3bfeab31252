"""How many soils each tolerance sends to the laboratory, as a bundle's card or calibration says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.bundle.accept_curve import (
    HALF_WIDTHS,
    SHARES,
    HalfWidths,
    accept_table,
    half_widths_of,
    in_unit,
    quantiles_of,
)
from ccnvr.edge.bundle.manifest import Manifest
from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.quality.verdict import larger_half
from ccnvr.edge.spectrum_files import limesoda
from tests.support.helpers import assert_one_sentence, run_ccnvr

STATED = [float(number) for number in range(21)]


def stating(manifest: Manifest, entry: object) -> Manifest:
    training = {**manifest.card.training, HALF_WIDTHS: {"OC": entry}}
    return dataclasses.replace(manifest, card=dataclasses.replace(manifest.card, training=training))


def test_what_a_card_states_counts(model: ProvedModel) -> None:
    manifest = stating(
        model.bundle.manifest, {"known": STATED, "new": [2.0 * one for one in STATED]}
    )
    curve = half_widths_of(manifest)[0]
    assert not curve.estimated
    assert curve.to_laboratory(5.0) == pytest.approx(0.75)
    assert curve.to_laboratory(5.0, new=True) == pytest.approx(0.875)
    assert (curve.to_laboratory(30.0), curve.to_laboratory(-1.0)) == (0.0, 1.0)
    assert curve.tolerance_for(0.75) == pytest.approx(5.0)
    table = list(accept_table(manifest))
    assert table[1].split() == ["90%", "75%", "50%", "25%", "10%", "none"]
    assert table[2].split() == ["OC,", "g/kg", "2", "5", "10", "15", "18", "20"]
    assert table[3].split() == [
        "OC,",
        "new",
        "places,",
        "g/kg",
        *["4", "10", "20", "30", "36", "40"],
    ]


@pytest.mark.parametrize(
    "entry", [None, [1.0], {"known": STATED[:-1]}, {"known": STATED[::-1]}, {"known": ["x"] * 21}]
)
def test_a_card_that_states_nonsense_is_estimated(model: ProvedModel, entry: object) -> None:
    assert half_widths_of(stating(model.bundle.manifest, entry))[0].estimated


def test_the_estimate_is_near_what_real_soils_get(model: ProvedModel) -> None:
    pytest.importorskip("LimeSoDa")
    halves: dict[str, list[float]] = {}
    for name in limesoda.VISNIR_SETS:
        soils = limesoda.load(name)
        predictions = model.bind(soils.wavelengths_nm).batch(absorbance(soils.reflectance))
        for prediction in predictions:
            for property_name, estimate in prediction.items():
                halves.setdefault(property_name, []).append(larger_half(estimate) or 0.0)
    for curve in half_widths_of(model.bundle.manifest):
        assert curve.estimated
        # These sets are half of its soils, and not a sample of all.
        assert curve.tolerance_for(0.5) == pytest.approx(np.median(halves[curve.name]), rel=0.35)


def test_the_larger_half_is_in_the_unit_of_the_property() -> None:
    target = Target("OC", "g/kg", "log1p", 2.0, 0.5, 0.0, 100.0, 1.0)
    outputs, halves = np.array([0.0]), np.array([1.0])
    assert in_unit(target, outputs, halves)[0] == pytest.approx(np.expm1(2.5) - np.expm1(2.0))
    found = quantiles_of(np.arange(101.0))
    assert len(found) == len(SHARES) and found[10] == 50.0


def test_a_bundle_without_intervals_has_no_table(model: ProvedModel) -> None:
    targets = tuple(
        dataclasses.replace(target, half_width_90=None, difficulty=None)
        for target in model.bundle.manifest.targets
    )
    assert list(accept_table(dataclasses.replace(model.bundle.manifest, targets=targets))) == []


@pytest.mark.slow
def test_the_curve_is_drawn(model: ProvedModel, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "curve.png"
    result = run_ccnvr("inspect", model.bundle.source, "--accept-curve", path)
    assert result.returncode == 0, result.stderr
    assert path.read_bytes().startswith(b"\x89PNG") and "goes to the" not in result.stderr
    assert "so many soils go to the laboratory" in result.stdout
    refused = run_ccnvr("inspect", "default", "--accept-curve", path)
    assert_one_sentence(refused, 2, "of one bundle")


def test_a_curve_of_equal_widths_is_a_step() -> None:
    curve = HalfWidths("OC", "g/kg", (3.0,) * 21, None, estimated=False)
    assert curve.to_laboratory(2.9) == 1.0
    assert curve.to_laboratory(3.1) == 0.0
    # What no interval exceeds sends no soil in.
    assert curve.to_laboratory(3.0) == 0.0
