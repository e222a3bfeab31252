"""The moisture study: whether EPO makes a model of air-dry soils work on wet ones.

The soils are those of Minasny et al. 2011 (Geoderma 167:118-124). The study is cross-validated over
soils, so a soil's wet and dry spectra are never on both sides. Models see air-dry spectra only. EPO
sees the dry and moist spectra of the training soils, and the number of its components is chosen
inside the training part. The geeves library holds the same soils under other numbers. The two could
not be matched by spectrum or carbon, so it is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.cross_decomposition import PLSRegression
from sklearn.model_selection import KFold, cross_val_predict

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.metrics import Accuracy, accuracy
from ccnvr.edge.chemometrics.preprocess import Channel
from ccnvr.edge.network.shape import Convolution, NetworkShape
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.libraries.published.r_packages import MoistureStates, read_moisture
from ccnvr.train.libraries.standards import Pairs, fit_epo
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.rounds import Fit
from ccnvr.train.recipe.settings import Augmentation

Predict = Callable[[Array], Array]

GRID = Grid(400.0, 10.0, 206)

RECIPE = TrainingRecipe(
    name="moisture",
    libraries=("moisture",),
    tests=(),
    folds=5,
    grid=GRID,
    channels=(Channel(snv=False), Channel(), Channel(window=5, polyorder=2, deriv=1)),
    network=NetworkShape(
        convolutions=(
            Convolution(filters=16, kernel=9, pool=4),
            Convolution(filters=32, kernel=5, pool=4),
        ),
        hidden=32,
        dense=32,
    ),
    fit=Fit(
        epochs=100,
        batch_size=16,
        learning_rate=3e-3,
        weight_decay=0.05,
        augmentation=Augmentation(slope=0.02, noise=0.0005, input_shift=0.05),
    ),
    # A logarithm, because few soils hold most of the carbon (see `_choose`).
    transforms={"OC": "log1p"},
)
"""The recipe of a small CCNVR for 100 soils, in which total carbon takes the place of OC."""


class MoistureMethod(Protocol):
    """A function that fits a model to spectra and carbon."""

    def __call__(
        self, spectra: Array, carbon: Array, correction: Correction | None, seed: int
    ) -> Predict:
        """Fit a model and return its prediction.

        Args:
            spectra: absorbance `(n, bands)`, which the model sees through `correction`.
            carbon: carbon `(n,)` in g/kg.
            correction: a correction of absorbance, None for none.
            seed: the seed of the fit.

        Returns:
            A function from uncorrected absorbance `(m, bands)` to carbon `(m,)`.
        """


def ccnvr(recipe: TrainingRecipe = RECIPE) -> MoistureMethod:
    """Return the method that fits CCNVR by a recipe of one target."""

    def fit(spectra: Array, carbon: Array, correction: Correction | None, seed: int) -> Predict:
        calibration = fitting.fit(
            Fitting(recipe, seed), spectra, carbon[:, None], correction=correction
        )
        return lambda others: fitting.predict(recipe, calibration, others)[:, 0]

    return fit


def plsr(spectra: Array, carbon: Array, correction: Correction | None, seed: int) -> Predict:
    """Fit PLSR to absorbance; see `MoistureMethod`.

    The number of latent variables, up to 15, is chosen by 5-fold cross-validation of the air-dry
    soils.
    """

    def corrected(absorbance: Array) -> Array:
        return correction(absorbance) if correction else absorbance

    inputs, folds = corrected(spectra), KFold(5, shuffle=True, random_state=seed)
    errors = [
        np.mean(
            (
                cross_val_predict(
                    PLSRegression(count, scale=False), inputs, carbon, cv=folds
                ).ravel()
                - carbon
            )
            ** 2
        )
        for count in range(1, 16)
    ]
    model = PLSRegression(1 + int(np.argmin(errors)), scale=False).fit(inputs, carbon)
    return lambda others: np.asarray(model.predict(corrected(others)), dtype=np.float64).ravel()


@dataclass(frozen=True)
class MoistureOutcome:
    """Accuracy on held-out soils by state of moisture, pooled over folds.

    `components` are the numbers of EPO's components that were chosen, one for each fold.
    """

    without_epo: dict[str, Accuracy]
    with_epo: dict[str, Accuracy]
    components: tuple[int, ...]


def study(
    soils: MoistureStates,
    method: MoistureMethod,
    *,
    seed: int = 1,
    folds: int = 5,
    inner_folds: int = 3,
    candidates: tuple[int, ...] = (1, 2, 3, 4, 6),
) -> MoistureOutcome:
    """Cross-validate a method over soils, without EPO and with it.

    Args:
        soils: the moisture set on the method's grid.
        method: what to fit to air-dry spectra.
        seed: the seed of folds and fits.
        folds: the folds of the cross-validation that is reported.
        inner_folds: the folds of the cross-validation inside each training part, which chooses the
            number of components.
        candidates: the numbers of components to choose from.
    """
    without, with_epo = (
        {state: np.full(soils.total_carbon.size, np.nan) for state in soils.by_state}
        for _ in range(2)
    )
    chosen = []
    # The components are chosen again in each training part, or the choice would see the test part.
    for train, test in _folds(np.arange(soils.total_carbon.size), folds, seed):
        components = _choose(soils, train, method, candidates, inner_folds, seed)
        chosen.append(components)
        for predicted, correction in (
            (without, None),
            (with_epo, fit_epo(_pairs(soils, train), components)),
        ):
            predict = method(soils.air_dry[train], soils.total_carbon[train], correction, seed)
            for state, spectra in soils.by_state.items():
                predicted[state][test] = predict(spectra[test])
    return MoistureOutcome(_accuracy(soils, without), _accuracy(soils, with_epo), tuple(chosen))


def _accuracy(soils: MoistureStates, predicted: dict[str, Array]) -> dict[str, Accuracy]:
    return {state: accuracy(soils.total_carbon, values) for state, values in predicted.items()}


def _choose(
    soils: MoistureStates,
    rows: NDArray[np.int64],
    method: MoistureMethod,
    candidates: tuple[int, ...],
    folds: int,
    seed: int,
) -> int:
    """Return the number of components with the least squared error on moist spectra.

    The error is that of log(1 + carbon), because few soils hold most of the carbon.
    """
    # A single candidate needs no fits.
    if len(candidates) == 1:
        return candidates[0]
    errors = np.zeros(len(candidates))
    for train, test in _folds(rows, folds, seed):
        for index, components in enumerate(candidates):
            correction = fit_epo(_pairs(soils, train), components)
            predict = method(soils.air_dry[train], soils.total_carbon[train], correction, seed)
            # Air-dry spectra are left out: the models were fitted to these, and EPO is there for
            # moist ones.
            for spectra in (soils.drying, soils.wet):
                # Below 0 there is no logarithm, and no carbon.
                answers = np.maximum(predict(spectra[test]), 0.0)
                errors[index] += np.sum(
                    (np.log1p(answers) - np.log1p(soils.total_carbon[test])) ** 2
                )
    return candidates[int(np.argmin(errors))]


def _folds(
    rows: NDArray[np.int64], folds: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the training and test rows of each fold."""
    split = KFold(folds, shuffle=True, random_state=seed).split(rows)
    return [(rows[train], rows[test]) for train, test in split]


def _pairs(soils: MoistureStates, rows: NDArray[np.int64]) -> Pairs:
    """Return both moist spectra of these soils, each paired with the air-dry one."""
    samples = tuple(soils.sample_ids[row] for row in rows)
    dry = soils.air_dry[rows]
    return Pairs(
        samples * 2,
        np.concatenate([dry, dry]),
        np.concatenate([soils.drying[rows], soils.wet[rows]]),
    )


def run(on_step: Callable[[str], None] = lambda what: None) -> dict[str, MoistureOutcome]:
    """Carry out the study with PLSR and with CCNVR; `on_step` is called with the next one.

    Raises:
        CcnvrError: the moisture set is not at hand and cannot be fetched.
    """
    soils = read_moisture(GRID)
    outcomes = {}
    for name, method in {"PLSR": plsr, "CCNVR": ccnvr()}.items():
        on_step(name)
        outcomes[name] = study(soils, method)
    return outcomes


def table(outcomes: dict[str, MoistureOutcome]) -> str:
    """Return outcomes by method as aligned text."""
    lines = [
        f"{'method':<8}{'soils':<16}{'R2 without EPO':>15}{'R2 with EPO':>13}"
        f"{'RMSE without':>14}{'RMSE with':>11}   g/kg"
    ]
    for method, outcome in outcomes.items():
        for state, without in outcome.without_epo.items():
            after = outcome.with_epo[state]
            lines.append(
                f"{method:<8}{state:<16}{without.r2:>15.2f}{after.r2:>13.2f}{without.rmse:>14.2f}{after.rmse:>11.2f}"
            )
        lines.append(
            f"{method:<8}EPO components chosen in each fold: "
            f"{', '.join(map(str, outcome.components))}"
        )
    return "\n".join(lines)
