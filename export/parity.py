"""The parity gate: each model file must answer, on each engine that runs it, as its reference does.

Answers are compared on real spectra and on hostile ones, in standard deviations (sd) of each
target's training values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.layers import NetworkArrays
from ccnvr.export.engines import (
    LITERT,
    LITERT_PLAIN,
    MICRO_ON_LITERT,
    NUMPY,
    ONNXRUNTIME,
    TFLITE_MICRO,
    TFLITE_RUNTIME,
    ProofEngine,
)
from ccnvr.export.first_difference import (
    first_difference,
    layer_tolerance,
    layers_of_arrays,
    layers_of_torch,
)
from ccnvr.export.model_files import ModelFile
from ccnvr.export.proof_spectra import ProofError, ProofSpectra
from ccnvr.firmware_bridge.arrays import Array, Float32
from ccnvr.train.network.ccnvr import CCNVR, network_outputs

_LARGEST_FLOAT = float(np.finfo(np.float32).max)

TORCH = "torch"
ORACLE = "the NumPy engine"


@dataclass(frozen=True)
class Limit:
    """The largest differences of a model file from its reference, in sd of the target.

    Attributes:
        reference: `TORCH` or `ORACLE`, the NumPy interpreter with the same quantized network.
        largest: the largest difference on real spectra.
        rms: the root mean square of the differences on real spectra.
        hostile: the largest difference on hostile spectra, None where the two need not agree there.
            Outputs beyond 1 count relative to their own size, and those of a linear path or a
            kernel member relative to the size of the products that it adds up.
    """

    reference: str
    largest: float
    rms: float
    hostile: float | None


# Two engines that each keep this limit are within twice as much of one another.
EXACT = Limit(ORACLE, 1e-5, 5e-6, 1e-4)

_WITH_LINEAR_PATH = 3e-5
"""The least limit on real spectra of a network with a linear path: engines add up thousands of
products of either sign, each in an order of its own.
"""

_WITH_KERNELS = Limit(TORCH, 3e-4, 1e-4, None)
"""The least limits on real spectra of a model with kernel members, whose large weights of both
signs cancel: in float32 the outputs of 2,700 soils in 64 components are within 1.2e-4 of float64.
"""

# Plain TFLite kernels round half a step elsewhere than XNNPACK's, more often and earlier.
_PLAIN_INT8 = Limit(ORACLE, 0.2, 2.5e-2, 0.2)

LIMITS: dict[tuple[str, str], Limit] = {
    **{
        ("fp32", engine): Limit(TORCH, 1e-5, 5e-6, 1e-4)
        for engine in (NUMPY, ONNXRUNTIME, LITERT, LITERT_PLAIN, TFLITE_RUNTIME)
    },
    # What rounding the weights may cost. Far from their training soils the two networks may differ.
    ("weights", NUMPY): Limit(TORCH, 0.1, 0.02, None),
    ("weights", ONNXRUNTIME): EXACT,
    ("weights", LITERT): EXACT,
    ("weights", LITERT_PLAIN): EXACT,
    ("weights", TFLITE_RUNTIME): EXACT,
    ("int8", NUMPY): Limit(TORCH, 0.5, 0.05, None),
    ("int8", ONNXRUNTIME): Limit(ORACLE, 1e-5, 1e-5, 1e-5),
    # XNNPACK rounds half a step elsewhere than the oracle, so that now and then an output is one
    # step of int8 higher or lower.
    ("int8", LITERT): Limit(ORACLE, 0.1, 3e-3, 0.05),
    ("int8", LITERT_PLAIN): _PLAIN_INT8,
    ("int8", TFLITE_RUNTIME): _PLAIN_INT8,
    ("int8", TFLITE_MICRO): _PLAIN_INT8,
    ("int8", MICRO_ON_LITERT): _PLAIN_INT8,
}
"""The reference of each profile on each engine, and how far the two may differ."""


@dataclass(frozen=True)
class Parity:
    """The differences of a model file on an engine from its reference, in sd of the target.

    `largest` and `rms` are over the real `spectra`, `hostile` is the largest over hostile ones.
    """

    profile: str
    engine: str
    reference: str
    spectra: int
    largest: float
    rms: float
    hostile: float


class _Excess(NamedTuple):
    """A difference beyond its limit: in words, the limit, and the place in the outputs."""

    words: str
    limit: float
    row: int
    column: int


class Gate:
    """The comparison of model files with the networks that they were written from.

    Args:
        network: the torch network in fp32.
        networks: the network of each profile as arrays.
        spectra: what both are given.
        targets: the names of the outputs.
    """

    def __init__(
        self,
        network: CCNVR,
        networks: Mapping[str, NetworkArrays],
        spectra: ProofSpectra,
        targets: tuple[str, ...],
    ) -> None:
        self._network = network
        self._networks = networks
        self._targets = targets
        self._real = len(spectra.real)
        # In one array, real spectra first, so that each engine is opened once for both.
        self._inputs = np.concatenate([spectra.real, *spectra.hostile.values()])
        self._names = [*spectra.names, *(f"'{name}'" for name in spectra.hostile)]
        self.torch = network_outputs(network, self._inputs)
        self._sizes = np.maximum(1.0, _sizes(network, self._inputs))
        self._oracles = {
            profile: NumpySession(arrays)(self._inputs) for profile, arrays in networks.items()
        }

    def prove(self, engine: ProofEngine, file: ModelFile) -> tuple[Parity, Float32]:
        """Compare a model file on an engine with its reference.

        Returns:
            The differences, and the outputs `(n, targets)` for the real spectra.

        Raises:
            ProofError: they differ by more than the limit; the message names the engine, the
                spectrum, the target and the layer.
            EngineError: the engine refuses the model file.
        """
        limit, real = LIMITS[file.profile, engine.name], self._real
        expected = self.torch if limit.reference == TORCH else self._oracles[file.profile]
        found = engine.outputs(file.content, self._inputs)
        # Infinity in place of NaN, so that the largest difference and its place can be found.
        difference = np.nan_to_num(np.abs(found.astype(np.float64) - expected), nan=np.inf)
        # Only hostile outputs are relative: there they may be thousands of sd, where float32 itself
        # resolves no more than 1e-4.
        difference[real:] /= np.maximum(self._sizes, np.abs(expected))[real:]
        parity = Parity(
            file.profile,
            engine.name,
            limit.reference,
            real,
            largest=float(difference[:real].max()),
            rms=float(np.sqrt(np.mean(difference[:real] ** 2))),
            hostile=float(difference[real:].max()),
        )
        if excess := self._excess(parity, limit, difference):
            raise ProofError(self._refusal(parity, file, excess))
        return parity, found[:real]

    def _excess(self, parity: Parity, limit: Limit, difference: Array) -> _Excess | None:
        """Return the first limit that the differences `(n, targets)` exceed."""
        real, hostile = slice(0, self._real), slice(self._real, None)
        largest, rms = limit.largest, limit.rms
        if self._network.linear is not None:
            largest = max(largest, _WITH_LINEAR_PATH)
        if self._network.config.kernels:
            largest, rms = max(largest, _WITH_KERNELS.largest), max(rms, _WITH_KERNELS.rms)
        # Where outputs for hostile spectra need not agree, they must be numbers all the same.
        most_hostile = _LARGEST_FLOAT if limit.hostile is None else limit.hostile
        for words, value, most, rows in (
            ("", parity.largest, largest, real),
            (" rms, most", parity.rms, rms, real),
            ("", parity.hostile, most_hostile, hostile),
        ):
            if not value <= most:
                part = difference[rows]
                row, column = np.unravel_index(int(np.argmax(part)), part.shape)
                return _Excess(
                    f"{value:.3g} sd{words}", most, int(row) + (rows.start or 0), int(column)
                )
        return None

    def _refusal(self, parity: Parity, file: ModelFile, excess: _Excess) -> str:
        spectrum = self._inputs[excess.row : excess.row + 1]
        expected = (
            layers_of_torch(self._network, spectrum)
            if parity.reference == TORCH
            else layers_of_arrays(self._networks[parity.profile], spectrum)
        )
        tolerance = layer_tolerance(file, rounding=parity.reference == TORCH)
        layer = first_difference(expected, file, spectrum, tolerance)
        return (
            f"{file.name} on {parity.engine} differs from {parity.reference} by {excess.words} on "
            f"spectrum {self._names[excess.row]}, target {self._targets[excess.column]}, limit "
            f"{excess.limit:g}, first in layer {layer}; the exported file is wrong, so nothing was "
            "written; report it with this message"
        )


def _sizes(network: CCNVR, inputs: Float32) -> Float32:
    """Return the summed sizes of the products that sums of many consist of, `(n, targets)`.

    These are the linear path and the kernel members; 0 without either. The rounding error of a sum
    is in proportion to these and not to the sum, which may cancel to nearly nothing.
    """
    total = torch.zeros((len(inputs), network.config.outputs), dtype=torch.float64)
    spectra = torch.from_numpy(inputs)
    with torch.inference_mode():
        if network.linear is not None:
            flat = spectra.flatten(1)
            read = flat if network.scale is None else network.scale(flat)
            total += read.abs() @ network.linear.weight.abs().T
        for kernel in network.kernel_modules():
            _, similarities, _ = kernel.layers(spectra)
            # Those that are subtracted, see `KernelMember.usual`, are of the size of 1 too.
            total += (1.0 + similarities) @ kernel.weights.abs().double()
    sizes: Float32 = total.float().numpy()
    return sizes
