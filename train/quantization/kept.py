"""The quantized networks of a finished run, kept in a folder of their own inside the run's folder.

It holds `weights.network`, `int8.network` and `report.json`, which is written last.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ccnvr.edge.atomic_files import remove_leftovers, write_atomically
from ccnvr.edge.network.file import pack, unpack
from ccnvr.edge.network.layers import NetworkArrays
from ccnvr.edge.typed import build
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.network.convert import to_arrays
from ccnvr.train.runs import folder as run_folder

FOLDER = "quantized"
REPORT = "report.json"

_QUANTIZED = ("weights", "int8")


@dataclass(frozen=True)
class Candidate:
    """An int8 network that was tried.

    Attributes:
        percentile: the percentile of the activations that their ranges were taken from.
        epochs: the epochs of quantization-aware training.
        difference: the rms difference from the float network on validation soils, in sd.
    """

    percentile: float
    epochs: int
    difference: float


@dataclass(frozen=True)
class QuantizationReport:
    """The record of how the quantized networks were made.

    Attributes:
        checkpoint: the sha256 of the checkpoint that they were made from.
        calibration_soils: the number of soils that ranges and rounding were fitted to.
        validation_soils: the number of soils that the candidates were compared on.
        weights_difference: the rms difference of profile `weights` from the float network on
            validation soils, in sd.
        candidates: the int8 networks that were tried.
        chosen: the index of the candidate that became profile `int8`.
    """

    checkpoint: str
    calibration_soils: int
    validation_soils: int
    weights_difference: float
    candidates: tuple[Candidate, ...]
    chosen: int


@dataclass(frozen=True, eq=False)
class Quantized:
    """The network of a run in every profile, and the report of how it was quantized."""

    networks: dict[str, NetworkArrays]
    report: QuantizationReport


def load(folder: Path, calibration: Calibration) -> Quantized | None:
    """Read the quantized networks that an earlier `quantize` kept in the folder of a run.

    Returns:
        None if there are none, or if the run was trained again since.

    Raises:
        CcnvrError: a file is damaged.
    """
    kept = folder / FOLDER
    if not (kept / REPORT).exists():
        return None
    try:
        report = build(QuantizationReport, json.loads((kept / REPORT).read_text()))
        networks = {
            profile: unpack((kept / f"{profile}.network").read_bytes()) for profile in _QUANTIZED
        }
    except (OSError, ValueError, RecursionError) as error:
        raise CcnvrError(
            f"the quantized networks in {kept} are damaged ({error}); run ccnvr quantize {folder}"
        ) from error
    # The report may be of an earlier training in the same folder.
    if report.checkpoint != checkpoint_digest(folder):
        return None
    return Quantized({"fp32": to_arrays(calibration.network), **networks}, report)


def keep(folder: Path, quantized: Quantized) -> None:
    """Write the quantized networks to the folder of a run, in place of earlier ones.

    Raises:
        CcnvrError: the folder cannot be written to.
    """
    kept = folder / FOLDER
    try:
        kept.mkdir(exist_ok=True)
        # Without its report the folder counts as empty, so an interruption from here on leaves no
        # mixture of old and new networks.
        (kept / REPORT).unlink(missing_ok=True)
    except OSError as error:
        raise CcnvrError(
            f"{kept} cannot be written to ({error.strerror}); free space, or copy the run elsewhere"
        ) from error
    for profile in _QUANTIZED:
        with write_atomically(kept / f"{profile}.network") as stream:
            stream.write(pack(quantized.networks[profile]))
    with write_atomically(kept / REPORT) as stream:
        stream.write(json.dumps(dataclasses.asdict(quantized.report), indent=1).encode())
    # They are of no more use: the training that they belong to is over.
    for checkpoint in kept.glob("training-*.pt"):
        checkpoint.unlink(missing_ok=True)
    remove_leftovers(kept)


def checkpoint_digest(folder: Path) -> str:
    """Return the sha256 of a run's checkpoint, which tells networks of another training apart."""
    return hashlib.sha256((folder / run_folder.CHECKPOINT).read_bytes()).hexdigest()
