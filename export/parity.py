"""The parity gate: an exported model must answer as the torch network does, on real spectra that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ccnvr.edge.backend import Backend
from ccnvr.edge.preprocess import Preprocessor
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.train import run as runs
from ccnvr.train.fit import Calibration
from ccnvr.train.recipe import TrainingRecipe

Float32 = NDArray[np.float32]

FP32_LIMIT = 1e-4
"""Largest difference of a float artefact from torch, in sd of the target's training values."""

FEWEST_SPECTRA = 200


class ParityError(CcnvrError):
    """An exported model does not answer as the network that it was made from."""


@dataclass(frozen=True)
class Parity:
    """How two answers differ, in sd of the target."""

    spectra: int
    largest: float
    rms: float


def held_out_inputs(recipe: TrainingRecipe) -> Float32:
    """Model input `(n, channels, bands)` of the soils that the recipe only tests on.

    Raises:
        ParityError: there are fewer than `FEWEST_SPECTRA`.
    """
    spectra = runs.load_pool(recipe.tests, recipe).spectra if recipe.tests else np.empty((0, recipe.grid.bands))
    if len(spectra) < FEWEST_SPECTRA:
        raise ParityError(
            f"{len(spectra)} held-out spectra are too few to prove an export on, {FEWEST_SPECTRA} are needed; "
            "name libraries that are not trained on under 'tests' in the recipe"
        )
    return Preprocessor(recipe.preprocessing, recipe.grid.wavelengths()).batch(spectra)


def torch_outputs(calibration: Calibration, inputs: Float32) -> Float32:
    """The reference: standardised outputs `(n, targets)` of the torch network."""
    with torch.inference_mode():
        outputs: Float32 = calibration.network(torch.from_numpy(inputs)).numpy()
    return outputs


def compare(backend: Backend, inputs: Float32, expected: Float32, targets: tuple[str, ...], limit: float) -> Parity:
    """Run the exported model on each spectrum and compare.

    Raises:
        ParityError: it differs by more than `limit`; names the engine, the spectrum and the target.
    """
    answers = np.concatenate([backend(inputs[row : row + 1]) for row in range(len(inputs))])
    difference = np.abs(answers.astype(np.float64) - expected)
    row, column = np.unravel_index(int(np.argmax(np.nan_to_num(difference, nan=np.inf))), difference.shape)
    largest = float(difference[row, column])
    if not largest <= limit:
        raise ParityError(
            f"backend {backend.name} differs from torch by {largest:.3g} sd on held-out spectrum {row}, target "
            f"{targets[column]}, limit {limit}; the export is wrong and nothing was written"
        )
    return Parity(len(inputs), largest, float(np.sqrt(np.mean(difference**2))))
