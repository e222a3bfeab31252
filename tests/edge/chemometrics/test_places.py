"""Two intervals: one for soils like those known, one for soils that may be from new places."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ccnvr.edge.batch.rows import as_csv
from ccnvr.edge.bundle.card_text import describe
from ccnvr.edge.bundle.manifest import Manifest, parse
from ccnvr.edge.chemometrics import domain as domains
from ccnvr.edge.chemometrics.domain import Domain, DomainShape
from ccnvr.edge.chemometrics.domain_distances import Position
from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.chemometrics.targets import KNOWN, NEW, Difficulty, Target
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.spectrum_files import limesoda
from tests.support.estimates import estimate, half_width
from tests.support.helpers import NETWORK_BUNDLE

SURE, UNSURE = Position(0, 0.2, True), Position(0, 0.8, False)
TARGET = Target("pH", "pH", "identity", 6.0, 1.0, 4.0, 9.0, 0.5, half_width_90_new_places=0.8)


def test_only_soils_that_are_sure_have_the_interval_of_known_places() -> None:
    assert [half_width(TARGET, 0.0, where) for where in (SURE, UNSURE)] == [0.5, 0.8]
    sure, unsure = estimate(TARGET, 0.0, 0.5, SURE), estimate(TARGET, 0.0, 0.8, UNSURE)
    assert (sure.places, sure.low, sure.high) == (KNOWN, 5.5, 6.5)
    assert (unsure.places, unsure.low, unsure.high) == (NEW, 5.2, 6.8)
    # Without a domain nothing is sure.
    assert half_width(TARGET, 0.0) == 0.8
    assert estimate(TARGET, 0.0, 0.5).places == NEW
    # A difficult soil's interval does not shrink because its place may be new.
    hard = dataclasses.replace(TARGET, difficulty=Difficulty(np.log(3.0), 0.0, 0.0, (0.0,), 8.0))
    halves = [half_width(hard, 0.0, where) for where in (SURE, UNSURE)]
    assert halves == pytest.approx([1.5, 1.5])


def test_bins_of_the_output_widen_the_interval_and_reach_limits_it() -> None:
    difficulty = Difficulty(
        0.0, 0.0, 0.0, (), reach=8.0, edges=(0.0, 1.0), by_bin=(0.0, float(np.log(2.0)), 5.0)
    )
    assert difficulty.factor(np.array([-1.0, 0.0, 0.5, 1.0])) == pytest.approx([1, 2, 2, 8])
    # Bundles from before there was a reach.
    assert Difficulty(9.0, 0.0, 0.0, (0.0,)).reach == 2.0
    for wrong in ({"edges": (1.0, 0.0)}, {"by_bin": (0.0,)}, {"reach": 0.5}, {"reach": 200.0}):
        with pytest.raises(ValueError, match="difficult"):
            dataclasses.replace(difficulty, **wrong)
    for width in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="half_width_90_new_places"):
            dataclasses.replace(TARGET, half_width_90_new_places=width)
    with pytest.raises(ValueError, match="beside half_width_90"):
        dataclasses.replace(TARGET, half_width_90=None)


@pytest.fixture(scope="module")
def model() -> ProvedModel:
    return ProvedModel(NETWORK_BUNDLE, engine="numpy")


def _manifest(model: ProvedModel) -> Manifest:
    manifest = model.bundle.manifest
    assert manifest.domain is not None
    strict = DomainShape(13, 5, 2, ("A",), false_alarms=0.25, slope=True)
    targets = tuple(
        dataclasses.replace(target, half_width_90_new_places=4.0) for target in manifest.targets
    )
    domain = dataclasses.replace(manifest.domain, strict=strict)
    return dataclasses.replace(manifest, targets=targets, domain=domain)


def _strict(shape: DomainShape, grid: Grid, limit: float) -> Domain:
    """A strict domain about a spectrum without any slope, of a width that is given."""
    bands = -(-grid.bands // shape.every)
    return Domain(
        shape,
        means=np.zeros((1, 1, bands)),
        loadings=np.zeros((1, 1, 2, bands)),
        variances=np.ones((1, 1, 2)),
        limits=np.full((1, 1, 2), limit),
    )


@pytest.mark.parametrize(("limit", "places"), [(1e-6, NEW), (1e6, KNOWN)])
def test_a_predictor_shows_the_interval_for_new_places_unless_it_is_sure(
    model: ProvedModel, limit: float, places: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = model.bundle.manifest.preprocessing.grid
    published = limesoda.load("UL.120")
    wavelengths, soils = published.wavelengths_nm, absorbance(published.reflectance[:8])
    before = model.bind(wavelengths).batch(soils)
    # Bundles without intervals for new places are as they were.
    assert {one.places for prediction in before for one in prediction.values()} == {KNOWN}
    today, manifest = model.bundle.manifest.targets, _manifest(model)
    assert model.domain is not None and manifest.domain is not None
    assert manifest.domain.strict is not None
    strict = _strict(manifest.domain.strict, grid, limit)
    with_strict = dataclasses.replace(model.domain, shape=manifest.domain, strict=strict)
    monkeypatch.setattr(model, "bundle", dataclasses.replace(model.bundle, manifest=manifest))
    monkeypatch.setattr(
        model,
        "domain",
        domains.read(with_strict.to_bytes(), manifest.domain, grid),
    )
    after = Predictor(model, wavelengths).batch(soils)
    rows: list[tuple[str, Prediction]] = []
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        if not any(flag.startswith("out_of_domain") for flag in old.flags):
            assert {one.places for one in new.values()} == {places}
        for name in old:
            if new[name].places == KNOWN:
                assert new[name] == old[name]
            else:
                assert new[name].value == old[name].value
                low, high, wide = old[name].low, old[name].high, new[name]
                assert low is not None and high is not None and wide.high is not None
                assert wide.high - (wide.low or 0.0) > high - low
        rows.append((str(number), new))
    header, *lines = as_csv(rows, manifest.targets).splitlines()
    assert header.endswith(",places,flags") and any(f",{places}," in line for line in lines)
    assert ",places," not in as_csv(rows, today)


def test_the_card_says_both_widths_and_the_manifest_keeps_them(model: ProvedModel) -> None:
    manifest = _manifest(model)
    assert parse(manifest.to_json()) == manifest
    lines = list(describe(dataclasses.replace(model.bundle, manifest=manifest), "", None))
    assert any("at least +-57 g/kg where the place may be new" in line for line in lines)
    assert any(
        "about 75% of soils like them are found to be surely of known places" in line
        for line in lines
    )
    today = "\n".join(describe(model.bundle, "", None))
    assert "place may be new" not in today and "surely of known" not in today
    assert "0.5 to 2 times that for others" in today
    assert "half_width_90_new_places" not in model.bundle.manifest.to_json()
