"""The parity gate: every artefact must answer, on every engine that runs it, as the network that it
was written from.

Answers are compared on real spectra and on hostile ones that no soil has, in sd of each target's
training values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ccnvr.edge.bundle.archive import model_file_name
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.layers import NetworkArrays
from ccnvr.export.first_difference import first_difference
from ccnvr.export.runtimes import (
    LITERT,
    LITERT_PLAIN,
    MICRO_ON_LITERT,
    NUMPY,
    ONNXRUNTIME,
    TFLITE_MICRO,
    TFLITE_RUNTIME,
    Runtime,
)
from ccnvr.firmware_bridge.arrays import Array, Float32
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.catalogue import library_and_part
from ccnvr.train.libraries.r_packages import moisture_at_hand
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.ccnvr import CCNVR, answers
from ccnvr.train.recipe.recipe import TrainingRecipe

WANTED_SPECTRA = 500
FEWEST_SPECTRA = 200
MOST_SPECTRA = 2000

_LARGEST = float(np.finfo(np.float32).max)

TORCH = "torch"
ORACLE = "the NumPy oracle"


class ParityError(CcnvrError):
    """An exported model does not answer as the network that it was made from."""


@dataclass(frozen=True)
class Limit:
    """In sd: of the `largest` difference on real spectra, of their `rms`, and of the largest on
    hostile ones, where outputs beyond 1 count relative to themselves, and those of a linear path
    relative to what it adds up. None where the pair need not agree.
    """

    reference: str
    largest: float
    rms: float
    hostile: float | None


# Two engines that each keep it are within twice as much of one another.
EXACT = Limit(ORACLE, 1e-5, 5e-6, 1e-4)

_WITH_LINEAR_PATH = 3e-5
"""In place of narrower limits on real spectra: engines add up thousands of products of either sign
in orders of their own.
"""

LIMITS: dict[tuple[str, str], Limit] = {
    **{
        ("fp32", runtime): Limit(TORCH, 1e-5, 5e-6, 1e-4)
        for runtime in (NUMPY, ONNXRUNTIME, LITERT, LITERT_PLAIN, TFLITE_RUNTIME)
    },
    # What the rounding of weights may cost; beyond their training soils networks may part.
    ("weights", NUMPY): Limit(TORCH, 0.1, 0.02, None),
    ("weights", ONNXRUNTIME): EXACT,
    ("weights", LITERT): EXACT,
    ("weights", LITERT_PLAIN): EXACT,
    ("weights", TFLITE_RUNTIME): EXACT,
    ("int8", NUMPY): Limit(TORCH, 0.5, 0.05, None),
    ("int8", ONNXRUNTIME): Limit(ORACLE, 1e-5, 1e-5, 1e-5),
    # Their kernels round half a step elsewhere, so that an output now and then is one step of int8
    # higher or lower.
    ("int8", LITERT): Limit(ORACLE, 0.1, 3e-3, 0.05),
    ("int8", LITERT_PLAIN): Limit(ORACLE, 0.2, 2.5e-2, 0.2),
    ("int8", TFLITE_RUNTIME): Limit(ORACLE, 0.2, 2.5e-2, 0.2),
    ("int8", TFLITE_MICRO): Limit(ORACLE, 0.2, 2.5e-2, 0.2),
    ("int8", MICRO_ON_LITERT): Limit(ORACLE, 0.2, 2.5e-2, 0.2),
}
"""For each profile and engine: what its answers are held against, and how far they may differ."""


@dataclass(frozen=True)
class Spectra:
    """Model input `(n, channels, bands)`: `real` soils, the first `held_out` spectra of them not
    trained on, and hostile ones.

    `names` are those of the real soils' samples, `properties` `(n, targets)` what the laboratory
    says of them.
    """

    real: Float32
    names: list[str]
    properties: Array
    held_out: int
    hostile: dict[str, Float32]

    def only(self, columns: Sequence[int]) -> Spectra:
        """The same with these properties alone."""
        return replace(self, properties=self.properties[:, columns])


@dataclass(frozen=True)
class Parity:
    """How an artefact's answers on an engine differ from its reference's, in sd of the target."""

    profile: str
    runtime: str
    reference: str
    spectra: int
    largest: float
    rms: float
    hostile: float


def real_spectra(
    recipe: TrainingRecipe,
    training_soils: Callable[[], Soils],
    correction: Correction | None = None,
) -> Spectra:
    """Spectra to prove an export on: of all soils that were held out from training, and hostile
    inputs of their shape.

    If these are fewer than `WANTED_SPECTRA`, then those of the moisture set too, where it is at
    hand, of which no library has a spectrum, though geeves has its soils; and if need be those of
    training soils, which `training_soils` reads. They say nothing about accuracy, but show as well
    whether two programs agree, and so do the soils of LimeSoDa, where it is installed, which stand
    in where all of these are fewer than `FEWEST_SPECTRA`.

    Raises:
        ParityError: there are fewer than `FEWEST_SPECTRA` even so.
    """
    pool = load_soils(recipe.tests, recipe)
    names, spectra, properties = list(pool.sample_ids), pool.spectra, pool.values
    if len(names) < WANTED_SPECTRA and recipe.instrument is None:
        for state, moist in (moisture_at_hand(recipe.grid) or {}).items():
            names += [f"moisture, {state}/{row}" for row in range(1, len(moist) + 1)]
            spectra = np.concatenate([spectra, moist])
            properties = np.concatenate(
                [properties, np.full((len(moist), properties.shape[1]), np.nan)]
            )
    held_out = len(names)
    if held_out < WANTED_SPECTRA:
        pools = [training_soils()]
        if len(names) + len(pools[0].sample_ids) < FEWEST_SPECTRA:
            pools.append(_open_soils(recipe))
        for more in pools:
            names += more.sample_ids
            spectra, properties = (
                np.concatenate([spectra, more.spectra]),
                np.concatenate([properties, more.values]),
            )
    if len(names) < FEWEST_SPECTRA:
        raise ParityError(
            f"{len(names)} real spectra are too few to prove an export on, {FEWEST_SPECTRA} are "
            "needed; train again "
            "with more 'tests' in the recipe, or, if it is not installed yet, install LimeSoDa "
            "(pip install --no-deps "
            "LimeSoDa==0.1.5), of whose soils those stand in that cover the model's wavelengths"
        )
    rows = slice(0, MOST_SPECTRA)
    inputs = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), correction).batch(
        spectra[rows]
    )
    return Spectra(
        inputs, names[rows], properties[rows], min(held_out, len(inputs)), hostile_inputs(inputs)
    )


def _open_soils(recipe: TrainingRecipe) -> Soils:
    """Of LimeSoDa's sets that the recipe neither trains nor scores a model on; what was learnt
    before may be among them.
    """
    named = {library_and_part(name)[0] for name in (*recipe.libraries, *recipe.tests)}
    sets = libraries.open_sets(recipe.grid, recipe.instrument)
    return load_soils(tuple(name for name in sets if name not in named), recipe)


def hostile_inputs(real: Float32) -> dict[str, Float32]:
    """Model inputs that no soil gives, each `(1, channels, bands)`."""
    rng = np.random.default_rng(0)
    shape = real.shape[1:]
    bands = np.arange(shape[1])
    inputs = {
        "zero": np.zeros(shape),
        "constant": np.full(shape, 3.0),
        "saturated": np.minimum(real[0], np.percentile(real[0], 20.0)),
        "clipped at both ends": np.sign(real[0]) * 6.0,
        "alternating": np.broadcast_to(np.where(bands % 2, 5.0, -5.0), shape),
        "a ramp": np.broadcast_to(np.linspace(-10.0, 10.0, shape[1]), shape),
        "a spike": np.where(bands == shape[1] // 2, 1e3, 0.0) * np.ones(shape),
        "the last band": np.where(bands == shape[1] - 1, 50.0, 0.0) * np.ones(shape),
        "tiny": np.full(shape, 1e-38),
        "huge": np.full(shape, 1e3),
        "huge and negative": np.full(shape, -1e3),
    }
    for sd in (1.0, 10.0, 100.0):
        inputs.update(
            {f"noise of sd {sd:g}, {number}": rng.normal(0.0, sd, shape) for number in range(5)}
        )
    return {
        name: np.ascontiguousarray(value[None], dtype=np.float32) for name, value in inputs.items()
    }


def _linear_sizes(network: CCNVR, inputs: Float32) -> Float32:
    """The sizes of the products that the linear path adds up for each output `(n, targets)`; 0
    where there is none.

    The rounding of a sum is in proportion to them and not to the sum, which may come to nothing.
    """
    if network.linear is None:
        return np.zeros((len(inputs), network.config.outputs), dtype=np.float32)
    with torch.inference_mode():
        flat = torch.from_numpy(inputs).flatten(1)
        read = flat if network.scale is None else network.scale(flat)
        sizes: Float32 = (read.abs() @ network.linear.weight.abs().T).numpy()
    return sizes


class Gate:
    """Proves artefacts against the torch network and against the quantized networks that they were
    written from.
    """

    def __init__(
        self,
        network: CCNVR,
        networks: Mapping[str, NetworkArrays],
        spectra: Spectra,
        targets: tuple[str, ...],
    ) -> None:
        self._network, self._networks, self._spectra, self._targets = (
            network,
            networks,
            spectra,
            targets,
        )
        self._inputs = np.concatenate([spectra.real, *spectra.hostile.values()])
        self._names = [*spectra.names, *(f"'{name}'" for name in spectra.hostile)]
        self.torch = answers(network, self._inputs)
        self._sizes = np.maximum(1.0, _linear_sizes(network, self._inputs))
        self._oracles = {
            profile: NumpySession(one)(self._inputs) for profile, one in networks.items()
        }

    def prove(self, profile: str, runtime: Runtime, model: bytes) -> tuple[Parity, Float32]:
        """How the artefact answers on this engine, and its answers to the real spectra.

        Raises:
            ParityError: it differs by more than its limit; names the engine, the spectrum, the
                target and the layer.
            EngineError: the engine refuses it.
        """
        limit, real = LIMITS[profile, runtime.name], len(self._spectra.real)
        expected = self.torch if limit.reference == TORCH else self._oracles[profile]
        found = runtime.outputs(model, self._inputs)
        difference = np.nan_to_num(np.abs(found.astype(np.float64) - expected), nan=np.inf)
        difference[real:] /= np.maximum(self._sizes, np.abs(expected))[real:]
        rms = float(np.sqrt(np.mean(difference[:real] ** 2)))
        parity = Parity(
            profile,
            runtime.name,
            limit.reference,
            real,
            float(difference[:real].max()),
            rms,
            float(difference[real:].max()),
        )
        for what, value, most, rows in (
            ("", parity.largest, self._largest(limit), slice(0, real)),
            (" rms, most", rms, limit.rms, slice(0, real)),
            # Where they need not agree, they must be numbers all the same.
            (
                "",
                parity.hostile,
                _LARGEST if limit.hostile is None else limit.hostile,
                slice(real, None),
            ),
        ):
            if not value <= most:
                row, column = np.unravel_index(
                    int(np.argmax(difference[rows])), difference[rows].shape
                )
                self._refuse(
                    parity,
                    runtime,
                    model,
                    f"{value:.3g} sd{what}",
                    most,
                    int(row) + (rows.start or 0),
                    int(column),
                )
        return parity, found[:real]

    def _largest(self, limit: Limit) -> float:
        return (
            limit.largest if self._network.linear is None else max(limit.largest, _WITH_LINEAR_PATH)
        )

    def _refuse(
        self,
        parity: Parity,
        runtime: Runtime,
        model: bytes,
        found: str,
        most: float,
        row: int,
        column: int,
    ) -> None:
        layer = first_difference(
            self._network, self._networks, parity, runtime.kind, model, self._inputs[row : row + 1]
        )
        raise ParityError(
            f"{model_file_name(parity.profile, runtime.kind)} on {runtime.name} differs from "
            f"{parity.reference} by {found} on "
            f"spectrum {self._names[row]}, target {self._targets[column]}, limit {most:g}, first "
            f"in layer {layer}; the export "
            "is wrong and nothing was written"
        )
