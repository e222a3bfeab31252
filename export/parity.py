"""The parity gate: an exported model must answer as the torch network does, on real spectra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ccnvr.edge.backend import Backend
from ccnvr.edge.correction import Correction
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
    """How two answers differ, in sd of the target, on so many real spectra."""

    spectra: int
    largest: float
    rms: float


def real_inputs(recipe: TrainingRecipe, correction: Correction | None = None) -> tuple[Float32, int]:
    """Model input `(n, channels, bands)` of real soils, and how many of them were held out from training.

    All held-out soils; if these are fewer than `FEWEST_SPECTRA`, training soils too: they say nothing about accuracy, but
    whether two programs agree they show as well.

    Raises:
        ParityError: there are fewer than `FEWEST_SPECTRA` even so.
    """
    held_out = runs.load_pool(recipe.tests, recipe).spectra
    spectra = held_out
    if len(held_out) < FEWEST_SPECTRA:
        spectra = np.concatenate([held_out, runs.load_pool(recipe.libraries, recipe).spectra])
    if len(spectra) < FEWEST_SPECTRA:
        raise ParityError(
            f"{len(spectra)} real spectra are too few to prove an export on, {FEWEST_SPECTRA} are needed; add a library "
            "under 'tests' in the recipe and train again"
        )
    return Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), correction).batch(spectra), len(held_out)


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
            f"backend {backend.name} differs from torch by {largest:.3g} sd on spectrum {row}, target "
            f"{targets[column]}, limit {limit}; the export is wrong and nothing was written"
        )
    return Parity(len(inputs), largest, float(np.sqrt(np.mean(difference**2))))
