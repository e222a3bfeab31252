"""Fits the domain of a bundle: principal components of each training library, and limits that new
soils like them keep.

The limits are quantiles of the distances of soils that a cross-validation's components were fitted
without, so they hold for soils that the final components have not seen either.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics import domain as edge
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import Domain, DomainShape
from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.firmware_bridge.arrays import Array, Integers

FALSE_ALARMS = 0.04
"""Share of soils like the training soils that may be flagged; 5 % is promised, so that chance has
some room.
"""

COMPONENTS = 4
"""For each library and view: they hold 96 to 99.98 % of the variance of the open libraries."""

FEWEST_SOILS = 20
"""A smaller library gets no components of its own, so its soils count as in the domain only if
another library has them.
"""

SMOOTHED_NM = 30.0
"""So that the noise of a handheld does not look like a foreign material; soil's own features are
some 25 nm and wider.
"""

_KEPT_NM = 8.0
_CHUNK = 512


@dataclass(frozen=True)
class Positions:
    """As `edge.domain.Position`, for many soils: `nearest` `(n,)` and `distance` `(n,)`."""

    nearest: Integers
    distance: Array

    def __getitem__(self, rows: NDArray[np.bool_] | Integers) -> Positions:
        return Positions(self.nearest[rows], self.distance[rows])


@dataclass(frozen=True)
class FittedDomain:
    """A domain, and where each training soil lies by components that were fitted without
    its fold.
    """

    domain: Domain
    held_out: Positions


def fit(
    grid: Grid,
    spectra: Array,
    origin: list[str],
    fold_of: Integers,
    correction: Correction | None = None,
) -> FittedDomain | None:
    """The domain of absorbance `(n, bands)` on a grid; `origin` names the library and `fold_of` the
    fold of each soil.

    The domain looks at spectra that went through the model's `correction`, as the network does;
    give `positions` the same. None where no library has `FEWEST_SOILS`.
    """
    shape = _shape(grid, origin, fold_of)
    if shape is None:
        return None
    views = prepare(shape, grid, spectra, correction)
    library_of = np.array(
        [shape.libraries.index(name) if name in shape.libraries else -1 for name in origin]
    )
    ratios = np.empty((len(views), len(shape.libraries), 2, len(edge.DISTANCES)))
    for fold in np.unique(fold_of):
        held_out = fold_of == fold
        ratios[held_out] = _ratios(
            _components(shape, views[~held_out], library_of[~held_out]), views[held_out]
        )
    # Each distance in units of what its own library's soils reach; then one factor for all of them
    # together, so that the shares of false alarms of the four distances do not add up to more than
    # was asked for.
    own = [ratios[library_of == number, number] for number in range(len(shape.libraries))]
    scale = np.stack([np.quantile(distances, 0.95, axis=0) for distances in own])
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    furthest = (ratios / scale).max(axis=(2, 3))
    limit = conformal_quantile(furthest.min(axis=1), 1.0 - FALSE_ALARMS)
    domain = dataclasses.replace(_components(shape, views, library_of), limits=scale * limit)
    # As the bundle will hold it, so that training looks at the very same numbers.
    domain = edge.read(domain.to_bytes(), shape, grid)
    return FittedDomain(domain, _positions(furthest / limit))


def positions(
    domain: Domain, grid: Grid, spectra: Array, correction: Correction | None = None
) -> Positions:
    """Where absorbance `(n, bands)` on the grid lies; beyond a distance of 1 it is flagged."""
    return _positions(
        _ratios(domain, prepare(domain.shape, grid, spectra, correction)).max(axis=(2, 3))
    )


def prepare(
    shape: DomainShape, grid: Grid, spectra: Array, correction: Correction | None = None
) -> Array:
    """Absorbance `(n, bands)` -> the views that the domain looks at, `(n, 2, bands looked at)`, a
    few soils at a time.
    """
    preprocess = Preprocessor(shape.preprocessing(grid), grid.wavelengths(), correction)
    chunks = np.array_split(spectra, -(-len(spectra) // _CHUNK)) if len(spectra) else []
    views = [shape.views(preprocess.batch(chunk)[:, 0]) for chunk in chunks]
    return np.concatenate(views) if views else np.empty((0, 2, -(-grid.bands // shape.every)))


def conformal_quantile(scores: Array, coverage: float) -> float:
    """The smallest score that `coverage` of new ones keep to: the `ceil((n + 1) coverage)`-th of
    `(n,)`, or the largest.

    The + 1 is the new soil's own score, which ranks anywhere among the others alike (Lei et al.
    2018, eq. 6).
    """
    rank = min(scores.size, int(np.ceil((scores.size + 1) * coverage)))
    return float(np.sort(scores)[rank - 1])


def _shape(grid: Grid, origin: list[str], fold_of: Integers) -> DomainShape | None:
    names = np.array(origin)
    folds = np.unique(fold_of)

    def enough(library: str) -> bool:
        soils = names == library
        fewest_left = min(int(np.sum(soils & (fold_of != fold))) for fold in folds)
        return int(np.sum(soils)) >= FEWEST_SOILS and fewest_left >= FEWEST_SOILS // 2

    libraries = tuple(library for library in dict.fromkeys(origin) if enough(library))
    if not libraries:
        return None
    window = 2 * int(np.ceil(SMOOTHED_NM / grid.step_nm / 2.0 - 0.5)) + 1
    window = max(3, min(window, grid.bands if grid.bands % 2 else grid.bands - 1))
    every = max(1, min(round(_KEPT_NM / grid.step_nm), window))
    return DomainShape(window, every, COMPONENTS, libraries, FALSE_ALARMS)


def _components(shape: DomainShape, views: Array, library_of: Integers) -> Domain:
    """Components of each library in each view, with limits of 1."""
    parts = [
        [_principal(views[library_of == number, view]) for view in range(2)]
        for number in range(len(shape.libraries))
    ]
    means, loadings, variances = (
        np.array([[part[index] for part in library] for library in parts]) for index in range(3)
    )
    return Domain(
        shape, means, loadings, variances, np.ones((len(shape.libraries), 2, len(edge.DISTANCES)))
    )


def _principal(spectra: Array) -> tuple[Array, Array, Array]:
    """Mean, loadings and variances of `(n, bands)`, from the covariance: it is small however many
    soils there are.
    """
    mean = spectra.mean(axis=0)
    variances, vectors = np.linalg.eigh(np.cov(spectra, rowvar=False))
    largest = slice(None, -COMPONENTS - 1, -1)
    return mean, vectors.T[largest], np.maximum(variances[largest], 1e-12)


def _ratios(domain: Domain, views: Array) -> Array:
    chunks = np.array_split(views, max(1, -(-len(views) // _CHUNK)))
    return np.concatenate([domain.ratios(chunk) for chunk in chunks])


def _positions(furthest: Array) -> Positions:
    """From each soil's largest ratio for each library, `(n, L)`."""
    return Positions(np.argmin(furthest, axis=1), furthest.min(axis=1))
