"""The int8 networks of a finished run: made from its training soils alone, chosen on some of them,
kept in its folder.

Folder, in that of the run: `weights.network`, `int8.network` and, last of all, `report.json`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccnvr.edge.atomic_files import remove_leftovers, write_atomically
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.file import pack, unpack
from ccnvr.edge.network.layers import Activation, NetworkArrays
from ccnvr.edge.network.layout import activation_count
from ccnvr.edge.typed import build
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.calibration.folds import fold_of
from ccnvr.train.libraries.soils import Soils, Split
from ccnvr.train.network.convert import to_arrays, with_int8_convolutions, with_int8_weights
from ccnvr.train.quantization.aware import QuantizationAware
from ccnvr.train.quantization.ranges import ranges
from ccnvr.train.quantization.rounding import input_products, rounded_to
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs import folder as run_folder

FOLDER = "quantized"
REPORT = "report.json"

PERCENTILES = (99.9, 99.99, 99.999, 100.0)
MOST_SPECTRA = 2000
"""That the ranges and the rounding are fitted to; a hundred are too few, more than a thousand
change little.
"""


@dataclass(frozen=True)
class Settings:
    """`percentiles` of the activations are tried as their ranges; with `epochs`, the best of them
    is trained on.
    """

    percentiles: tuple[float, ...] = PERCENTILES
    epochs: int = 0
    learning_rate: float = 3e-5


@dataclass(frozen=True)
class Candidate:
    """An int8 network that was tried; `difference` is its rms from the float network on validation
    soils, in sd.
    """

    percentile: float
    epochs: int
    difference: float


@dataclass(frozen=True)
class Report:
    """How the networks were made. `checkpoint` is the sha256 of the one that they were made from.

    `weights_difference` is the rms of profile `weights` from the float network on validation soils,
    in sd; `chosen` the number of the candidate that became profile `int8`.
    """

    checkpoint: str
    calibration_soils: int
    validation_soils: int
    weights_difference: float
    candidates: tuple[Candidate, ...]
    chosen: int


@dataclass(frozen=True, eq=False)
class Quantized:
    """A run's network in every profile, and how it came to them."""

    networks: dict[str, NetworkArrays]
    report: Report


def calibration_split(recipe: TrainingRecipe, soils: Soils) -> Split:
    """Split the recipe's training soils: some to calibrate on, others to choose a candidate by.

    The first of the recipe's folds is for validation; the soils of its tests are not touched.
    """
    validation = fold_of(soils, recipe.folds, recipe.fit.seed) == 0
    rng = np.random.default_rng(recipe.fit.seed)
    rows = [
        np.sort(rng.permutation(np.flatnonzero(mask))[:MOST_SPECTRA])
        for mask in (~validation, validation)
    ]
    return Split("quantization", soils.rows(rows[0]), soils.rows(rows[1]))


def load(folder: Path, calibration: Calibration) -> Quantized | None:
    """What an earlier `quantize` kept in the run's folder; None if there is nothing, or the run was
    trained again since.

    Raises:
        CcnvrError: a file is damaged.
    """
    kept = folder / FOLDER
    if not (kept / REPORT).exists():
        return None
    try:
        report = build(Report, json.loads((kept / REPORT).read_text()))
        networks = {
            profile: unpack((kept / f"{profile}.network").read_bytes())
            for profile in ("weights", "int8")
        }
    except (OSError, ValueError, RecursionError) as error:
        raise CcnvrError(
            f"the quantized networks in {kept} are damaged ({error}); run ccnvr quantize {folder}"
        ) from error
    if report.checkpoint != _digest(folder):
        return None
    return Quantized({"fp32": to_arrays(calibration.network), **networks}, report)


def quantize(
    folder: Path,
    recipe: TrainingRecipe,
    calibration: Calibration,
    soils: Split,
    settings: Settings,
    advance: Callable[[int], None] = lambda spectra: None,
) -> Quantized:
    """Make the int8 networks of a finished run and keep them in its folder.

    `advance` hears how many spectra were gone through: all of the calibration's once, and again in
    each epoch.
    """
    preprocess = Preprocessor(
        recipe.preprocessing, recipe.grid.wavelengths(), calibration.correction
    )
    inputs, validation = preprocess.batch(soils.train.spectra), preprocess.batch(soils.test.spectra)
    network = to_arrays(calibration.network)
    expected = NumpySession(network)(validation)

    def difference(candidate: NetworkArrays) -> float:
        return float(np.sqrt(np.mean((NumpySession(candidate)(validation) - expected) ** 2)))

    products = input_products(calibration.network, inputs, advance)
    tensors = network.tensors()
    weights = with_int8_weights(
        network, {name: rounded_to(tensors[name], product) for name, product in products.items()}
    )
    tried: list[tuple[Candidate, NetworkArrays, tuple[Activation, ...]]] = []
    percentiles = settings.percentiles if activation_count(network.config, "int8") else (100.0,)
    for percentile, scales in zip(percentiles, ranges(network, inputs, percentiles), strict=True):
        quantized = with_int8_convolutions(weights, scales)
        tried.append((Candidate(percentile, 0, difference(quantized)), quantized, scales))
    if settings.epochs:
        best, _, scales = min(tried, key=lambda one: one[0].difference)
        trained = _trained(
            folder, recipe, calibration, settings, scales, soils.train.spectra, advance
        )
        quantized = with_int8_convolutions(with_int8_weights(trained), scales)
        tried.append(
            (Candidate(best.percentile, settings.epochs, difference(quantized)), quantized, scales)
        )
    chosen = min(range(len(tried)), key=lambda number: tried[number][0].difference)
    report = Report(
        checkpoint=_digest(folder),
        calibration_soils=len(inputs),
        validation_soils=len(validation),
        weights_difference=difference(weights),
        candidates=tuple(candidate for candidate, _, _ in tried),
        chosen=chosen,
    )
    result = Quantized({"fp32": network, "weights": weights, "int8": tried[chosen][1]}, report)
    _keep(folder / FOLDER, result)
    return result


def _trained(
    folder: Path,
    recipe: TrainingRecipe,
    calibration: Calibration,
    settings: Settings,
    scales: tuple[Activation, ...],
    spectra: Array,
    advance: Callable[[int], None],
) -> NetworkArrays:
    """The float network after training with int8 weights and activations, in its own folder until
    it is done.
    """
    teaching = dataclasses.replace(
        recipe.fit,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        weight_decay=0.0,
        teachers=0,
    )
    # The name says what it is the checkpoint of: another setting does not go on from it.
    origin = json.dumps(
        [
            _digest(folder),
            settings.epochs,
            settings.learning_rate,
            [vars(scale) for scale in scales],
        ]
    )
    checkpoint = folder / FOLDER / f"training-{hashlib.sha256(origin.encode()).hexdigest()[:16]}.pt"
    checkpoint.parent.mkdir(exist_ok=True)

    def on_epoch(loss: float) -> None:
        advance(len(spectra))

    student = QuantizationAware(calibration.network, dict(enumerate(scales)))
    trained = fitting.imitate(
        dataclasses.replace(recipe, fit=teaching),
        calibration,
        student,
        spectra,
        checkpoint,
        on_epoch,
    )
    return to_arrays(trained.network)


def _keep(folder: Path, quantized: Quantized) -> None:
    try:
        folder.mkdir(exist_ok=True)
        # Whoever is interrupted from here on leaves no report, and so nothing that `load` takes: no
        # mixture of old and new.
        (folder / REPORT).unlink(missing_ok=True)
    except OSError as error:
        raise CcnvrError(
            f"{folder} cannot be written to ({error.strerror}); free space, or copy the run "
            "elsewhere"
        ) from error
    for profile in ("weights", "int8"):
        with write_atomically(folder / f"{profile}.network") as stream:
            stream.write(pack(quantized.networks[profile]))
    with write_atomically(folder / REPORT) as stream:
        stream.write(json.dumps(dataclasses.asdict(quantized.report), indent=1).encode())
    for checkpoint in folder.glob("training-*.pt"):
        checkpoint.unlink(missing_ok=True)
    remove_leftovers(folder)


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / run_folder.CHECKPOINT).read_bytes()).hexdigest()
