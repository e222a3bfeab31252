"""The distances of `domain` for one spectrum at little cost, or for many at once.

In: the channels that a `Domain` reads. Out: where each spectrum lies.

The scores of all libraries and views, and the products with the libraries' means, are one product
with the smoothed spectrum. Every distance divided by its limit is linear in the squares of the
scores, in the products with the means and in the square of the spectrum, so all of them are a
second product. NumPy takes longer to be called than to compute so little, so calls are few.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.domain import DISTANCES, Domain
from ccnvr.edge.chemometrics.preprocess import constant_spectrum
from ccnvr.firmware_bridge.arrays import Array

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
    """A domain, and the strict one in it, each compiled to two products."""

    def __init__(self, domain: Domain) -> None:
        inner = () if domain.strict is None else (domain.strict,)
        self._parts = [_Part(one, number) for number, one in enumerate((domain, *inner))]
        self._names = DISTANCES * domain.shape.view_count

    def __call__(self, smoothed: NDArray[np.floating]) -> list[Position]:
        """Return the positions of spectra, given as `(n, channels, grid bands)`.

        The channels are those of the domain's `shape.preprocessing`.

        Raises:
            SpectrumError: a spectrum is constant.
        """
        by_part = [part.ratios(smoothed) for part in self._parts]
        # A library is as far away as the worst of its distances, because a spectrum is in the
        # domain only if all distances to one library are within their limits.
        furthest = [np.maximum.reduce(ratios, axis=2).tolist() for ratios in by_part]
        positions = []
        for row, by_library in enumerate(furthest[0]):
            distance = min(by_library)
            nearest = by_library.index(distance)
            # Written so that NaN is beyond every limit.
            flags = () if distance <= 1.0 else self._flags(by_part[0][row, nearest])
            # Bundles made before the strict domain existed are sure of all soils in the domain.
            sure = not flags and min(furthest[-1][row]) <= 1.0
            positions.append(Position(nearest, distance, sure, flags))
        return positions

    def _flags(self, ratios: Array) -> tuple[str, ...]:
        """Return the flags for the ratios of one library, `(views x Q and T2,)`."""
        beyond = {name for name, ratio in zip(self._names, ratios, strict=True) if not ratio <= 1.0}
        return tuple(f"out_of_domain:{name}" for name in DISTANCES if name in beyond)


class _Part:
    """One domain, without the strict one in it, as matrices.

    With the mean m, the loadings P and the limits of one library in one view x, the scores are
    `s = P x - P m`, and `Q = |x|^2 - 2 (x m - |m|^2 / 2) - s.s` and `T2 = s.(s / variances)`.

    The columns are those of the scores, between the products with the means: of the views before
    SNV first, and of SNV, the last or only view, after them. A column of ones and the mean of x,
    whose place the square of x takes, follow.

    Args:
        domain: the domain.
        channel: the number of the channel that it reads.
    """

    def __init__(self, domain: Domain, channel: int) -> None:
        libraries, views, components, bands = domain.loadings.shape
        self._channel, self._every, self._libraries = channel, domain.shape.every, libraries
        root = np.sqrt(bands)
        # A copy, by view; the means are the last row of each library.
        rows = np.concatenate([domain.loadings, domain.means[:, :, None]], axis=2).swapaxes(0, 1)
        means = domain.means.swapaxes(0, 1)[:, :, None]
        centre = np.sum(rows * means, axis=3)
        centre[..., -1] /= 2.0
        # The bands of a spectrum after SNV add up to 0, so that only the differences of a row from
        # its own mean count; with these, the spectrum's mean need not be subtracted.
        rows[-1] -= rows[-1].mean(axis=-1, keepdims=True)
        # SNV then is a factor of 1 / sd, and the factor at hand is that over the root.
        rows[-1] *= root
        before = (views - 1) * libraries
        self._scores = slice(before, before + views * libraries * components)
        self._of_snv = slice(before * (components + 1), views * libraries * (components + 1))
        self._matrix: Array = np.concatenate(
            [_in_columns(rows), np.zeros((1, bands)), np.full((1, bands), 1.0 / root)]
        ).T.copy()
        self._centre: Array = np.concatenate([_in_columns(centre), [-1.0, 0.0]])
        self._to_ratios = _to_ratios(domain)

    def ratios(self, smoothed: NDArray[np.floating]) -> Array:
        """Return the ratios `(n, libraries, views x Q and T2)` of `(n, channels, grid bands)`.

        Raises:
            SpectrumError: a spectrum is constant.
        """
        # In float64, since Q is a small difference of large sums.
        spectra = np.ascontiguousarray(smoothed[:, self._channel, :: self._every], dtype=np.float64)
        # As methods, which NumPy calls faster than the operator `@`.
        products: Array = spectra.dot(self._matrix)
        # For one spectrum a single number, and BLAS is called faster than einsum.
        squares = spectra.dot(spectra.T).diagonal()
        products[:, self._of_snv] *= _factors(products[:, -1].tolist(), squares.tolist())
        products -= self._centre
        scores = products[:, self._scores]
        np.multiply(scores, scores, out=scores)
        products[:, -1] = squares
        ratios: Array = products.dot(self._to_ratios)
        return ratios.reshape(len(ratios), self._libraries, -1)


def _factors(means: list[float], squares: list[float]) -> Array | float:
    """Return the factors of SNV, 1 over the standard deviation and the root of the bands.

    They are `(n, 1)`, or a number for one spectrum.

    Args:
        means: of each spectrum, the mean times the root of the bands.
        squares: of each, the sum of the squares.

    Raises:
        SpectrumError: a spectrum is constant.
    """
    factors = []
    for mean, square in zip(means, squares, strict=True):
        variance = square - mean * mean
        # Written so that NaN fails.
        if not variance > _LEAST_VARIANCE * square:
            raise constant_spectrum()
        factors.append(1.0 / sqrt(variance))
    return factors[0] if len(factors) == 1 else np.array(factors)[:, None]


def _in_columns(of_rows: Array) -> Array:
    """Return `(views, libraries, components + 1, ...)` in the order of the columns of a `_Part`."""
    rest = of_rows.shape[3:]
    of_scores, of_means = of_rows[:, :, :-1], of_rows[:, :, -1]
    parts = (of_means[:-1], of_scores, of_means[-1:])
    return np.concatenate([part.reshape(-1, *rest) for part in parts])


def _to_ratios(domain: Domain) -> Array:
    """Return the matrix from the columns of a `_Part`, scores squared, to its ratios.

    It is `(columns, libraries x views x Q and T2)`.
    """
    libraries, views, components, bands = domain.loadings.shape
    shape = (libraries, views, len(DISTANCES))
    weights = np.zeros((views, libraries, components + 1, *shape))
    constant, square = np.zeros((2, *shape))
    for library, view in np.ndindex(libraries, views):
        q_limit, t2_limit = domain.limits[library, view]
        ours = weights[view, library]
        ours[:-1, library, view, 0] = -1.0 / q_limit
        ours[:-1, library, view, 1] = 1.0 / (domain.variances[library, view] * t2_limit)
        ours[-1, library, view, 0] = -2.0 / q_limit
        if view == views - 1:
            # After SNV the square of every spectrum is the number of its bands.
            constant[library, view, 0] = bands / q_limit
        else:
            square[library, view, 0] = 1.0 / q_limit
    columns = np.concatenate([_in_columns(weights), [constant, square]])
    return columns.reshape(len(columns), -1)
