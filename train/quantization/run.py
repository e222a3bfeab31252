"""The quantization of a finished run, fitted to its training soils and chosen on some of them.

Ranges and rounding come from calibration soils, the choice of a candidate from validation soils.
Both are training soils; the run's tests are not touched.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.layers import Activation, NetworkArrays
from ccnvr.firmware_bridge.arrays import Float32
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.calibration.folds import fold_of
from ccnvr.train.libraries.soils import Soils, Split
from ccnvr.train.network.convert import to_arrays, with_int8_convolutions, with_int8_weights
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.quantization.aware import QuantizationAware
from ccnvr.train.quantization.kept import (
    FOLDER,
    Candidate,
    QuantizationReport,
    Quantized,
    checkpoint_digest,
    keep,
)
from ccnvr.train.quantization.ranges import ranges
from ccnvr.train.quantization.rounding import input_products, rounded_to
from ccnvr.train.recipe.recipe import TrainingRecipe

# Steps of ten, since what matters is how many values of a million are clipped.
PERCENTILES = (99.9, 99.99, 99.999, 100.0)
MOST_SPECTRA = 2000
"""The most spectra that ranges and rounding are fitted to. A hundred are too few; more than a
thousand change little.
"""

_Advance = Callable[[int], None]


@dataclass(frozen=True)
class QuantizationSettings:
    """The settings of a quantization: what is tried.

    Attributes:
        percentiles: the percentiles of the activations that are tried as their ranges.
        epochs: epochs of quantization-aware training, which goes on from the best of these.
        learning_rate: the highest learning rate of that training.
    """

    percentiles: tuple[float, ...] = PERCENTILES
    epochs: int = 0
    learning_rate: float = 3e-5


@dataclass(frozen=True, eq=False)
class _Task:
    """A run that is being quantized."""

    folder: Path
    recipe: TrainingRecipe
    calibration: Calibration
    soils: Split
    settings: QuantizationSettings
    advance: _Advance


@dataclass(frozen=True, eq=False)
class _Trial:
    """A candidate with its network and the scales of its activations."""

    candidate: Candidate
    network: NetworkArrays
    scales: tuple[Activation, ...]


def calibration_split(recipe: TrainingRecipe, soils: Soils) -> Split:
    """Split the soils that a run was trained on: some to calibrate on, others to choose by.

    The first of the recipe's folds is for the choice. Of each part at most `MOST_SPECTRA` are
    drawn.
    """
    validation = fold_of(soils, recipe.folds, recipe.fit.seed) == 0
    rng = np.random.default_rng(recipe.fit.seed)
    rows = [
        np.sort(rng.permutation(np.flatnonzero(mask))[:MOST_SPECTRA])
        for mask in (~validation, validation)
    ]
    return Split("quantization", soils.rows(rows[0]), soils.rows(rows[1]))


def quantize_with_progress(
    folder: Path,
    recipe: TrainingRecipe,
    calibration: Calibration,
    soils: Split,
    settings: QuantizationSettings,
) -> Quantized:
    """Do as `quantize`, with a progress bar on standard error."""
    # In a log file, a line a minute.
    pause = 0.1 if sys.stderr.isatty() else 60.0
    spectra = len(soils.train) * (1 + settings.epochs)
    with tqdm(total=spectra, unit="spectra", desc="quantizing", mininterval=pause) as bar:

        def advance(count: int) -> None:
            bar.update(count)

        return quantize(folder, recipe, calibration, soils, settings, advance)


def quantize(
    folder: Path,
    recipe: TrainingRecipe,
    calibration: Calibration,
    soils: Split,
    settings: QuantizationSettings,
    advance: _Advance = lambda spectra: None,
) -> Quantized:
    """Quantize the network of a finished run, and keep the result in the run's folder.

    Args:
        folder: the run.
        recipe: its recipe.
        calibration: its network.
        soils: see `calibration_split`.
        settings: what is tried.
        advance: called with the number of spectra processed since the last call: all calibration
            spectra once, and again in each epoch.

    Raises:
        UsageError: training as int8 is asked for, of a model without a network.
        CcnvrError: the folder cannot be written to.
    """
    task = _Task(folder, recipe, calibration, soils, settings, advance)
    preprocess = Preprocessor(
        recipe.preprocessing, recipe.grid.wavelengths(), calibration.correction
    )
    inputs, validation = preprocess.batch(soils.train.spectra), preprocess.batch(soils.test.spectra)
    network = to_arrays(calibration.network)
    expected = NumpySession(network)(validation)

    def difference(candidate: NetworkArrays) -> float:
        return float(np.sqrt(np.mean((NumpySession(candidate)(validation) - expected) ** 2)))

    products = input_products(calibration.network, inputs, advance)
    # Layers too wide for their products are not among these, and are rounded to the nearest.
    tensors = network.tensors()
    weights = with_int8_weights(
        network, {name: rounded_to(tensors[name], product) for name, product in products.items()}
    )
    tried = _try_percentiles(task, network, weights, inputs, difference)
    if settings.epochs:
        best = min(tried, key=lambda trial: trial.candidate.difference)
        trained = with_int8_weights(_trained(task, best.scales))
        quantized = with_int8_convolutions(trained, best.scales)
        candidate = Candidate(best.candidate.percentile, settings.epochs, difference(quantized))
        tried.append(_Trial(candidate, quantized, best.scales))
    chosen = min(range(len(tried)), key=lambda number: tried[number].candidate.difference)
    report = QuantizationReport(
        checkpoint=checkpoint_digest(folder),
        calibration_soils=len(inputs),
        validation_soils=len(validation),
        weights_difference=difference(weights),
        candidates=tuple(trial.candidate for trial in tried),
        chosen=chosen,
    )
    result = Quantized({"fp32": network, "weights": weights, "int8": tried[chosen].network}, report)
    keep(folder, result)
    return result


def _try_percentiles(
    task: _Task,
    network: NetworkArrays,
    weights: NetworkArrays,
    inputs: Float32,
    difference: Callable[[NetworkArrays], float],
) -> list[_Trial]:
    """Return an int8 network for each percentile of the activations of the float `network`."""
    # Without convolutions nothing computes in int8, and all percentiles would give one network.
    percentiles = task.settings.percentiles if network.config.convolutions else (100.0,)
    tried = []
    for percentile, scales in zip(percentiles, ranges(network, inputs, percentiles), strict=True):
        quantized = with_int8_convolutions(weights, scales)
        tried.append(_Trial(Candidate(percentile, 0, difference(quantized)), quantized, scales))
    return tried


def _trained(task: _Task, scales: tuple[Activation, ...]) -> NetworkArrays:
    """Return the float network after training with int8 weights and activations.

    Its checkpoint stays in the folder of the quantized networks until these are kept.
    """
    settings, spectra = task.settings, task.soils.train.spectra
    teaching = dataclasses.replace(
        task.recipe.fit,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        # Decay would pull the weights away from those of the network that is imitated, which is
        # also the only teacher.
        weight_decay=0.0,
        teachers=0,
    )
    # The name is a digest of all that the training depends on, so that an interrupted one is
    # continued with the same settings only.
    origin = json.dumps(
        [
            checkpoint_digest(task.folder),
            settings.epochs,
            settings.learning_rate,
            [vars(scale) for scale in scales],
        ]
    )
    name = f"training-{hashlib.sha256(origin.encode()).hexdigest()[:16]}.pt"
    checkpoint = task.folder / FOLDER / name
    # The folder may be new: a checkpoint is written before the networks are kept.
    checkpoint.parent.mkdir(exist_ok=True)

    def on_epoch(loss: float) -> None:
        task.advance(len(spectra))

    student = QuantizationAware(task.calibration.network, dict(enumerate(scales)))
    trained = fitting.imitate(
        Fitting(
            dataclasses.replace(task.recipe, fit=teaching),
            task.recipe.fit.seed,
            checkpoint=checkpoint,
            on_epoch=on_epoch,
        ),
        task.calibration,
        student,
        spectra,
    )
    return to_arrays(trained.network)
