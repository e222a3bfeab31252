"""The moisture study on a small scale: EPO repairs a failing model, and no soil leaks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.metrics import Accuracy
from ccnvr.train.libraries import downloads
from ccnvr.train.libraries.published.r_packages import MOISTURE, MoistureStates, read_moisture
from ccnvr.train.studies import moisture as moisture_study
from ccnvr.train.studies.moisture import GRID, RECIPE, ccnvr, plsr, study


@pytest.fixture(scope="module")
def soils() -> MoistureStates:
    if downloads.present(MOISTURE) is None:
        pytest.skip(f"{MOISTURE.name} is not at hand")
    return read_moisture(GRID)


def test_wetter_soils_are_darker_most_of_all_in_water_s_band(soils: MoistureStates) -> None:
    water = int(np.argmin(np.abs(GRID.wavelengths() - 1940.0)))
    assert (
        soils.air_dry[:, water].mean() < soils.drying[:, water].mean() < soils.wet[:, water].mean()
    )


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
    """The method only remembers which soils it was shown; `seen` holds the pairs of corrections."""
    predicted: list[tuple[set[bytes], set[bytes]]] = []

    def remember(
        spectra: np.ndarray, carbon: np.ndarray, correction: Correction | None, seed: int
    ) -> moisture_study.Predict:
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
        for state in soils.by_state.values()
        for row, spectrum in enumerate(state)
    }
    study(soils, remember, candidates=(1, 2))
    # 5 folds x (3 inner folds x 2 candidates x 2 states, and 3 states without EPO and with it).
    assert len(predicted) == 5 * (3 * 2 * 2 + 2 * 3)
    assert all(not shown & asked for shown, asked in predicted)
