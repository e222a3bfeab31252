"""The adaptation of a bundle to another instrument by standards, without training it again.

PDS makes the other instrument's spectra look like the reference instrument's. A slope and a bias
correct the predictions instead. Either is fitted to standards; what it gains is measured on
standards that were left out of the fit.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle.manifest import Manifest
from ccnvr.edge.chemometrics import correction as corrections
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries import standards
from ccnvr.train.libraries.properties import KNOWN, Property

Figures = dict[str, dict[str, Any]]
"""By absorbance or property: the number of standards and the RMS difference before and after."""


@dataclass(frozen=True)
class PdsSettings:
    """The settings of PDS: the bands of its window, an odd number, and its components."""

    window: int = 11
    components: int = 2


@dataclass(frozen=True, eq=False)
class Adapted:
    """An adapted bundle, not yet written, and what the adaptation does to standards left out."""

    manifest: Manifest
    parts: dict[str, bytes]
    figures: Figures

    def write(self, out: Path) -> None:
        """Write the bundle.

        Raises:
            CcnvrError: the file cannot be written.
        """
        bundles.write(out, self.manifest, self.parts)


def adapt_by_pds(
    model: ProvedModel, reference: Path, field: Path, quantity: str, settings: PdsSettings
) -> Adapted:
    """Adapt a bundle by standards measured on the reference instrument and on the other one.

    Args:
        model: the bundle.
        reference: a file of spectra of the standards on the reference instrument.
        field: a file of spectra of the same standards on the other instrument.
        quantity: what both files hold, one of `spectra_table.QUANTITIES`.
        settings: the settings of PDS.

    Raises:
        CcnvrError: a file cannot be read, or the two do not hold the same standards.
    """
    manifest = model.bundle.manifest
    grid = manifest.preprocessing.grid
    pairs = standards.read_pairs(reference, field, grid, quantity)
    fit = partial(
        standards.fit_pds, window=settings.window, components=settings.components, grid=grid
    )
    correction = fit(pairs)
    if model.correction is not None:
        # The old correction, such as EPO, belongs to the network and must follow the new
        # instrument's.
        correction = standards.after(model.correction, correction)
    # Figures on the standards that were fitted would flatter: the fit has thousands of weights.
    corrected = standards.left_out(pairs, fit)
    count = len(set(pairs.sample_ids))

    def differences(wanted: Array, before: Array, after: Array) -> dict[str, Any]:
        return {
            "standards": count,
            "before": _rms(before - wanted),
            "after": _rms(after - wanted),
        }

    figures = {"absorbance": differences(pairs.reference, pairs.field, corrected)}
    outputs = [_outputs(model, spectra) for spectra in (pairs.reference, pairs.field, corrected)]
    for column, target in enumerate(manifest.targets):
        values = [target.restore(each[:, column]) for each in outputs]
        figures[f"{target.name} ({target.unit})"] = differences(*values)
    parts = _corrected_parts(model, correction)
    described = {name: bundles.part_of(content) for name, content in parts.items()}
    manifest = dataclasses.replace(manifest, parts=described)
    return Adapted(_recorded(manifest, "pds", figures), parts, figures)


def adapt_by_line(model: ProvedModel, field: Path, quantity: str) -> Adapted:
    """Adapt a bundle by a slope and a bias for each property that was measured in the standards.

    Args:
        model: the bundle.
        field: a file of spectra on the other instrument, with columns of laboratory values.
        quantity: what the file holds, one of `spectra_table.QUANTITIES`.

    Raises:
        UsageError: the file has no value of a property that the bundle predicts.
    """
    manifest = model.bundle.manifest
    further = {
        target.name: Property(target.unit, target.transform)
        for target in manifest.targets
        if target.name not in KNOWN
    }
    soils = libraries.load_library(
        str(field), manifest.preprocessing.grid, quantity=quantity, properties=further
    )
    outputs = _outputs(model, soils.spectra)
    targets, figures = [], {}
    for column, target in enumerate(manifest.targets):
        measured = soils.column(target.name)
        if not np.all(np.isnan(measured)):
            target, line = standards.fit_line(target, outputs[:, column], measured)
            figures[f"{target.name} ({target.unit})"] = dataclasses.asdict(line)
        targets.append(target)
    if not figures:
        known = ", ".join(target.name for target in manifest.targets)
        raise UsageError(
            f"{field} has no values of {known}, which the bundle predicts; add a column of "
            "laboratory values"
        )
    manifest = dataclasses.replace(manifest, targets=tuple(targets))
    return Adapted(_recorded(manifest, "slope-bias", figures), dict(model.bundle.parts), figures)


def _outputs(model: ProvedModel, spectra: Array) -> Array:
    """Return the standardised outputs `(n, targets)` for absorbance on the bundle's grid.

    The spectra go through the correction that the bundle had before.
    """
    preprocessing = model.bundle.manifest.preprocessing
    preprocess = Preprocessor(preprocessing, preprocessing.grid.wavelengths(), model.correction)
    inputs = preprocess.batch(spectra)
    # One by one, because a TFLite model takes one spectrum at a time.
    outputs = [model.session(inputs[row : row + 1]) for row in range(len(inputs))]
    return np.concatenate(outputs).astype(np.float64)


def _corrected_parts(model: ProvedModel, correction: Correction) -> dict[str, bytes]:
    """Return the bundle's parts with another correction.

    The self-test expects the outputs of the proved engine for its spectra after the correction.
    """
    preprocessing, test = model.bundle.manifest.preprocessing, model.bundle.self_test()
    preprocess = Preprocessor(preprocessing, preprocessing.grid.wavelengths(), correction)
    outputs = model.session(preprocess.batch(np.array(test.absorbance)))
    # From the engine that was proved a moment ago, because the network itself is not changed.
    expected = tuple(map(tuple, outputs.astype(np.float64).tolist()))
    changed = dataclasses.asdict(dataclasses.replace(test, expected=expected))
    return {
        **model.bundle.parts,
        bundles.SELF_TEST: json.dumps(changed).encode(),
        corrections.PART: corrections.pack(correction),
    }


def _recorded(manifest: Manifest, method: str, figures: Figures) -> Manifest:
    """Return a manifest whose card records the adaptation.

    The accuracy in the card remains that of the reference instrument.
    """
    training = manifest.card.training
    record = [*training.get("standardised", []), {"method": method, "figures": figures}]
    card = dataclasses.replace(manifest.card, training={**training, "standardised": record})
    return dataclasses.replace(manifest, card=card)


def _rms(difference: Array) -> float:
    return float(np.sqrt(np.mean(difference**2)))
