"""The cost of quantizing each tensor: the float network with that tensor alone as int8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.layers import StoredInt8, assemble
from ccnvr.edge.network.layout import stored_weights
from ccnvr.firmware_bridge.arrays import Array, Float32
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.libraries.soils import Split
from ccnvr.train.network import scales
from ccnvr.train.network.ccnvr import network_outputs
from ccnvr.train.quantization.aware import QuantizationAware
from ccnvr.train.quantization.kept import Quantized
from ccnvr.train.recipe.recipe import TrainingRecipe


@dataclass(frozen=True)
class Cost:
    """The cost of one tensor as int8 on validation soils, in sd of each target.

    Attributes:
        tensor: its name.
        numbers: the number of its values.
        difference: the rms difference from the float network's outputs.
        rmse_increase: by how much the RMSE of each property that was measured exceeds that of the
            float network.
    """

    tensor: str
    numbers: int
    difference: float
    rmse_increase: dict[str, float]


def costs(
    recipe: TrainingRecipe, calibration: Calibration, quantized: Quantized, soils: Split
) -> list[Cost]:
    """Return the cost of each weight of profile `weights` and each activation of profile `int8`.

    The costliest tensor comes first.
    """
    preprocess = Preprocessor(
        recipe.preprocessing, recipe.grid.wavelengths(), calibration.correction
    )
    inputs = preprocess.batch(soils.test.spectra)
    truth = scales.standardise(calibration.targets, soils.test.values)
    network = quantized.networks["fp32"]
    expected = NumpySession(network)(inputs)
    # A property that no validation soil was measured for has no RMSE.
    known = np.flatnonzero(np.isfinite(truth).any(axis=0))
    properties = [recipe.properties[column] for column in known]
    exact = _rmse(expected[:, known], truth[:, known])

    def cost(name: str, numbers: int, outputs: Float32) -> Cost:
        increase = _rmse(outputs[:, known], truth[:, known]) - exact
        difference = float(np.sqrt(np.mean((outputs - expected) ** 2)))
        return Cost(
            name, numbers, difference, dict(zip(properties, increase.tolist(), strict=True))
        )

    found = []
    floats, stored = network.tensors(), quantized.networks["weights"].tensors()
    for name in stored_weights(network.config):
        # As floats of the int8 weight's values, so that nothing but its rounding is measured.
        restored = StoredInt8(stored[name], stored[f"{name}.scales"]).restored()
        changed = assemble(network.config, "fp32", (), {**floats, name: restored})
        found.append(cost(name, restored.size, NumpySession(changed)(inputs)))
    for number, scale in enumerate(quantized.networks["int8"].activations):
        rounding = QuantizationAware(
            calibration.network, {number: scale}, int8_weights=False
        ).eval()
        name = f"convolution{number - 1} output" if number else "input"
        found.append(
            cost(name, _size_of_activation(quantized, number), network_outputs(rounding, inputs))
        )
    # By the difference from fp32, which every soil shows, and not by RMSE, which chance moves too.
    return sorted(found, key=lambda one: -one.difference)


def _size_of_activation(quantized: Quantized, number: int) -> int:
    """Return the number of values of an activation for one spectrum, before its pool."""
    config = quantized.networks["fp32"].config
    bands = config.bands
    for layer in config.convolutions[: max(0, number - 1)]:
        bands //= layer.pool
    return bands * (config.convolutions[number - 1].filters if number else config.in_channels)


def _rmse(outputs: Float32, truth: Array) -> Array:
    """Return the RMSE `(targets,)` over the soils where each was measured."""
    rmse: Array = np.sqrt(np.nanmean((outputs - truth) ** 2, axis=0))
    return rmse
