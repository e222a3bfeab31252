"""The distances of `domain` for one spectrum at little cost, or for many at once.

In: the channels that a `Domain` reads. Out: where each spectrum lies.

The scores of all libraries and views are one product with the smoothed spectrum. Every distance
divided by its limit is linear in the scores' squares, in the products with the libraries' means and
in the square of the spectrum, so all of them are a second product. NumPy takes longer to be called
than to compute so little, so what can be done for the domain and the strict one together, is.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.domain import DISTANCES, Domain
from ccnvr.edge.chemometrics.preprocess import constant_spectrum
from ccnvr.firmware_bridge.arrays import Array, Integers

_LEAST_VARIANCE = 1e-12
"""The least variance of a spectrum as a share of its mean square; rounding leaves 1e-16."""


class Position(NamedTuple):
    """The position of a spectrum in a domain.

    `nearest` is the number of the nearest library, `distance` the largest ratio of a distance to
    its limit, which is at most 1 in the domain. `sure` says whether the soil surely comes from a
    known place: whether it is in the domain and in the strict one, if there is one. `flags` are
    those of a prediction, such as `out_of_domain:Q`.
    """

    nearest: int
    distance: float
    sure: bool
    flags: tuple[str, ...] = ()


class DomainDistances:
    """A domain, and the strict one in it, compiled to two products."""

    def __init__(self, domain: Domain) -> None:
        inner = () if domain.strict is None else (domain.strict,)
        self._parts = [_Part(one) for one in (domain, *inner)]
        ends = np.cumsum([part.matrix.shape[1] for part in self._parts])
        self._columns = [
            slice(int(end) - part.matrix.shape[1], int(end))
            for part, end in zip(self._parts, ends, strict=True)
        ]
        self._mean_columns: Integers = ends - 1
        # The number of the factor of each column: 0 for 1, else that of its part's SNV.
        self._factor_of: Integers = np.concatenate(
            [number * part.is_snv for number, part in enumerate(self._parts, start=1)]
        )
        self._centre: Array = np.concatenate([part.centre for part in self._parts])
        self._ratio_shape, self._to_ratios, self._constant = _joined(self._parts, self._columns)
        self._views = domain.shape.view_count

    def __call__(self, smoothed: NDArray[np.floating]) -> list[Position]:
        """Return the positions of spectra, given as `(n, channels, grid bands)`.

        The channels are those of the domain's `shape.preprocessing`.

        Raises:
            SpectrumError: a spectrum is constant.
        """
        ratios = self._ratios(smoothed)
        # The nearest library is the one whose worst distance is the smallest, because a spectrum
        # is in the domain only if all distances to one library are within their limits.
        furthest = np.maximum.reduce(ratios, axis=3)
        nearest = furthest[:, 0].argmin(axis=1).tolist()
        # Bundles made before the strict domain existed are sure of all soils in the domain.
        within = np.minimum.reduce(furthest, axis=2).tolist()
        positions = []
        for row, (library, distances) in enumerate(zip(nearest, within, strict=True)):
            # Written so that NaN is beyond every limit.
            flags = () if distances[0] <= 1.0 else self._flags(ratios[row, 0, library])
            sure = not flags and distances[-1] <= 1.0
            positions.append(Position(library, distances[0], sure, flags))
        return positions

    def _flags(self, ratios: Array) -> tuple[str, ...]:
        """Return the flags for the ratios of one library, `(views x Q and T2,)`."""
        worst = ratios[: self._views * len(DISTANCES)].reshape(-1, len(DISTANCES)).max(axis=0)
        return tuple(
            f"out_of_domain:{name}"
            for name, ratio in zip(DISTANCES, worst, strict=True)
            if not ratio <= 1.0
        )

    def _ratios(self, smoothed: NDArray[np.floating]) -> Array:
        """Return the ratios `(n, domain and strict one, libraries, views x Q and T2)`."""
        count, parts = len(smoothed), len(self._parts)
        products = np.empty((count, self._centre.size))
        squares = np.empty((count, parts))
        for number, (part, columns) in enumerate(zip(self._parts, self._columns, strict=True)):
            # In float64, since Q is a small difference of large sums.
            spectra = np.ascontiguousarray(smoothed[:, number, :: part.every], dtype=np.float64)
            np.matmul(spectra, part.matrix, out=products[:, columns])
            # For one spectrum a single number, and BLAS is called faster than einsum.
            squares[:, number] = (spectra @ spectra.T).diagonal()
        means = products.take(self._mean_columns, axis=1)
        factors = np.array(list(map(_factors, means.tolist(), squares.tolist())))
        products *= factors.take(self._factor_of, axis=1)
        products -= self._centre
        for part, columns in zip(self._parts, self._columns, strict=True):
            scores = products[:, columns.start : columns.start + part.scores]
            np.multiply(scores, scores, out=scores)
        # The means have served, and the ratios need the squares.
        products[:, self._mean_columns] = squares
        ratios: Array = products @ self._to_ratios
        ratios += self._constant
        return ratios.reshape(count, *self._ratio_shape)


def _factors(means: list[float], squares: list[float]) -> list[float]:
    """Return 1, and for each part 1 over the standard deviation and the root of the bands.

    Args:
        means: of one spectrum as each part reads it, the mean times the root of the bands.
        squares: the sums of the squares.

    Raises:
        SpectrumError: the spectrum is constant.
    """
    factors = [1.0]
    for mean, square in zip(means, squares, strict=True):
        variance = square - mean * mean
        # Written so that NaN fails.
        if not variance > _LEAST_VARIANCE * square:
            raise constant_spectrum()
        factors.append(1.0 / sqrt(variance))
    return factors


class _Part:
    """One domain, without the strict one in it, as matrices.

    With the mean m, the loadings P and the limits of one library in one view x, the scores are
    `s = P x - P m`, and `Q = |x|^2 - 2 (x m - |m|^2 / 2) - s.s` and `T2 = s.(s / variances)`.

    The columns are those of the scores, then the products with the means, then the mean of x,
    whose place the square of x takes. The last view, or the only one, is after SNV.
    """

    def __init__(self, domain: Domain) -> None:
        libraries, views, components, bands = domain.loadings.shape
        self.every = domain.shape.every
        self.scores = libraries * views * components
        loadings, means = domain.loadings, domain.means
        centre = [np.sum(loadings * means[:, :, None], axis=3), np.sum(means**2, axis=2) / 2.0]
        self.centre: Array = np.concatenate([*(one.ravel() for one in centre), [0.0]])
        root = np.sqrt(bands)
        rows = [np.array(loadings), np.array(means)]
        for one in rows:
            # The bands of a spectrum after SNV add up to 0, so that only the differences of a row
            # from its own mean count; with these, the spectrum's mean need not be subtracted.
            one[:, -1] -= one[:, -1].mean(axis=-1, keepdims=True)
            # SNV then is a factor of 1 / sd, and the factor at hand is that over the root.
            one[:, -1] *= root
        flat = [one.reshape(-1, bands) for one in rows]
        self.matrix: Array = np.concatenate([*flat, np.full((1, bands), 1.0 / root)]).T.copy()
        last = np.zeros((libraries, views, components), dtype=np.int64)
        last[:, -1] = 1
        self.is_snv: Integers = np.concatenate([last.ravel(), last[..., 0].ravel(), [0]])
        self.to_ratios, self.constant = _to_ratios(domain)


def _to_ratios(domain: Domain) -> tuple[Array, Array]:
    """Return the matrix from a part's columns, scores squared, to its ratios, and what is added.

    They are `(columns, libraries, views x Q and T2)` and `(libraries, views x Q and T2)`.
    """
    libraries, views, components, bands = domain.loadings.shape
    shape = (libraries, views, len(DISTANCES))
    scores = np.zeros((libraries, views, components, *shape))
    means, square, constant = np.zeros((libraries, views, *shape)), np.zeros(shape), np.zeros(shape)
    for library, view in np.ndindex(libraries, views):
        q_limit, t2_limit = domain.limits[library, view]
        scores[library, view, :, library, view, 0] = -1.0 / q_limit
        scores[library, view, :, library, view, 1] = 1.0 / (
            domain.variances[library, view] * t2_limit
        )
        means[library, view, library, view, 0] = -2.0 / q_limit
        if view == views - 1:
            # After SNV the square of every spectrum is the number of its bands.
            constant[library, view, 0] = bands / q_limit
        else:
            square[library, view, 0] = 1.0 / q_limit
    flat = (libraries, views * len(DISTANCES))
    matrix = np.concatenate([part.reshape(-1, *flat) for part in (scores, means, square)])
    return matrix, constant.reshape(flat)


def _joined(parts: list[_Part], columns: list[slice]) -> tuple[tuple[int, int, int], Array, Array]:
    """Return the shape of the ratios of all parts, their matrix and what is added to them.

    A part with fewer libraries than another gets some that are infinitely far away.
    """
    libraries = max(len(part.constant) for part in parts)
    distances = max(part.constant.shape[1] for part in parts)
    matrix = np.zeros((columns[-1].stop, len(parts), libraries, distances))
    constant = np.full((len(parts), libraries, distances), np.inf)
    for number, (part, rows) in enumerate(zip(parts, columns, strict=True)):
        here = part.constant.shape
        matrix[rows, number, : here[0], : here[1]] = part.to_ratios
        constant[number, : here[0]] = 0.0
        constant[number, : here[0], : here[1]] = part.constant
    shape = (len(parts), libraries, distances)
    return shape, matrix.reshape(columns[-1].stop, -1), constant.ravel()
