"""The study's single network: trained from nothing for nirsoil, and adapted to other libraries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from ccnvr.edge.chemometrics.grid import resampling_matrix
from ccnvr.train.calibration import finetuning
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.calibration.recipe_soils import load_before
from ccnvr.train.calibration.splits import official_splits
from ccnvr.train.experiments.contenders import BEST, NO_TERMS, Terms, contenders
from ccnvr.train.experiments.statistics import figures
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.rivals.contender import Choice, Network, PredictAll
from ccnvr.train.rivals.members import recipe_for


def single_network(recipe: Path, terms: Terms = NO_TERMS) -> Network:
    """Return the contender that is one network, taught as the recipe says."""
    network = contenders((BEST,), recipe, terms=terms)[BEST]
    if not isinstance(network, Network):
        raise TypeError(f"{BEST} is a {type(network).__name__}")
    return network


def run(network: Network, seed: int, on_epoch: Callable[[float], None]) -> dict[str, float]:
    """Train the network and its teachers, and return R2 by property.

    `on_epoch` is called with the loss after each epoch of every network,
    `network.recipe.all_epochs` times in all.
    """
    (split,) = official_splits("nirsoil")
    predict = network.fit({}, split.train, seed, on_epoch)
    predicted = predict(split.test.spectra)
    scores = zip(split.train.properties, split.test.values.T, predicted.T, strict=True)
    return {name: figures(measured, column[None])["r2"] for name, measured, column in scores}


class Pretrained:
    """CCNVR trained on a source of soils: a contender whose fit of seed 0 can be adapted."""

    def __init__(self, network: Network, source: Soils) -> None:
        self.name = network.name
        self.choose = network.choose
        self._network, self._source = network, source
        self._recipe = recipe_for(network.recipe, source)
        # Rivals get the grid of the soils, and the recipe has bands of its own.
        self._resample = resampling_matrix(source.grid.wavelengths(), self._recipe.grid).T

    @cached_property
    def _calibration(self) -> Calibration:
        """The network of seed 0, trained when it is first used."""
        return fitting.fit(
            self._network.fitting(self._source, 0),
            self._source.spectra @ self._resample,
            self._source.values,
            before=load_before(self._recipe),
        )

    def fit(self, choice: Choice, soils: Soils, seed: int) -> PredictAll:
        """See `Contender`."""
        # Seed 0 is trained once for the table and for all learning curves of a target.
        return self._network.fit(choice, soils, seed) if seed else self._predict(self._calibration)

    def adapted(self, local: Soils, layers: str, seed: int) -> PredictAll:
        """Fine-tune these layers on local samples; without `layers` the network stays as it is."""
        if not layers:
            return self._predict(self._calibration)
        recipe = replace(self._recipe, fit=replace(self._recipe.fit, **finetuning.FINETUNING))
        spectra = local.spectra @ self._resample
        return self._predict(
            finetuning.finetune(
                Fitting(recipe, seed), self._calibration, spectra, local.values, layers
            )
        )

    def _predict(self, calibration: Calibration) -> PredictAll:
        return lambda spectra: fitting.predict(self._recipe, calibration, spectra @ self._resample)
