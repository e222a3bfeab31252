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

UNSURE = 0.2
"""The share of soils like the training soils that the strict domain is not sure of."""

STRICT_COMPONENTS = 32
"""The components of each library in the strict domain, where library and bands allow so many.

They describe what is peculiar to an instrument and a laboratory: with 8 components a third of the
soils of libraries left out passed as known, with 32 it was 3 % (docs/decisions/0074).
"""

SLOPE_NM = 50.0
"""The width of the filter that gives the slope of a spectrum for the strict domain."""

FEWEST_SOILS = 20
"""The soils that a library needs for components of its own.

Soils of a smaller library lie in the domain only if they lie in that of another library.
"""

SMOOTHED_NM = 30.0
"""The width of the smoothing, so that a handheld's noise is not taken for a foreign material.

Features of soils are about 25 nm wide and wider.
"""

_KEPT_NM = 8.0
# Half as many bands tell known soils from others as well, and make the file half as large.
_SLOPES_KEPT_NM = 16.0
_CHUNK = 512


@dataclass(frozen=True)
class Positions:
    """The positions of many soils; `edge.chemometrics.domain.Position` is that of one."""

    nearest: Integers
    """The number of the nearest library, `(n,)`."""

    distance: Array
    """The distance in units of its limit, `(n,)`; a soil beyond 1 is flagged."""

    sure: NDArray[np.bool_]
    """Whether the soil surely comes from a known place, `(n,)`."""

    def __getitem__(self, rows: NDArray[np.bool_] | Integers) -> Positions:
        return Positions(self.nearest[rows], self.distance[rows], self.sure[rows])


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
    strict: bool = False,
) -> FittedDomain | None:
    """Fit the domain of absorbance `(n, bands)` on a grid, with a `strict` one in it if asked for.

    `origin` names the library of each soil, and `fold_of` `(n,)` its fold. Spectra pass the model's
    `correction` first, as for the network; `positions` must be given the same. Returns None if no
    library has `FEWEST_SOILS`.
    """
    shape = _shape(grid, origin, fold_of)
    if shape is None:
        return None
    views = prepare(shape, grid, spectra, correction)
    domain, held_out = _fit(shape, views, origin, fold_of)
    if strict:
        narrow = _strict_shape(grid, shape.libraries)
        views = prepare(narrow, grid, spectra, correction)
        inner, near = _fit(narrow, views, origin, fold_of)
        shape = dataclasses.replace(shape, strict=narrow)
        domain = dataclasses.replace(domain, shape=shape, strict=inner)
        held_out = dataclasses.replace(held_out, sure=held_out.sure & (near.distance <= 1.0))
    # Through the bundle's format and back, so that training uses the numbers the edge will use.
    return FittedDomain(edge.read(domain.to_bytes(), domain.shape, grid), held_out)


def _fit(
    shape: DomainShape, views: Array, origin: list[str], fold_of: Integers
) -> tuple[Domain, Positions]:
    """Return the domain of views `(n, V, bands used)`, and the positions of held-out soils."""
    library_of = np.array(
        [shape.libraries.index(name) if name in shape.libraries else -1 for name in origin]
    )
    ratios = np.empty((len(views), len(shape.libraries), shape.view_count, len(edge.DISTANCES)))
    for fold in np.unique(fold_of):
        held_out = fold_of == fold
        ratios[held_out] = _ratios(
            _components(shape, views[~held_out], library_of[~held_out]), views[held_out]
        )
    # Each distance is scaled by what soils of its own library reach. Then one factor limits all
    # all distances together, because with separate limits the shares of false alarms would add up.
    own = [ratios[library_of == number, number] for number in range(len(shape.libraries))]
    scale = np.stack([np.quantile(distances, 0.95, axis=0) for distances in own])
    # A library of equal spectra reaches nowhere, and must not divide by 0.
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    furthest = (ratios / scale).max(axis=(2, 3))
    limit = conformal_quantile(furthest.min(axis=1), 1.0 - shape.false_alarms)
    domain = dataclasses.replace(_components(shape, views, library_of), limits=scale * limit)
    return domain, _positions(furthest / limit)


def positions(
    domain: Domain, grid: Grid, spectra: Array, correction: Correction | None = None
) -> Positions:
    """Return the positions of absorbance `(n, bands)` on the grid."""
    found = _positions(
        _ratios(domain, prepare(domain.shape, grid, spectra, correction)).max(axis=(2, 3))
    )
    if domain.strict is None:
        return found
    near = positions(domain.strict, grid, spectra, correction)
    return dataclasses.replace(found, sure=found.sure & (near.distance <= 1.0))


def prepare(
    shape: DomainShape, grid: Grid, spectra: Array, correction: Correction | None = None
) -> Array:
    """Return the domain's views of absorbance `(n, bands)`, `(n, V, bands used)`.

    It works in blocks of soils to limit the memory.
    """
    preprocess = Preprocessor(shape.preprocessing(grid), grid.wavelengths(), correction)
    chunks = np.array_split(spectra, -(-len(spectra) // _CHUNK)) if len(spectra) else []
    views = [shape.views(preprocess.batch(chunk)[:, 0]) for chunk in chunks]
    if not views:
        return np.empty((0, shape.view_count, -(-grid.bands // shape.every)))
    return np.concatenate(views)


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
    window, every = _window(grid, SMOOTHED_NM, _KEPT_NM)
    return DomainShape(window, every, COMPONENTS, libraries, FALSE_ALARMS)


def _strict_shape(grid: Grid, libraries: tuple[str, ...]) -> DomainShape:
    window, every = _window(grid, SLOPE_NM, _SLOPES_KEPT_NM)
    # Of as many components as bands nothing would be left beside them.
    components = max(1, min(STRICT_COMPONENTS, 3 * (grid.bands // every) // 5))
    return DomainShape(window, every, components, libraries, UNSURE, slope=True)


def _window(grid: Grid, width_nm: float, kept_nm: float) -> tuple[int, int]:
    """Return the window in bands of a filter of this width, and which of the bands are kept."""
    if grid.wavelengths_nm:
        return 1, 1
    # The odd number of bands that is nearest to the width, within what the grid allows.
    window = 2 * int(np.ceil(width_nm / grid.step_nm / 2.0 - 0.5)) + 1
    shortest = grid.shortest_segment
    window = max(3, min(window, shortest if shortest % 2 else shortest - 1))
    # Not coarser than the smoothing, so that no feature falls between the bands that are kept.
    return window, max(1, min(round(kept_nm / grid.step_nm), window))


def _components(shape: DomainShape, views: Array, library_of: Integers) -> Domain:
    """Return the components of each library in each view, with limits of 1."""
    parts = [
        [
            _principal(views[library_of == number, view], shape.components)
            for view in range(shape.view_count)
        ]
        for number in range(len(shape.libraries))
    ]
    means, loadings, variances = (
        np.array([[part[index] for part in library] for library in parts]) for index in range(3)
    )
    limits = np.ones((len(shape.libraries), shape.view_count, len(edge.DISTANCES)))
    return Domain(shape, means, loadings, variances, limits)


def _principal(spectra: Array, components: int) -> tuple[Array, Array, Array]:
    """Return mean, loadings and variances of spectra `(n, bands)`.

    They are computed from the covariance, whose size does not depend on the number of soils.
    """
    mean = spectra.mean(axis=0)
    variances, vectors = np.linalg.eigh(np.cov(spectra, rowvar=False))
    # eigh sorts ascending.
    largest = slice(None, -components - 1, -1)
    loadings, variances = vectors.T[largest].copy(), np.maximum(variances[largest], 1e-12)
    # More components than a fifth of the soils would describe these very soils.
    most = max(COMPONENTS, len(spectra) // 5)
    loadings[most:], variances[most:] = 0.0, 1.0
    return mean, loadings, variances


def _ratios(domain: Domain, views: Array) -> Array:
    chunks = np.array_split(views, max(1, -(-len(views) // _CHUNK)))
    return np.concatenate([domain.ratios(chunk) for chunk in chunks])


def _positions(furthest: Array) -> Positions:
    """Return positions from each soil's largest ratio for each library, `(n, libraries)`."""
    nearest, distance = np.argmin(furthest, axis=1), furthest.min(axis=1)
    return Positions(nearest, distance, distance <= 1.0)
