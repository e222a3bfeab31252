"""The domain of a model: whether a spectrum resembles those that the model was trained on.

In: views of absorbance on the model's grid. Out: the distances to the principal components of each
training library. `domain_distances` is what a predictor uses of it.

A spectrum is examined in two views: as it is, which shows albedo and the depth of the water bands,
and after SNV, which shows the shape alone. For each library and view, Hotelling's T2 is the
distance from the library's centre *within* the plane of its components, and Q the distance *from*
that plane (Jackson & Mudholkar 1979, Technometrics 21:341-349). A spectrum is in the domain if it
is within all the limits of at least one library. Each library has components of its own, because
libraries are clusters: a plane through all of them would also cover the empty space between them.
Components and limits come with the bundle; they are fitted in `train.calibration.domain`.

A domain may hold a stricter one, which decides whether a soil surely comes from a known place. It
reads the slope of the spectrum in many components, so that it recognises an instrument and a
laboratory's way of preparing soils, and not soil as such.
"""

from __future__ import annotations

from dataclasses import field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.preprocess import Channel, Preprocessing, snv
from ccnvr.edge.typed import OMITTED_IF_EMPTY
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.frozen import frozen

PART = "domain.f32"
"""The name of the domain's file in a bundle."""

DISTANCES = ("Q", "T2")

_MOST_COMPONENTS = 64
_MOST_LIBRARIES = 64
_MOST_BYTES = 16 << 20
# Its square is still far below the largest float64, so that no distance overflows.
_LARGEST_VALUE = 1e12


@frozen
class DomainShape:
    """The manifest's description of a domain.

    Absorbance is smoothed over `window` bands of the model's grid, and every `every`-th band is
    used. `components` is the number of principal components of each of the `libraries`.
    `false_alarms` is the share of soils like the training soils that are flagged nevertheless.
    With `slope` there is one view, the SNV of the first derivative. `strict` describes the stricter
    domain, if there is one.

    Raises:
        ValueError: a value is not possible.
    """

    window: int
    every: int
    components: int
    libraries: tuple[str, ...]
    false_alarms: float
    slope: bool = field(default=False, metadata={OMITTED_IF_EMPTY: True})
    strict: DomainShape | None = field(default=None, metadata={OMITTED_IF_EMPTY: True})

    def __post_init__(self) -> None:
        self.channel  # noqa: B018  raises ValueError if the window is not possible
        # With a step longer than the window, some bands would enter no smoothed value at all.
        if not 1 <= self.every <= self.window or not 1 <= self.components <= _MOST_COMPONENTS:
            raise ValueError(
                f"a domain of every {self.every} bands and {self.components} components is not "
                f"possible; from 1 to the window's {self.window} bands and from 1 to "
                f"{_MOST_COMPONENTS} components are"
            )
        if not 1 <= len(self.libraries) <= _MOST_LIBRARIES or not 0.0 < self.false_alarms < 1.0:
            raise ValueError(
                f"a domain of {len(self.libraries)} libraries with false_alarms = "
                f"{self.false_alarms} is not possible; 1 to {_MOST_LIBRARIES} libraries and a "
                "share between 0 and 1 are"
            )
        if self.strict is not None and self.strict.strict is not None:
            raise ValueError("the strict domain of a domain has a strict domain; only one is read")

    @property
    def channel(self) -> Channel:
        """The smoothing, as a channel of a preprocessing."""
        # Separate bands are not smoothed, and have no slope.
        if self.window == 1:
            return Channel(1, polyorder=0, deriv=0, snv=False)
        return Channel(self.window, polyorder=2, deriv=int(self.slope), snv=False)

    @property
    def view_count(self) -> int:
        """The number of views that distances are computed in."""
        return 1 if self.slope else 2

    def preprocessing(self, grid: Grid) -> Preprocessing:
        """Return the preprocessing whose output is located, on the model's grid.

        Its second channel is for the strict domain, if there is one.

        Raises:
            ValueError: the window is longer than the grid.
        """
        strict = () if self.strict is None else (self.strict.channel,)
        return Preprocessing(grid, (self.channel, *strict))

    def views(self, smoothed: NDArray[np.floating]) -> Array:
        """Return the views `(..., views, bands used)` of one channel, `(..., grid bands)`.

        The first is the absorbance as it is, the second the absorbance after SNV; with `slope`
        there is only the SNV of what the channel holds.

        Raises:
            SpectrumError: a spectrum is constant.
        """
        # In float64, since Q is a small difference of large sums (see `ratios`).
        kept = np.asarray(smoothed[..., :: self.every], dtype=np.float64)
        scaled = snv(kept)
        return scaled[..., None, :] if self.slope else np.stack([kept, scaled], axis=-2)


@frozen
class Domain:
    """The principal components of L libraries in V views of B bands, with limits of distances.

    `means` is `(L, V, B)`; `loadings` is `(L, V, components, B)`, with orthonormal rows, or rows of
    0 where a library is too small for so many; `variances`, those of the scores, is
    `(L, V, components)`; `limits` is `(L, V, 2)`, of Q and T2 in each view.

    Raises:
        ValueError: a value is not finite, or a variance or limit is not positive.
    """

    shape: DomainShape
    means: Array
    loadings: Array
    variances: Array
    limits: Array
    strict: Domain | None = None
    """The stricter domain, of soils that surely come from a known place."""

    def __post_init__(self) -> None:
        arrays = (self.means, self.loadings, self.variances, self.limits)
        if not all(np.all(np.abs(array) < _LARGEST_VALUE) for array in arrays):
            raise ValueError(
                "the domain holds a value that is not a finite number of sensible size"
            )
        if not (np.all(self.variances > 0.0) and np.all(self.limits > 0.0)):
            raise ValueError("the domain holds a variance or a limit that is not positive")

    def ratios(self, views: Array) -> Array:
        """Return each distance divided by its limit, `(n, L, V views, Q and T2)`.

        `views` is `(n, V, B)`.
        """
        matrix, centre = self._compiled
        by_view = views.swapaxes(0, 1)
        # (V views, n, L, components + 1)
        products = (by_view @ matrix).reshape(*by_view.shape[:2], len(self.means), -1) - centre
        squares, along_mean = products[..., :-1] ** 2, products[..., -1]
        # |x - m|^2 = |x|^2 - 2 (x m - |m|^2 / 2) needs no array of differences for each library.
        q = np.sum(by_view**2, axis=-1)[..., None] - 2.0 * along_mean - squares.sum(axis=-1)
        t2 = np.sum(squares / self.variances.swapaxes(0, 1)[:, None], axis=-1)
        distances = np.stack([q, t2], axis=-1).transpose(1, 2, 0, 3)
        # Rounding may make a Q slightly negative.
        ratios: Array = np.maximum(distances, 0.0) / self.limits
        return ratios

    @cached_property
    def _compiled(self) -> tuple[Array, Array]:
        """The loadings and means of all libraries in one matrix, and the constants of `ratios`.

        One product with the matrix, `(V, B, L x (components + 1))`, gives all scores and the
        products with the means; the constants are to be subtracted from them.
        """
        rows = np.concatenate([self.loadings, self.means[:, :, None]], axis=2).swapaxes(0, 1)
        centre = np.sum(rows * self.means.swapaxes(0, 1)[:, :, None], axis=-1)
        centre[..., -1] /= 2.0
        return rows.reshape(len(rows), -1, rows.shape[-1]).swapaxes(1, 2).copy(), centre[:, None]

    def to_bytes(self) -> bytes:
        """Return the file of a bundle: the arrays in the order of the fields, as `<f4`.

        Those of the strict domain follow.
        """
        arrays = (self.means, self.loadings, self.variances, self.limits)
        strict = b"" if self.strict is None else self.strict.to_bytes()
        return b"".join(array.astype("<f4").tobytes() for array in arrays) + strict


def read(content: bytes, shape: DomainShape, grid: Grid) -> Domain:
    """Return the domain in a file that `to_bytes` wrote.

    Raises:
        ValueError: the file has another size than `shape` and `grid` give, or holds a value that is
            not possible.
    """
    shape.preprocessing(grid)  # raises ValueError if the window is longer than the grid
    shapes = [shape] if shape.strict is None else [shape, shape.strict]
    sizes = [size for one in shapes for size in _sizes(one, grid)]
    counts = [int(np.prod(size)) for size in sizes]
    expected = 4 * sum(counts)
    if len(content) != expected or expected > _MOST_BYTES:
        libraries, bands = len(shape.libraries), sizes[0][-1]
        raise ValueError(
            f"it has {len(content)} bytes where {libraries} libraries of {shape.components} "
            f"components and {bands} bands have {expected}, and at most {_MOST_BYTES} are allowed"
        )
    # In float64 from here on; float32 is enough to keep them, not to compute Q with.
    pieces = np.split(
        np.frombuffer(content, dtype="<f4").astype(np.float64), np.cumsum(counts)[:-1]
    )
    arrays = [piece.reshape(size) for piece, size in zip(pieces, sizes, strict=True)]
    means, loadings, variances, limits = arrays[:4]
    domain = Domain(shape, means, loadings, variances, limits)
    if shape.strict is None:
        return domain
    means, loadings, variances, limits = arrays[4:]
    return replace(domain, strict=Domain(shape.strict, means, loadings, variances, limits))


def _sizes(shape: DomainShape, grid: Grid) -> list[tuple[int, ...]]:
    """Return the sizes of a domain's four arrays, without those of its strict domain."""
    # Rounded up, as many as `[::every]` keeps.
    bands = -(-grid.bands // shape.every)
    libraries, components, views = len(shape.libraries), shape.components, shape.view_count
    return [
        (libraries, views, bands),
        (libraries, views, components, bands),
        (libraries, views, components),
        (libraries, views, len(DISTANCES)),
    ]
