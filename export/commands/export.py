"""Turn a finished training run into a bundle: its network as ONNX, as TFLite and as data, float and
int8, each proved on every engine here against torch, on real spectra and on hostile ones. Nothing
is written unless all agree.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch

from ccnvr.edge.atomic_files import check_folder
from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle.archive import MODEL_FORMATS
from ccnvr.edge.chemometrics.domain import PART
from ccnvr.edge.commands.arguments import some_of
from ccnvr.edge.engines.litert import LiteRtSession
from ccnvr.edge.network.layers import NetworkArrays
from ccnvr.edge.network.layout import PROFILES
from ccnvr.export.c_array import (
    HEADER,
    INSTALL,
    SOURCE,
    MicroSession,
    is_installed,
    micro_model,
    write_c_array,
)
from ccnvr.export.finished import Finished, Proof, make_bundle, prove, write_models
from ccnvr.export.parity import Spectra, real_spectra
from ccnvr.export.runtimes import MICRO_ON_LITERT, TFLITE_MICRO, Runtime, available
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.commands.quantize import with_progress
from ccnvr.train.libraries.properties import PROPERTIES
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.convert import to_arrays
from ccnvr.train.quantization import run as quantized_run
from ccnvr.train.quantization.run import Settings
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs import folder as run_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr export`."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished ccnvr train")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the bundle to write (.ccnvr)"
    )
    parser.add_argument(
        "--only",
        type=some_of(MODEL_FORMATS),
        default=MODEL_FORMATS,
        metavar="A,B",
        help=f"of {', '.join(MODEL_FORMATS)}",
    )
    parser.add_argument(
        "--profile",
        type=some_of(PROFILES),
        default=PROFILES,
        metavar="A,B",
        help=f"of {', '.join(PROFILES)}",
    )
    parser.add_argument(
        "--targets",
        type=some_of(PROPERTIES),
        metavar="A,B",
        help="of the properties it was trained on",
    )
    parser.add_argument(
        "--c-array",
        type=Path,
        metavar="FOLDER",
        help="also write the int8 network as C source for TFLite Micro",
    )
    parser.add_argument(
        "--tflite-python",
        type=Path,
        metavar="PYTHON",
        help="prove on tflite-runtime too: a Python that has it, and ccnvr",
    )


def run(arguments: argparse.Namespace) -> int:
    """Export, prove, write the bundle and print the proof."""
    torch.set_num_threads(1)
    bundles.check_destination(arguments.out)
    if arguments.c_array:
        check_folder(arguments.c_array, "--c-array")
    runtimes = available(arguments.tflite_python)
    rounded = bool(arguments.c_array) or arguments.profile != ("fp32",)
    finished, spectra = _finished(arguments.run, arguments.targets or (), rounded=rounded)
    models = write_models(finished.networks, arguments.profile, arguments.only)
    proofs = prove(finished, models, runtimes, spectra)
    bundle = make_bundle(finished, models, proofs, spectra.held_out)
    micro = None
    if arguments.c_array:
        micro = micro_model(finished.networks["int8"])
        # Not for the bundle's card: the bundle does not hold this model.
        proofs += prove(
            finished,
            {bundles.model_file_name("int8", "tflite"): micro.content},
            [_micro_runtime()],
            spectra,
        )
    bundles.write(arguments.out, bundle.manifest, bundle.parts)
    if micro is not None:
        recipe, calibration = finished.recipe.preprocessing, finished.calibration
        write_c_array(
            arguments.c_array,
            micro,
            recipe,
            calibration.targets,
            corrected=calibration.correction is not None,
        )
    _print(proofs, spectra, models)
    print(f"\nwrote {arguments.out} ({arguments.out.stat().st_size} bytes)")
    if micro is not None:
        arena = (
            f"needs an arena of {micro.arena} bytes"
            if micro.arena
            else f"arena not measured; for that, run: {INSTALL}"
        )
        print(
            f"wrote {arguments.c_array / SOURCE} and {HEADER}: {len(micro.content)} bytes, {arena}"
        )
    return 0


def _micro_runtime() -> Runtime:
    """What runs a model for TFLite Micro here: itself, or else LiteRT's kernels."""
    if is_installed():
        return Runtime(TFLITE_MICRO, "tflite", MicroSession)
    return Runtime(MICRO_ON_LITERT, "tflite", partial(LiteRtSession, xnnpack=False))


def _finished(folder: Path, targets: tuple[str, ...], *, rounded: bool) -> tuple[Finished, Spectra]:
    """The run and what it is proved on, with these `targets` alone if there are any; where
    `rounded` networks are asked for, quantized if `ccnvr quantize` was not there before.

    Raises:
        UsageError: the folder holds no finished run, one without its domain, one that was not
            trained on a target, or one whose soils have changed.
        ParityError: there are too few spectra to prove it on.
    """
    recipe, calibration, report = run_folder.load(folder)
    there = recipe.properties
    if unknown := [name for name in targets if name not in there]:
        raise UsageError(
            f"{folder} was not trained on {unknown[0]} but on {', '.join(there)}; name some of "
            "those"
        )
    domain = None if report.domain is None else _read_domain(folder)
    # Read when first asked for, and once: a large library takes minutes.
    training_soils = cache(partial(run_folder.training_soils, folder, recipe, report))
    # First, for quantizing takes minutes.
    spectra = real_spectra(recipe, training_soils, calibration.correction)
    networks = {"fp32": to_arrays(calibration.network)}
    if rounded:
        networks = _quantized(folder, recipe, calibration, training_soils)
    finished = Finished(folder, recipe, calibration, report, networks, domain)
    return (
        (finished.only(targets), spectra.only([there.index(name) for name in targets]))
        if targets
        else (finished, spectra)
    )


def _read_domain(folder: Path) -> bytes:
    try:
        return (folder / PART).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{folder / PART} cannot be read ({error.strerror}); run ccnvr train with --out "
            f"{folder}"
        ) from error


def _quantized(
    folder: Path,
    recipe: TrainingRecipe,
    calibration: Calibration,
    training_soils: Callable[[], Soils],
) -> dict[str, NetworkArrays]:
    quantized = quantized_run.load(folder, calibration)
    if quantized is None:
        soils = quantized_run.calibration_split(recipe, training_soils())
        quantized = with_progress(folder, recipe, calibration, soils, Settings())
    return quantized.networks


def _print(proofs: list[Proof], spectra: Spectra, models: dict[str, bytes]) -> None:
    print("artefact                 bytes")
    for name, content in models.items():
        print(f"{name:<22}{len(content):>8}")
    names = list(proofs[0].rmse_inflation) if proofs else []
    change = (
        ";\nchange of the RMSE against torch in fp32 on the held-out soils, in %" if names else ""
    )
    print(
        f"\ndifference in sd on {len(spectra.real)} real spectra, {spectra.held_out} of them held "
        "out from training, and on "
        f"{len(spectra.hostile)} that no soil has{change}"
    )
    columns = f"{'profile':<9}{'engine':<24}{'against':<18}{'largest':>9}{'rms':>9}{'hostile':>9}"
    print(columns + "".join(f"{name:>8}" for name in names))
    for proof in proofs:
        parity = proof.parity
        figures = f"{parity.largest:>9.1e}{parity.rms:>9.1e}{parity.hostile:>9.1e}"
        changes = "".join(f"{100 * proof.rmse_inflation[name]:>+8.2f}" for name in names)
        print(f"{parity.profile:<9}{parity.runtime:<24}{parity.reference:<18}{figures}{changes}")
