"""The moisture study, small: EPO must turn a failing model into a useful one, and no soil may stand on both sides."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.correction import Correction
from ccnvr.edge.limesoda import DataError
from ccnvr.edge.metrics import Accuracy
from ccnvr.edge.preprocess import Grid
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train import moisture_study
from ccnvr.train.moisture_study import GRID, RECIPE, ccnvr, plsr, study
from ccnvr.train.r_packages import MoistureStates, read_moisture


@pytest.fixture(scope="module")
def soils() -> MoistureStates:
    folder = os.environ.get("CCNVR_DATA", "")
    if not folder or not (Path(folder) / "datEPO.rda").exists():
        pytest.skip("CCNVR_DATA names no folder with datEPO.rda")
    return read_moisture(Path(folder), GRID)


def test_the_moisture_set_is_read_from_the_r_package_s_own_file(soils: MoistureStates, tmp_path: Path) -> None:
    assert soils.air_dry.shape == soils.drying.shape == soils.wet.shape == (100, GRID.bands)
    np.testing.assert_allclose(soils.total_carbon[:3], [1.8, 26.4, 17.6])
    # Water darkens soil, most of all at 1,940 nm.
    water = int(np.argmin(np.abs(GRID.wavelengths() - 1940.0)))
    assert soils.air_dry[:, water].mean() < soils.drying[:, water].mean() < soils.wet[:, water].mean()
    with pytest.raises(UsageError, match=r"datEPO\.rda cannot be read"):
        read_moisture(tmp_path, GRID)
    (tmp_path / "datEPO.rda").write_bytes(b"other")
    with pytest.raises(DataError, match="sha256 dd0def326676"):
        read_moisture(tmp_path, Grid(400.0, 10.0, 50))


def r2(figures: Accuracy) -> float:
    assert figures.r2 is not None
    return figures.r2


def test_epo_repairs_plsr_on_wet_soils(soils: MoistureStates) -> None:
    outcome = study(soils, plsr, candidates=(2, 4), inner_folds=2)
    assert r2(outcome.without_epo["air-dry"]) > 0.6
    assert r2(outcome.without_epo["wet"]) < 0.0
    assert r2(outcome.with_epo["wet"]) > 0.5
    assert set(outcome.components) <= {2, 4}
    shown = moisture_study.table({"PLSR": outcome})
    assert "EPO components chosen in each fold" in shown
    assert f"{r2(outcome.with_epo['wet']):.2f}" in shown


def test_epo_helps_a_small_ccnvr_on_wet_soils(soils: MoistureStates) -> None:
    quick = dataclasses.replace(RECIPE, fit=dataclasses.replace(RECIPE.fit, epochs=40))
    outcome = study(soils, ccnvr(quick), folds=3, inner_folds=2, candidates=(4,))
    assert r2(outcome.with_epo["wet"]) > max(r2(outcome.without_epo["wet"]) + 0.3, 0.3)


def test_no_soil_is_fitted_to_and_predicted(soils: MoistureStates) -> None:
    """A method that only remembers which soils it was shown, and sees every correction's pairs through `seen`."""
    predicted: list[tuple[set[bytes], set[bytes]]] = []

    def remember(spectra: np.ndarray, carbon: np.ndarray, correction: Correction | None, seed: int) -> moisture_study.Predict:
        shown = {spectrum.tobytes() for spectrum in spectra}
        assert shown <= dry
        assert len(shown) == len(carbon)

        def predict(others: np.ndarray) -> np.ndarray:
            predicted.append((shown, {soil_of[spectrum.tobytes()] for spectrum in others}))
            return np.full(len(others), carbon.mean())

        return predict

    dry = {spectrum.tobytes() for spectrum in soils.air_dry}
    soil_of = {
        spectrum.tobytes(): soils.air_dry[row].tobytes()
        for state in (soils.air_dry, soils.drying, soils.wet)
        for row, spectrum in enumerate(state)
    }
    study(soils, remember, candidates=(1, 2))
    # 5 folds x (3 inner folds x 2 candidates x 2 states, and 3 states without EPO and with it).
    assert len(predicted) == 5 * (3 * 2 * 2 + 2 * 3)
    assert all(not shown & asked for shown, asked in predicted)
