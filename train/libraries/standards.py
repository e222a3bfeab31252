"""Fit corrections to paired standards, the same samples measured in two ways.

The two ways may be a laboratory's instrument and a handheld, or dry and wet soil. EPO removes the
directions in which the two differ, and needs a model that was trained on such spectra. PDS maps
field spectra to the laboratory's, and slope and bias correct the predictions; both adapt a model
that is not trained again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccnvr.edge.chemometrics.correction import (
    MOST_DIRECTIONS,
    WIDEST_WINDOW,
    Correction,
    projection,
    standardisation,
)
from ccnvr.edge.chemometrics.grid import Grid, naming_source, resampling_matrix
from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.edge.spectrum_files.spectra_table import SpectraTable
from ccnvr.edge.spectrum_files.tables.layout import NAMED
from ccnvr.edge.spectrum_files.tables.text_table import read_spectra
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.sensor import bands_used

SPARE_STANDARDS = 3
"""The standards needed beyond the number of fitted components.

One is spent on the mean, one is left out, and one remains to judge the fit by.
"""

FEWEST_VALUES = 6
"""The measured standards needed for a slope and a bias.

Two are spent on the line and one is left out; the rest average out the laboratory's errors.
"""


@dataclass(frozen=True)
class Pairs:
    """Pairs of spectra of the same samples on one grid, one pair per row."""

    sample_ids: tuple[str, ...]
    """The sample of each pair; a sample may have several."""

    reference: Array
    """Absorbance `(n, bands)` as the model knows it."""

    field: Array
    """Absorbance `(n, bands)` as measured in the field."""


@dataclass(frozen=True)
class Epo:
    """The table `[epo]` of a recipe: the files that the projection is fitted to.

    Raises:
        ValueError: the number of components is out of range.
    """

    reference: str
    """The path of a CSV file of reference spectra."""

    field: str
    """The path of a CSV file of field spectra of the same samples."""

    components: int
    """The number of directions of their difference that are removed."""

    def __post_init__(self) -> None:
        if not 1 <= self.components <= MOST_DIRECTIONS:
            raise ValueError(f"components = {self.components} must be from 1 to {MOST_DIRECTIONS}")

    def fit(self, grid: Grid, quantity: str) -> Correction:
        """Return the projection fitted to these files.

        Raises:
            UsageError: the files cannot be read, do not hold the same samples, or hold too few.
            WavelengthError: a file does not cover the grid.
        """
        return fit_epo(
            read_pairs(Path(self.reference), Path(self.field), grid, quantity), self.components
        )


def read_pairs(reference: Path, field: Path, grid: Grid, quantity: str) -> Pairs:
    """Read two files of the same samples; the field's may hold a sample several times.

    Raises:
        UsageError: a file cannot be read, or a sample is in only one of them.
        WavelengthError: a file does not cover the grid.
    """
    tables = read_spectra(reference, NAMED), read_spectra(field, NAMED)
    first, second = (table.sample_ids for table in tables)
    if len(set(first)) != len(first):
        repeated = next(sample for sample in first if first.count(sample) > 1)
        raise UsageError(
            f"{reference} has sample {repeated!r} more than once; keep its best spectrum, or their "
            "mean"
        )
    if odd := set(first) ^ set(second):
        raise UsageError(
            f"sample {min(odd)!r} is only in {reference if min(odd) in first else field}; both "
            "files must hold the same samples"
        )
    row = {sample: number for number, sample in enumerate(first)}
    spectra = [_on_grid(table, grid, quantity) for table in tables]
    return Pairs(tuple(second), spectra[0][[row[sample] for sample in second]], spectra[1])


def _on_grid(table: SpectraTable, grid: Grid, quantity: str) -> Array:
    with naming_source(table.path):
        matrix = resampling_matrix(table.wavelengths_nm, grid)
    bands = bands_used(matrix, grid)
    return absorbance(table.reflectance(quantity, bands)) @ matrix[:, bands].T


def fit_epo(pairs: Pairs, components: int) -> Correction:
    """Fit an external parameter orthogonalisation (EPO).

    It projects out the main directions in which field spectra differ from their reference: Roger,
    Chauchard & Bellon-Maurel 2003, Chemom. Intell. Lab. Syst. 66:191-204; for soil moisture Minasny
    et al. 2011, Geoderma 167:118-124. The mean reference spectrum's part along these directions is
    added again, so that a projected spectrum still looks like a soil's and SNV after it stays well
    conditioned.

    Raises:
        UsageError: there are too few standards for so many components.
    """
    _check_count(pairs, components)
    # Imported here because scikit-learn is slow to import, and most recipes have no [epo].
    from chemotools.projection import ExternalParameterOrthogonalization

    epo = ExternalParameterOrthogonalization(n_components=components)
    epo.fit(
        pairs.reference,
        X_external=np.concatenate([pairs.reference, pairs.field]),
        sample_ids=np.array(pairs.sample_ids * 2),
    )
    return projection(epo.V_epo_, epo.V_epo_ @ (epo.mean_X_ @ epo.V_epo_))


def fit_pds(pairs: Pairs, window: int, components: int, grid: Grid | None = None) -> Correction:
    """Fit a piecewise direct standardisation (PDS).

    It predicts each reference band from the field's bands about it by a small PLS regression: Wang,
    Veltkamp & Kowalski 1991, Anal. Chem. 63:2750-2756. `window` is an odd number of bands; it does
    not reach across the gaps of the pairs' `grid`.

    Raises:
        UsageError: there are too few standards, or the window is not possible.
    """
    segments = (slice(0, pairs.field.shape[1]),) if grid is None else grid.segments()
    bands = min(segment.stop - segment.start for segment in segments)
    if window % 2 == 0 or not 3 <= window <= min(WIDEST_WINDOW, bands):
        raise UsageError(
            f"a window of {window} bands is not an odd number from 3 to {min(WIDEST_WINDOW, bands)}"
        )
    half = window // 2
    if not 1 <= components <= half + 1:
        raise UsageError(
            f"{components} components do not fit the {half + 1} bands that a window of {window} "
            "has at the grid's end"
        )
    _check_count(pairs, components)
    from chemotools.adaptation import PiecewiseDirectStandardization

    weights, bias = [], []
    for segment in segments:
        # All bands have one unit; scaling them to unit variance would only amplify the noise of
        # those that hardly vary.
        pds = PiecewiseDirectStandardization(
            window_length=half, n_components=components, scale=False
        )
        pds.fit(pairs.field[:, segment], X_source=pairs.reference[:, segment])
        # T_ is (field bands, reference bands), zero outside the windows; a correction keeps only
        # these.
        padded = np.pad(pds.T_, ((half, half), (0, 0)))
        columns = np.arange(segment.stop - segment.start)
        weights.append(
            np.stack([padded[columns + offset, columns] for offset in range(window)], axis=1)
        )
        bias.append(pds.bias_)
    return standardisation(np.concatenate(weights), np.concatenate(bias))


def _check_count(pairs: Pairs, components: int) -> None:
    standards, fewest = len(set(pairs.sample_ids)), components + SPARE_STANDARDS
    if standards < fewest:
        raise UsageError(
            f"{standards} standards are too few for {components} components, which need {fewest}; "
            "measure more"
        )


def left_out(pairs: Pairs, fit: Callable[[Pairs], Correction]) -> Array:
    """Return field spectra `(n, bands)`, each corrected by a fit without its sample."""
    corrected = np.empty_like(pairs.field)
    samples = np.array(pairs.sample_ids)
    for sample in dict.fromkeys(pairs.sample_ids):
        rows = samples == sample
        others = Pairs(tuple(samples[~rows].tolist()), pairs.reference[~rows], pairs.field[~rows])
        corrected[rows] = fit(others)(pairs.field[rows])
    return corrected


def after(second: Correction, first: Correction) -> Correction:
    """Return one correction that standardises by `first`, then projects by `second`.

    Raises:
        UsageError: `second` standardises too, so its bundle was made for another instrument.
    """
    if second.standardises:
        raise UsageError(
            "the bundle is standardised for an instrument already; start from the bundle that it "
            "was made from"
        )
    moved = first.offset - second.directions @ (second.directions.T @ first.offset)
    return Correction(first.weights, second.directions, moved + second.offset)


@dataclass(frozen=True)
class LineFit:
    """The slope and the bias of one property, in standardised units, and what they gain."""

    standards: int
    """The number of standards measured."""

    slope: float
    """The slope of the line."""

    bias: float
    """The intercept of the line."""

    before: float
    """The RMSE without the correction, in the property's unit."""

    after: float
    """The RMSE of each standard corrected by the line of the others, in the property's unit."""


def fit_line(target: Target, outputs: Array, measured: Array) -> tuple[Target, LineFit]:
    """Return the target with its outputs `(n,)` corrected by a line to the values measured `(n,)`.

    `measured` is in the target's unit, NaN where not measured. The line is fitted in standardised
    units, where the errors of a log target are even and no prediction falls below zero. There it is
    only another mean and standard deviation of the target, so the edge needs nothing new, and the
    half width of the interval is scaled with it.

    Raises:
        UsageError: too few standards were measured, or the predictions do not rise with the
            measured values.
    """
    known = ~np.isnan(measured)
    z, wanted = outputs[known], target.standardise(measured[known])
    if z.size < FEWEST_VALUES:
        raise UsageError(
            f"{target.name} was measured in {z.size} standards and needs {FEWEST_VALUES} for a "
            "slope and a bias"
        )
    slope, bias = _line(z, wanted)
    if not slope > 0.0:
        raise UsageError(
            f"predictions of {target.name} do not rise with the measured values (slope "
            f"{slope:.3g}), so no line corrects them; check that both belong to the same samples"
        )
    every = np.arange(z.size)
    apart = [_line(z[every != row], wanted[every != row]) for row in every]
    corrected = np.array(
        [
            one_slope * value + one_bias
            for value, (one_slope, one_bias) in zip(z, apart, strict=True)
        ]
    )

    def rmse(outputs: Array) -> float:
        return float(np.sqrt(np.mean((target.restore(outputs) - measured[known]) ** 2)))

    fitted = dataclasses.replace(target, mean=target.mean + target.sd * bias, sd=target.sd * slope)
    return fitted, LineFit(int(z.size), slope, bias, rmse(z), rmse(corrected))


def _line(predicted: Array, wanted: Array) -> tuple[float, float]:
    """Return the least-squares slope and bias; the slope is 0 if the predictions do not vary."""
    centred = predicted - predicted.mean()
    spread = float(centred @ centred)
    slope = float(centred @ wanted) / spread if spread > 0.0 else 0.0
    return slope, float(wanted.mean() - slope * predicted.mean())
