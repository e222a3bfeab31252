"""Turn a finished training run into a bundle.

The network is written as ONNX, as TFLite and as arrays, in fp32 and quantized. Each model file is
proved on every engine here, against torch or the NumPy engine, on real spectra and on hostile ones.
Nothing is written unless all of them agree.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ccnvr.edge.bundle.archive import MODEL_FORMATS
from ccnvr.edge.bundle.card_text import PRIVACY
from ccnvr.edge.commands.arguments import some_of
from ccnvr.edge.network.layout import PROFILES
from ccnvr.export.c_array import HEADER, SOURCE, MicroModel
from ccnvr.export.exporting import Export, export_run
from ccnvr.firmware_bridge.installation import pip_command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr export`."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished ccnvr train")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the bundle to write (.ccnvr)"
    )
    parser.add_argument(
        "--only",
        type=some_of(MODEL_FORMATS),
        default=MODEL_FORMATS,
        metavar="A,B",
        help=f"formats of the model files, of {', '.join(MODEL_FORMATS)} (default: all)",
    )
    parser.add_argument(
        "--profile",
        type=some_of(PROFILES),
        default=PROFILES,
        metavar="A,B",
        help=f"profiles of the model files, of {', '.join(PROFILES)} (default: all)",
    )
    parser.add_argument(
        "--targets",
        type=lambda text: tuple(text.split(",")),
        metavar="A,B",
        help="properties to predict, of those that the run was trained on (default: all)",
    )
    parser.add_argument(
        "--c-array",
        type=Path,
        metavar="FOLDER",
        help="write the int8 network as C source for TFLite Micro too",
    )
    parser.add_argument(
        "--tflite-python",
        type=Path,
        metavar="PYTHON",
        help="a Python interpreter with tflite-runtime and ccnvr, to prove on tflite-runtime too",
    )


def run(arguments: argparse.Namespace) -> int:
    """Export the run, and print the model files and their proof."""
    # More threads would change the order of sums, and the figures with it.
    torch.set_num_threads(1)
    export = export_run(
        arguments.run,
        arguments.out,
        profiles=arguments.profile,
        formats=arguments.only,
        targets=arguments.targets or (),
        c_folder=arguments.c_array,
        tflite_python=arguments.tflite_python,
    )
    _print_proof(export)
    print(f"\nwrote {export.bundle} ({export.bundle.stat().st_size} bytes)")
    if export.carries_soils:
        # Said here, before the file is passed on.
        print(f"it compares spectra with those of its training soils; {PRIVACY}")
    if export.micro is not None:
        _print_c_source(arguments.c_array, export.micro)
    return 0


def _print_proof(export: Export) -> None:
    spectra, proofs = export.spectra, export.proofs
    print("model file               bytes")
    for file in export.files:
        print(f"{file.name:<22}{len(file.content):>8}")
    properties = list(proofs[0].rmse_inflation) if proofs else []
    wide = max(8, *(len(name) + 2 for name in ("", *properties)))
    change = (
        ";\nchange of the RMSE against torch in fp32 on the held-out soils, in %"
        if properties
        else ""
    )
    mixed = f", and {spectra.mixtures} mixtures of two" if spectra.mixtures else ""
    print(
        "\ndifference in standard deviations of the training soils on "
        f"{len(spectra.real) - spectra.mixtures} real spectra, "
        f"{spectra.held_out} of them held out from training{mixed}, and on "
        f"{len(spectra.hostile)} hostile ones{change}"
    )
    columns = f"{'profile':<9}{'engine':<24}{'against':<18}{'largest':>9}{'rms':>9}{'hostile':>9}"
    print(columns + "".join(f"{name:>{wide}}" for name in properties))
    for proof in proofs:
        parity = proof.parity
        figures = f"{parity.largest:>9.1e}{parity.rms:>9.1e}{parity.hostile:>9.1e}"
        changes = "".join(f"{100 * proof.rmse_inflation[name]:>+{wide}.2f}" for name in properties)
        print(f"{parity.profile:<9}{parity.engine:<24}{parity.reference:<18}{figures}{changes}")


def _print_c_source(folder: Path, micro: MicroModel) -> None:
    arena = (
        f"needs an arena of {micro.arena} bytes"
        if micro.arena
        else "arena not measured; to measure it, run: "
        + pip_command("--pre", "--no-deps", "tflite-micro")
    )
    print(f"wrote {folder / SOURCE} and {HEADER}: {len(micro.content)} bytes, {arena}")
