"""The export of a finished run: quantize, write model files, prove them, write the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ccnvr.edge.atomic_files import check_folder
from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle.archive import MODEL_FORMATS
from ccnvr.edge.network.layout import PROFILES
from ccnvr.export import c_array
from ccnvr.export.assembly import assemble_bundle
from ccnvr.export.c_array import MicroModel, micro_model
from ccnvr.export.engines import available, micro_engine
from ccnvr.export.finished import load_finished
from ccnvr.export.model_files import ModelFile, write_models
from ccnvr.export.proof import Proof, prove
from ccnvr.export.proof_spectra import ProofSpectra


@dataclass(frozen=True, eq=False)
class Export:
    """A finished export.

    Attributes:
        bundle: the file that was written.
        files: the model files in the bundle.
        proofs: the proof of each model file on each engine, and of the C source's model.
        spectra: what they were proved on.
        micro: the model written as C source, None where none was asked for.
        carries_soils: whether training soils travel in the bundle, in kernel members.
    """

    bundle: Path
    files: list[ModelFile]
    proofs: list[Proof]
    spectra: ProofSpectra
    micro: MicroModel | None
    carries_soils: bool = False


def export_run(
    run: Path,
    out: Path,
    *,
    profiles: Sequence[str] = PROFILES,
    formats: Sequence[str] = MODEL_FORMATS,
    targets: Sequence[str] = (),
    c_folder: Path | None = None,
    tflite_python: Path | None = None,
) -> Export:
    """Turn a finished run into a bundle; nothing is written unless every proof holds.

    The network is quantized first, which takes minutes, where a profile needs it and
    `ccnvr quantize` has not done so before.

    Args:
        run: the folder of a finished `ccnvr train` or `ccnvr finetune`.
        out: the bundle to write (`.ccnvr`).
        profiles: some of fp32, weights and int8.
        formats: some of network, onnx and tflite.
        targets: some of the properties that the run was trained on; none exports all of them.
        c_folder: a folder for the int8 network as C source for TFLite Micro.
        tflite_python: a Python interpreter with tflite-runtime and ccnvr, to prove TFLite files on
            tflite-runtime too.

    Raises:
        UsageError: the run is not finished, an argument names what it has not, or `out` exists and
            is no bundle.
        ProofError: a model file does not answer as the network that it was made from.
        EngineError: an engine refuses a model file.
        CcnvrError: `out` or `c_folder` cannot be written.
    """
    # All that can be refused at once is, before the work that takes minutes.
    bundles.check_destination(out)
    if c_folder is not None:
        check_folder(c_folder, "--c-array")
    engines = available(tflite_python)
    # The C source is of the int8 network, whatever profiles the bundle has.
    quantized = c_folder is not None or tuple(profiles) != ("fp32",)
    check = None if c_folder is None else c_array.check_has_no_members
    finished, spectra = load_finished(run, tuple(targets), quantized=quantized, check=check)
    files = write_models(finished.networks, profiles, formats)
    proofs = prove(finished, files, engines, spectra)
    bundle = assemble_bundle(finished, files, proofs, spectra.held_out)
    micro = None
    if c_folder is not None:
        micro = micro_model(finished.networks["int8"])
        micro_file = ModelFile("int8", "tflite", micro.content)
        # After the bundle's card is made, because the bundle does not hold this model.
        proofs += prove(finished, [micro_file], [micro_engine()], spectra)
    # Written only here, after every proof, so that no refusal leaves a bundle behind.
    bundles.write(out, bundle.manifest, bundle.parts)
    if c_folder is not None and micro is not None:
        calibration = finished.calibration
        c_array.write_c_array(
            c_folder,
            micro,
            finished.recipe.preprocessing,
            calibration.targets,
            corrected=calibration.correction is not None,
        )
    carries_soils = bool(finished.calibration.network.config.kernels)
    return Export(out, files, proofs, spectra, micro, carries_soils)
