"""A finished run, what is written from it, its proof, and the bundle that holds all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle.archive import Bundle, SelfTest, model_file_name
from ccnvr.edge.bundle.manifest import SCHEMA, Card, Manifest
from ccnvr.edge.chemometrics import correction as corrections
from ccnvr.edge.chemometrics.domain import PART
from ccnvr.edge.chemometrics.grid import resampling_matrix
from ccnvr.edge.chemometrics.preprocess import Preprocessor, absorbance
from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.file import pack
from ccnvr.edge.network.layers import NetworkArrays
from ccnvr.export.onnx_writer import to_onnx
from ccnvr.export.parity import Gate, Parity, Spectra
from ccnvr.export.runtimes import Runtime
from ccnvr.export.tflite.writer import to_tflite
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.simulators.handheld import pixel_wavelengths, synthetic_soils
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.network import scales
from ccnvr.train.network.ccnvr import answers, with_outputs
from ccnvr.train.network.convert import with_outputs as data_with_outputs
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs.folder import RunReport

SELF_TEST_SPECTRA = 3

WRITERS: dict[str, Callable[[NetworkArrays], bytes]] = {
    "network": pack,
    "onnx": to_onnx,
    "tflite": to_tflite,
}
"""By format, see `bundle.MODEL_FORMATS`."""


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished run, its network as data in each profile that is needed, and its domain as a
    bundle holds it.
    """

    folder: Path
    recipe: TrainingRecipe
    calibration: Calibration
    report: RunReport
    networks: dict[str, NetworkArrays]
    domain: bytes | None

    def only(self, targets: tuple[str, ...]) -> Finished:
        """The same without its other outputs."""
        columns = [self.recipe.properties.index(name) for name in targets]
        accuracy = {
            title: {
                library: {name: figures for name, figures in properties.items() if name in targets}
                for library, properties in table.items()
            }
            for title, table in self.report.accuracy.items()
        }
        return Finished(
            self.folder,
            dataclasses.replace(
                self.recipe, transforms={name: self.recipe.transforms[name] for name in targets}
            ),
            dataclasses.replace(
                self.calibration,
                network=with_outputs(self.calibration.network, columns),
                targets=tuple(self.calibration.targets[column] for column in columns),
            ),
            dataclasses.replace(self.report, accuracy=accuracy),
            {
                profile: data_with_outputs(network, columns)
                for profile, network in self.networks.items()
            },
            self.domain,
        )


@dataclass(frozen=True)
class Proof:
    """An artefact's parity on an engine, and `rmse_inflation`: for each property that was measured
    in held-out soils, by what share the RMSE is greater than that of torch in fp32.
    """

    parity: Parity
    rmse_inflation: dict[str, float]


def write_models(
    networks: dict[str, NetworkArrays], profiles: Iterable[str], kinds: Iterable[str]
) -> dict[str, bytes]:
    """The artefacts by their names in a bundle."""
    return {
        model_file_name(profile, kind): WRITERS[kind](networks[profile])
        for profile in profiles
        for kind in kinds
    }


def prove(
    finished: Finished, models: dict[str, bytes], runtimes: list[Runtime], spectra: Spectra
) -> list[Proof]:
    """Every artefact on every engine that runs it.

    Raises:
        ParityError: one does not answer as it must.
        EngineError: an engine refuses one.
    """
    targets = finished.calibration.targets
    gate = Gate(
        finished.calibration.network, finished.networks, spectra, finished.recipe.properties
    )
    held_out = slice(0, spectra.held_out)
    truth = spectra.properties[held_out]
    exact = _rmse(scales.restore(targets, gate.torch[held_out].astype(np.float64)), truth)
    known = [column for column in range(len(targets)) if np.isfinite(exact[column])]
    proofs = []
    # No bar in a log file, where the table follows soon enough.
    for profile, runtime, model in tqdm(
        _to_prove(finished, models, runtimes), desc="proving", unit="engine", disable=None
    ):
        parity, answers = gate.prove(profile, runtime, model)
        rmse = _rmse(scales.restore(targets, answers[held_out].astype(np.float64)), truth)
        proofs.append(
            Proof(
                parity,
                {
                    targets[column].name: float(rmse[column] / exact[column] - 1.0)
                    for column in known
                },
            )
        )
    return proofs


def _to_prove(
    finished: Finished, models: dict[str, bytes], runtimes: list[Runtime]
) -> list[tuple[str, Runtime, bytes]]:
    """Each profile on each engine that has an artefact to run."""
    found = []
    for profile, network in finished.networks.items():
        if any(name.startswith(model_file_name(profile, "")) for name in models):
            # The network as data is proved wherever anything is written from it.
            written = {model_file_name(profile, "network"): pack(network), **models}
            parts = [(runtime, model_file_name(profile, runtime.kind)) for runtime in runtimes]
            found += [
                (profile, runtime, written[part]) for runtime, part in parts if part in written
            ]
    return found


def make_bundle(
    finished: Finished, models: dict[str, bytes], proofs: list[Proof], held_out: int
) -> Bundle:
    """The bundle, not yet written."""
    recipe, calibration, report = finished.recipe, finished.calibration, finished.report
    parts = {**models, bundles.SELF_TEST: _self_test(finished, models)}
    if finished.domain is not None:
        parts[PART] = finished.domain
    if calibration.correction is not None:
        parts[corrections.PART] = corrections.pack(calibration.correction)
    manifest = Manifest(
        schema=SCHEMA,
        name=recipe.name,
        created=report.finished,
        targets=calibration.targets,
        preprocessing=recipe.preprocessing,
        parts={name: bundles.part_of(content) for name, content in parts.items()},
        domain=report.domain,
        card=Card(
            accuracy=report.accuracy,
            parity=dict(_for_card(proof, held_out) for proof in proofs),
            soils=report.soils,
            training=report.training,
        ),
    )
    return Bundle(str(finished.folder), "", manifest, parts)


def _for_card(proof: Proof, held_out: int) -> tuple[str, dict[str, Any]]:
    parity = proof.parity
    figures = {
        name: value
        for name, value in asdict(parity).items()
        if name not in ("profile", "runtime", "reference")
    }
    title = f"{parity.profile} on {parity.runtime}, against {parity.reference}"
    return title, {**figures, "held_out": held_out, "rmse_inflation": proof.rmse_inflation}


def _self_test(finished: Finished, models: dict[str, bytes]) -> bytes:
    """Made-up soils, so that the bundle carries no library's spectra; what torch says of them, and
    each rounded network.
    """
    recipe, calibration = finished.recipe, finished.calibration
    resample = resampling_matrix(pixel_wavelengths(), recipe.grid)
    spectra = np.round(absorbance(synthetic_soils(SELF_TEST_SPECTRA, seed=0)) @ resample.T, 6)
    inputs = Preprocessor(
        recipe.preprocessing, recipe.grid.wavelengths(), calibration.correction
    ).batch(spectra)
    quantized = {
        profile: _rows(NumpySession(network)(inputs))
        for profile, network in finished.networks.items()
        if profile != "fp32"
        and any(name.startswith(model_file_name(profile, "")) for name in models)
    }
    test = SelfTest(_rows(spectra), _rows(answers(calibration.network, inputs)), quantized)
    return json.dumps(asdict(test)).encode()


def _rows(values: NDArray[np.floating]) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, values.tolist()))


def _rmse(predicted: Array, measured: Array) -> Array:
    """`(targets,)`, over the soils where each was measured; NaN where none was."""
    errors = predicted - measured
    known = np.sum(np.isfinite(errors), axis=0)
    rmse: Array = np.sqrt(np.nansum(errors**2, axis=0) / np.where(known > 0, known, np.nan))
    return rmse
