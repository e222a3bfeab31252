"""A finished run, read from its folder with everything that an export of it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from ccnvr.edge.chemometrics.domain import PART
from ccnvr.edge.network.layers import NetworkArrays
from ccnvr.edge.network.shape import NetworkConfig
from ccnvr.export.proof_spectra import ProofSpectra, collect_spectra
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.ccnvr import with_outputs
from ccnvr.train.network.convert import to_arrays
from ccnvr.train.network.convert import with_outputs as arrays_with_outputs
from ccnvr.train.quantization import kept
from ccnvr.train.quantization.run import (
    QuantizationSettings,
    calibration_split,
    quantize_with_progress,
)
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.runs.report import RunReport


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished run.

    Attributes:
        folder: the run.
        recipe: what it was trained by.
        calibration: the network and the meaning of its outputs.
        report: what the training found.
        networks: the network as arrays, of each profile that is needed.
        domain: the domain as a bundle holds it, None where the run has none.
    """

    folder: Path
    recipe: TrainingRecipe
    calibration: Calibration
    report: RunReport
    networks: dict[str, NetworkArrays]
    domain: bytes | None

    def only(self, targets: tuple[str, ...]) -> Finished:
        """Return the same run with the outputs for these targets alone."""
        # In the order of `targets`, which becomes that of the bundle's outputs.
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
            self.recipe.only(targets),
            dataclasses.replace(
                self.calibration,
                network=with_outputs(self.calibration.network, columns),
                targets=tuple(self.calibration.targets[column] for column in columns),
            ),
            dataclasses.replace(self.report, accuracy=accuracy),
            {
                profile: arrays_with_outputs(network, columns)
                for profile, network in self.networks.items()
            },
            self.domain,
        )


def load_finished(
    folder: Path,
    targets: tuple[str, ...] = (),
    *,
    quantized: bool,
    check: Callable[[NetworkConfig], None] | None = None,
) -> tuple[Finished, ProofSpectra]:
    """Read a finished run, and the spectra that its export is proved on.

    Args:
        folder: the run.
        targets: the targets to keep; none keeps all of them.
        quantized: whether the profiles `weights` and `int8` are needed beside `fp32`. The network
            is quantized now, which takes minutes, where `ccnvr quantize` has not done so before.
        check: raises an error for a network that cannot be exported as asked for, at once.

    Raises:
        UsageError: the folder holds no finished run, lacks the run's domain, was not trained on one
            of the targets, or the run's soils have changed.
        ProofError: there are too few spectra to prove the export on.
    """
    recipe, calibration, report = run_folder.load(folder)
    if check is not None:
        check(calibration.network.config)
    trained_on = recipe.properties
    if unknown := [name for name in targets if name not in trained_on]:
        raise UsageError(
            f"{folder} was not trained on {unknown[0]} but on {', '.join(trained_on)}; name some "
            "of those"
        )
    domain = None if report.domain is None else _read_domain(folder)
    # Read when first asked for, and once: a large library takes minutes.
    training_soils = cache(partial(run_folder.training_soils, folder, recipe, report))
    # Before quantizing, which takes minutes, so that too few spectra are reported at once.
    spectra = collect_spectra(recipe, training_soils, calibration.correction)
    networks = {"fp32": to_arrays(calibration.network)}
    if quantized:
        networks = _quantized(folder, recipe, calibration, training_soils)
    finished = Finished(folder, recipe, calibration, report, networks, domain)
    if not targets:
        return finished, spectra
    columns = [trained_on.index(name) for name in targets]
    return finished.only(targets), spectra.only(columns)


def _read_domain(folder: Path) -> bytes:
    try:
        return (folder / PART).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{folder / PART} cannot be read ({error.strerror}); run ccnvr train with the same "
            f"recipe and --out {folder} again"
        ) from error


def _quantized(
    folder: Path,
    recipe: TrainingRecipe,
    calibration: Calibration,
    training_soils: Callable[[], Soils],
) -> dict[str, NetworkArrays]:
    quantized = kept.load(folder, calibration)
    if quantized is None:
        soils = calibration_split(recipe, training_soils())
        settings = QuantizationSettings()
        quantized = quantize_with_progress(folder, recipe, calibration, soils, settings)
    return quantized.networks
