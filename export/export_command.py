"""Turn a finished training run into a bundle: ONNX fp32, proved against torch on real spectra."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

from ccnvr.edge import bundle as bundles
from ccnvr.edge import correction as corrections
from ccnvr.edge.bundle import Bundle, SelfTest
from ccnvr.edge.domain import PART
from ccnvr.edge.manifest import SCHEMA, Card, Manifest
from ccnvr.edge.onnx_backend import OnnxBackend
from ccnvr.edge.preprocess import Preprocessor, absorbance, resampling_matrix
from ccnvr.export import parity
from ccnvr.export.onnx_writer import to_onnx
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.simulator import pixel_wavelengths, synthetic_soils
from ccnvr.train import run as runs
from ccnvr.train.fit import Calibration
from ccnvr.train.quantize import as_data
from ccnvr.train.recipe import TrainingRecipe

SELF_TEST_SPECTRA = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr export`."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished ccnvr train")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the bundle to write (.ccnvr)")


def run(arguments: argparse.Namespace) -> int:
    """Export, check parity, write the bundle; nothing is written when the check fails."""
    torch.set_num_threads(1)
    bundle, result = make_bundle(arguments.run)
    bundles.write(arguments.out, bundle.manifest, bundle.parts)
    print(f"parity with torch on {result['spectra']} real spectra, {result['held_out']} of them held out:", end=" ")
    print(f"max {result['largest']:.1e} sd, rms {result['rms']:.1e} sd")
    print(f"wrote {arguments.out} ({arguments.out.stat().st_size} bytes)")
    return 0


def make_bundle(folder: Path) -> tuple[Bundle, dict[str, int | float]]:
    """The bundle of a finished run, proved but not yet written, and the figures of its proof.

    Raises:
        UsageError: the folder holds no finished run.
        ParityError: the exported model does not answer as the network.
    """
    recipe, calibration, report = runs.load(folder)
    parts = {bundles.ONNX_FP32: to_onnx(as_data(calibration.network)), bundles.SELF_TEST: _self_test(recipe, calibration)}
    if report.domain is not None:
        parts[PART] = _read_domain(folder)
    if calibration.correction is not None:
        parts[corrections.PART] = corrections.pack(calibration.correction)
    manifest = Manifest(
        schema=SCHEMA,
        name=recipe.name,
        created=report.finished,
        targets=calibration.targets,
        recipe=recipe.preprocessing,
        parts={name: bundles.part_of(content) for name, content in parts.items()},
        domain=report.domain,
        card=Card(accuracy=report.accuracy, soils=report.soils, training=report.training),
    )
    bundle = Bundle(str(folder), "", manifest, parts)
    inputs, held_out = parity.real_inputs(recipe, calibration.correction)
    expected = parity.torch_outputs(calibration, inputs)
    result = parity.compare(OnnxBackend(parts[bundles.ONNX_FP32]), inputs, expected, recipe.properties, parity.FP32_LIMIT)
    figures = {**dataclasses.asdict(result), "held_out": held_out}
    card = dataclasses.replace(manifest.card, parity={"onnx fp32": figures})
    return dataclasses.replace(bundle, manifest=dataclasses.replace(manifest, card=card)), figures


def _read_domain(folder: Path) -> bytes:
    try:
        return (folder / PART).read_bytes()
    except OSError as error:
        raise UsageError(f"{folder / PART} cannot be read ({error.strerror}); run ccnvr train with --out {folder}") from error


def _self_test(recipe: TrainingRecipe, calibration: Calibration) -> bytes:
    """Made-up soils, so that the bundle carries no library's spectra, and what torch says of them."""
    resample = resampling_matrix(pixel_wavelengths(), recipe.grid)
    spectra = np.round(absorbance(synthetic_soils(SELF_TEST_SPECTRA, seed=0)) @ resample.T, 6)
    inputs = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), calibration.correction).batch(spectra)
    expected = parity.torch_outputs(calibration, inputs)
    test = SelfTest(tuple(map(tuple, spectra.tolist())), tuple(map(tuple, expected.tolist())))
    return json.dumps(dataclasses.asdict(test)).encode()
