"""The proof of an export: every model file on every engine, and the cost of rounding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from ccnvr.edge.network.file import pack
from ccnvr.export.engines import ProofEngine
from ccnvr.export.finished import Finished
from ccnvr.export.model_files import ModelFile
from ccnvr.export.parity import Gate, Parity
from ccnvr.export.proof_spectra import ProofSpectra
from ccnvr.firmware_bridge.arrays import Array, Float32
from ccnvr.train.network import scales


@dataclass(frozen=True)
class Proof:
    """The proof of one model file on one engine.

    `rmse_inflation` says, for each property that was measured in held-out soils, by what share the
    RMSE is greater than that of the torch network in fp32.
    """

    parity: Parity
    rmse_inflation: dict[str, float]


def prove(
    finished: Finished,
    files: Sequence[ModelFile],
    engines: Sequence[ProofEngine],
    spectra: ProofSpectra,
) -> list[Proof]:
    """Prove each model file on each engine that reads its format.

    Raises:
        ProofError: a model file does not answer as its reference does.
        EngineError: an engine refuses a model file.
    """
    targets = finished.calibration.targets
    gate = Gate(
        finished.calibration.network, finished.networks, spectra, finished.recipe.properties
    )
    held_out = slice(0, spectra.held_out)
    measured = spectra.properties[held_out]

    def rmse(outputs: Float32) -> Array:
        return _rmse(scales.restore(targets, outputs[held_out].astype(np.float64)), measured)

    # The laboratory's unit matters here, since a transform makes errors of high values larger.
    exact = rmse(gate.torch)
    # A property that no held-out soil was measured for has no RMSE to compare.
    known = [column for column in range(len(targets)) if np.isfinite(exact[column])]
    proofs = []
    # No bar in a log file, where the table follows soon enough.
    for engine, file in tqdm(
        list(_pairs(finished, files, engines)), desc="proving", unit="engine", disable=None
    ):
        parity, outputs = gate.prove(engine, file)
        found = rmse(outputs)
        inflation = {
            targets[column].name: float(found[column] / exact[column] - 1.0) for column in known
        }
        proofs.append(Proof(parity, inflation))
    return proofs


def _pairs(
    finished: Finished, files: Sequence[ModelFile], engines: Sequence[ProofEngine]
) -> Iterator[tuple[ProofEngine, ModelFile]]:
    """Yield each model file with each engine that reads it, profile by profile."""
    # By profile, so that the printed table reads from exact to rounded.
    for profile, network in finished.networks.items():
        written = {file.format: file for file in files if file.profile == profile}
        if written:
            # The oracle is proved wherever anything is held against it, written or not.
            written.setdefault("network", ModelFile(profile, "network", pack(network)))
            for engine in engines:
                if engine.format in written:
                    yield engine, written[engine.format]


def _rmse(predicted: Array, measured: Array) -> Array:
    """Return the RMSE `(targets,)` over the soils where each was measured; NaN where none was."""
    errors = predicted - measured
    known = np.sum(np.isfinite(errors), axis=0)
    rmse: Array = np.sqrt(np.nansum(errors**2, axis=0) / np.where(known > 0, known, np.nan))
    return rmse
