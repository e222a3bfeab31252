"""The bundle of a finished run, put together from its model files and their proof."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle.archive import Bundle, SelfTest
from ccnvr.edge.bundle.manifest import SCHEMA, Card, Manifest, kernels_entry
from ccnvr.edge.chemometrics import correction as corrections
from ccnvr.edge.chemometrics.domain import PART
from ccnvr.edge.chemometrics.grid import Grid, resampling_matrix
from ccnvr.edge.chemometrics.preprocess import Preprocessor, absorbance
from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.export.finished import Finished
from ccnvr.export.model_files import ModelFile
from ccnvr.export.proof import Proof
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.simulators.bench import made_up_soils
from ccnvr.firmware_bridge.simulators.handheld import pixel_wavelengths, synthetic_soils
from ccnvr.train.network.ccnvr import network_outputs

# Three suffice: a wrong weight shows on any spectrum, and each costs the bundle 3 to 4 kB.
SELF_TEST_SPECTRA = 3


def assemble_bundle(
    finished: Finished, files: Sequence[ModelFile], proofs: Sequence[Proof], held_out: int
) -> Bundle:
    """Return the bundle, not yet written.

    Args:
        finished: the run.
        files: the model files that the bundle holds.
        proofs: what the bundle's card says of them.
        held_out: the number of spectra in the proof that were held out from training.
    """
    recipe, calibration, report = finished.recipe, finished.calibration, finished.report
    # Whatever is in `parts` gets its checksum in the manifest, and the edge refuses any other.
    parts = {file.name: file.content for file in files}
    parts[bundles.SELF_TEST] = _self_test(finished, {file.profile for file in files})
    if finished.domain is not None:
        parts[PART] = finished.domain
    if calibration.correction is not None:
        parts[corrections.PART] = corrections.pack(calibration.correction)
    manifest = Manifest(
        schema=SCHEMA,
        name=recipe.name,
        # The end of the training and not now, so that exporting a run twice gives equal bundles.
        created=report.finished,
        targets=calibration.targets,
        preprocessing=recipe.preprocessing,
        parts={name: bundles.part_of(content) for name, content in parts.items()},
        domain=report.domain,
        card=Card(
            accuracy=report.accuracy,
            parity=dict(_card_entry(proof, held_out) for proof in proofs),
            soils=report.soils,
            training=report.training | kernels_entry(calibration.network.config),
        ),
    )
    return Bundle(str(finished.folder), "", manifest, parts)


def _card_entry(proof: Proof, held_out: int) -> tuple[str, dict[str, Any]]:
    """Return the title of a proof in the bundle's card, and its figures."""
    parity = proof.parity
    title = f"{parity.profile} on {parity.engine}, against {parity.reference}"
    return title, {
        "spectra": parity.spectra,
        "largest": parity.largest,
        "rms": parity.rms,
        "hostile": parity.hostile,
        "held_out": held_out,
        "rmse_inflation": proof.rmse_inflation,
    }


def _self_test(finished: Finished, profiles: set[str]) -> bytes:
    """Return the bundle's self-test: spectra, and the outputs expected for them of each profile.

    The soils are synthetic, so that the bundle carries no library's spectra. Those of fp32 are the
    torch network's outputs, those of the quantized profiles the NumPy oracle's.
    """
    recipe, calibration = finished.recipe, finished.calibration
    # Rounded, so that the file's decimals are exactly what both sides compute with.
    spectra = np.round(_made_up_soils(recipe.grid), 6)
    preprocess = Preprocessor(
        recipe.preprocessing, recipe.grid.wavelengths(), calibration.correction
    )
    inputs = preprocess.batch(spectra)
    quantized = {
        profile: _rows(NumpySession(network)(inputs))
        for profile, network in finished.networks.items()
        if profile != "fp32" and profile in profiles
    }
    test = SelfTest(_rows(spectra), _rows(network_outputs(calibration.network, inputs)), quantized)
    return json.dumps(asdict(test)).encode()


def _made_up_soils(grid: Grid) -> Array:
    """Return absorbance of synthetic soils on a grid, `(SELF_TEST_SPECTRA, bands)`."""
    pixels = pixel_wavelengths()
    if pixels[0] <= grid.start_nm and grid.stop_nm <= pixels[-1]:
        soils = absorbance(synthetic_soils(SELF_TEST_SPECTRA, seed=0))
        return soils @ resampling_matrix(pixels, grid).T
    return absorbance(made_up_soils(grid.wavelengths(), SELF_TEST_SPECTRA, 0))


def _rows(values: NDArray[np.floating]) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, values.tolist()))
