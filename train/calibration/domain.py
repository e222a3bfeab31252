"""Fit the domain of a bundle: principal components of each training library, and their limits.

The limits are quantiles of the distances of soils in cross-validation, each from components that
were fitted without it, so they hold for new soils too.
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
"""The share of soils like the training soils that may be flagged.

It is below the promised 5 %, to leave room for chance.
"""

COMPONENTS = 4
"""The components of each library in each view: 96 to 99.98 % of the open libraries' variance."""

FEWEST_SOILS = 20
"""The soils that a library needs for components of its own.

Soils of a smaller library lie in the domain only if they lie in that of another library.
"""

SMOOTHED_NM = 30.0
"""The width of the smoothing, so that a handheld's noise is not taken for a foreign material.

Features of soils are about 25 nm wide and wider.
"""

_KEPT_NM = 8.0
_CHUNK = 512


@dataclass(frozen=True)
class Positions:
    """The positions of many soils; `edge.chemometrics.domain.Position` is that of one."""

    nearest: Integers
    """The number of the nearest library, `(n,)`."""

    distance: Array
    """The distance in units of its limit, `(n,)`; a soil beyond 1 is flagged."""

    def __getitem__(self, rows: NDArray[np.bool_] | Integers) -> Positions:
        return Positions(self.nearest[rows], self.distance[rows])


@dataclass(frozen=True)
class FittedDomain:
    """A domain with the positions of its training soils."""

    domain: Domain
    """The domain, fitted to all soils."""

    held_out: Positions
    """The position of each training soil by components fitted without its fold."""


def fit(
    grid: Grid,
    spectra: Array,
    origin: list[str],
    fold_of: Integers,
    correction: Correction | None = None,
) -> FittedDomain | None:
    """Fit the domain of absorbance `(n, bands)` on a grid.

    `origin` names the library of each soil, and `fold_of` `(n,)` its fold. Spectra pass the model's
    `correction` first, as for the network; `positions` must be given the same. Returns None if no
    library has `FEWEST_SOILS`.
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
    # Each distance is scaled by what soils of its own library reach. Then one factor limits all
    # four distances together, because with four separate limits the shares of false alarms would
    # add up.
    own = [ratios[library_of == number, number] for number in range(len(shape.libraries))]
    scale = np.stack([np.quantile(distances, 0.95, axis=0) for distances in own])
    # A library of equal spectra reaches nowhere, and must not divide by 0.
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    furthest = (ratios / scale).max(axis=(2, 3))
    limit = conformal_quantile(furthest.min(axis=1), 1.0 - FALSE_ALARMS)
    domain = dataclasses.replace(_components(shape, views, library_of), limits=scale * limit)
    # Through the bundle's format and back, so that training uses the numbers the edge will use.
    domain = edge.read(domain.to_bytes(), shape, grid)
    return FittedDomain(domain, _positions(furthest / limit))


def positions(
    domain: Domain, grid: Grid, spectra: Array, correction: Correction | None = None
) -> Positions:
    """Return the positions of absorbance `(n, bands)` on the grid."""
    return _positions(
        _ratios(domain, prepare(domain.shape, grid, spectra, correction)).max(axis=(2, 3))
    )


def prepare(
    shape: DomainShape, grid: Grid, spectra: Array, correction: Correction | None = None
) -> Array:
    """Return the domain's views of absorbance `(n, bands)`, `(n, 2, bands used)`.

    It works in blocks of soils to limit the memory.
    """
    preprocess = Preprocessor(shape.preprocessing(grid), grid.wavelengths(), correction)
    chunks = np.array_split(spectra, -(-len(spectra) // _CHUNK)) if len(spectra) else []
    views = [shape.views(preprocess.batch(chunk)[:, 0]) for chunk in chunks]
    return np.concatenate(views) if views else np.empty((0, 2, -(-grid.bands // shape.every)))


def conformal_quantile(scores: Array, coverage: float) -> float:
    """Return the score that a share `coverage` of new scores does not exceed.

    It is the `ceil((n + 1) coverage)`-th smallest of the scores `(n,)`, or the largest. The + 1
    stands for the new score, whose rank among the others is uniform (Lei et al. 2018, eq. 6).
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
    # The odd number of bands that is nearest to the width, within what the grid allows.
    window = 2 * int(np.ceil(SMOOTHED_NM / grid.step_nm / 2.0 - 0.5)) + 1
    shortest = grid.shortest_segment
    window = max(3, min(window, shortest if shortest % 2 else shortest - 1))
    if grid.wavelengths_nm:
        window = 1
    # Not coarser than the smoothing, so that no feature falls between the bands that are kept.
    every = max(1, min(round(_KEPT_NM / grid.step_nm), window))
    return DomainShape(window, every, COMPONENTS, libraries, FALSE_ALARMS)


def _components(shape: DomainShape, views: Array, library_of: Integers) -> Domain:
    """Return the components of each library in each view, with limits of 1."""
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
    """Return mean, loadings and variances of spectra `(n, bands)`.

    They are computed from the covariance, whose size does not depend on the number of soils.
    """
    mean = spectra.mean(axis=0)
    variances, vectors = np.linalg.eigh(np.cov(spectra, rowvar=False))
    # eigh sorts ascending.
    largest = slice(None, -COMPONENTS - 1, -1)
    return mean, vectors.T[largest], np.maximum(variances[largest], 1e-12)


def _ratios(domain: Domain, views: Array) -> Array:
    chunks = np.array_split(views, max(1, -(-len(views) // _CHUNK)))
    return np.concatenate([domain.ratios(chunk) for chunk in chunks])


def _positions(furthest: Array) -> Positions:
    """Return positions from each soil's largest ratio for each library, `(n, libraries)`."""
    return Positions(np.argmin(furthest, axis=1), furthest.min(axis=1))
