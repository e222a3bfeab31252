"""Which of many measured soils a laboratory should analyse, so that a few stand for all of them.

The soils are compared as the members of a model compare them: in half-whitened principal components
of the model's inputs. Those are chosen that are centres of groups of the others (k-medoids, after
Kaufman and Rousseeuw 1990, Finding Groups in Data, Wiley, chapter 2; begun as k-means++).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ccnvr.edge.bundle.manifest import Manifest
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.grid import bands_read, check_wavelengths
from ccnvr.edge.chemometrics.preprocess import Preprocessor, absorbance
from ccnvr.edge.spectrum_files.spectra_table import SpectraTable
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.members.covariance import squared_distances
from ccnvr.train.members.inducing import draw
from ccnvr.train.members.projection import Projection

COMPONENTS = 16

_STARTS = 8
_MOST_STEPS = 50


def choose_soils(
    manifest: Manifest,
    correction: Correction | None,
    table: SpectraTable,
    quantity: str,
    count: int,
) -> list[str]:
    """Return the sample ids of the soils to analyse, in the order of the table.

    Scans of one sample id are averaged. `quantity` is what the table holds.

    Raises:
        UsageError: there are not more than `count` soils, or a spectrum cannot be used.
        WavelengthError: the table does not cover the model's grid.
    """
    names = list(dict.fromkeys(table.sample_ids))
    if not 1 < count < len(names):
        raise UsageError(
            f"{count} soils cannot be chosen from {len(names)}; give --count from 2 to "
            f"{len(names) - 1}, or measure more soils than the laboratory is to analyse"
        )
    preprocessing = manifest.preprocessing
    check_wavelengths(table.wavelengths_nm, preprocessing.grid)
    bands = bands_read(table.wavelengths_nm, preprocessing.grid)
    preprocess = Preprocessor(preprocessing, table.wavelengths_nm[bands], correction)
    inputs = preprocess.batch(absorbance(table.reflectance(quantity, bands)))
    flat = inputs.reshape(len(inputs), -1).astype(np.float64)
    means = _means(flat, table.sample_ids, names)
    if np.ptp(means, axis=0).max() == 0.0:
        raise UsageError(f"{table.path}: all spectra are equal, so there is nothing to choose by")
    points = selection_points(means, inputs.shape[1])
    return [names[number] for number in np.sort(medoids(points, count))]


def selection_points(inputs: Array, channels: int) -> Array:
    """Return the points `(n, d)` that soils are chosen by, from inputs `(n, channels x bands)`."""
    projection = Projection.of(inputs, channels)
    points: Array = (inputs - projection.centre) @ projection.half_whitened()[:COMPONENTS].T
    return points


def medoids(points: Array, count: int) -> Integers:
    """Return the rows of the `count` points that lie nearest to all points `(n, d)` in the mean."""
    distances = np.sqrt(squared_distances(points, points))
    rng = np.random.default_rng(count)
    found = [
        _improved(distances, draw(points[order], count), order)
        for order in (rng.permutation(len(points)) for _ in range(_STARTS))
    ]
    return min(found, key=lambda rows: float(distances[:, rows].min(axis=1).sum()))


def _improved(distances: Array, drawn: Integers, order: Integers) -> Integers:
    """Return medoids found from those drawn, which are rows of the points in this order."""
    rows = order[drawn]
    for _ in range(_MOST_STEPS):
        group = distances[:, rows].argmin(axis=1)
        moved = rows.copy()
        for number in range(len(rows)):
            members = np.flatnonzero(group == number)
            # A point that was drawn twice, since others are equal to it, has no group.
            if members.size:
                within = distances[np.ix_(members, members)].sum(axis=1)
                moved[number] = members[within.argmin()]
        if np.array_equal(moved, rows):
            break
        rows = moved
    return rows


def _means(inputs: Array, sample_ids: Sequence[str], names: Sequence[str]) -> Array:
    number = {name: index for index, name in enumerate(names)}
    numbers = np.array([number[name] for name in sample_ids])
    sums = np.zeros((len(names), inputs.shape[1]))
    np.add.at(sums, numbers, inputs)
    means: Array = sums / np.bincount(numbers)[:, None]
    return means
