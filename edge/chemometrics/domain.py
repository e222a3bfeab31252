"""Whether a spectrum is like those that the model was trained on: distances to each training
library's principal components.

In: absorbance smoothed on the model's grid. Looked at twice: as it is, where albedo and the depth
of water's bands show, and
after SNV, where the shape alone shows. For each library and view, T2 (Hotelling) says how far a
spectrum lies from the library's centre *within* the plane of its components, Q how far *off* that
plane: Jackson & Mudholkar 1979, Technometrics 21:341-349. A spectrum is in the domain if one
library has it within all of its limits. Libraries, because a region measured by one instrument is a
cluster: a plane through all of them also runs through the empty space between. Nothing here fits
anything; limits and components come with the bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.preprocess import Channel, Preprocessing, snv
from ccnvr.firmware_bridge.arrays import Array

PART = "domain.f32"
"""Name of the part in a bundle."""

DISTANCES = ("Q", "T2")

_VIEWS = 2
_MOST_COMPONENTS = 16
_MOST_LIBRARIES = 64
_MOST_BYTES = 16 << 20
_LARGEST_VALUE = 1e12


@dataclass(frozen=True)
class DomainShape:
    """What the manifest says of a domain: how spectra are prepared, and whose soils it knows.

    Absorbance is smoothed over `window` bands of the model's grid, and every `every`-th band is
    looked at. `false_alarms` is the share of soils like the training soils that is flagged all the
    same.
    """

    window: int
    every: int
    components: int
    libraries: tuple[str, ...]
    false_alarms: float

    def __post_init__(self) -> None:
        self.channel  # noqa: B018  refuses a window that cannot be
        if not 1 <= self.every <= self.window or not 1 <= self.components <= _MOST_COMPONENTS:
            raise ValueError(
                f"a domain of every {self.every} bands and {self.components} components is not "
                "possible; from 1 to the "
                f"window's {self.window} and from 1 to {_MOST_COMPONENTS} are"
            )
        if not 1 <= len(self.libraries) <= _MOST_LIBRARIES or not 0.0 < self.false_alarms < 1.0:
            raise ValueError(
                f"a domain of {len(self.libraries)} libraries with false_alarms = "
                f"{self.false_alarms} is not possible; 1 to "
                f"{_MOST_LIBRARIES} libraries and a share between 0 and 1 are"
            )

    @property
    def channel(self) -> Channel:
        """The smoothing, as a channel of a preprocessing recipe."""
        return Channel(self.window, polyorder=2, deriv=0, snv=False)

    def preprocessing(self, grid: Grid) -> Preprocessing:
        """The preprocessing that comes before `views`, on the model's grid.

        Raises:
            ValueError: the window is longer than the grid.
        """
        return Preprocessing(grid, (self.channel,))

    def views(self, smoothed: NDArray[np.floating]) -> Array:
        """Smoothed absorbance `(..., grid bands)` -> `(..., 2, bands looked at)`: as it is, and
        after SNV.

        Raises:
            SpectrumError: a spectrum is constant.
        """
        kept = np.asarray(smoothed[..., :: self.every], dtype=np.float64)
        return np.stack([kept, snv(kept)], axis=-2)


@dataclass(frozen=True)
class Position:
    """Where a spectrum lies: the number of the `nearest` library, and each distance to it over that
    distance's limit.

    `exceeded` names the distances beyond their limits; there are none within the domain, where
    `distance`, the largest of the ratios, is at most 1.
    """

    nearest: int
    distance: float
    exceeded: tuple[str, ...]

    @property
    def flags(self) -> list[str]:
        """As they stand in a prediction."""
        return [f"out_of_domain:{name}" for name in self.exceeded]


@dataclass(frozen=True)
class Domain:
    """Principal components of L libraries in two views of B bands, and limits of the distances to
    them.

    `means` is `(L, 2, B)`, `loadings` `(L, 2, components, B)` with orthonormal rows, `variances` of
    the scores `(L, 2, components)`, `limits` `(L, 2, 2)`: Q and T2 for each view.

    Raises:
        ValueError: a value is not finite, or a variance or limit is not positive.
    """

    shape: DomainShape
    means: Array
    loadings: Array
    variances: Array
    limits: Array

    def __post_init__(self) -> None:
        arrays = (self.means, self.loadings, self.variances, self.limits)
        if not all(np.all(np.abs(array) < _LARGEST_VALUE) for array in arrays):
            raise ValueError(
                "the domain holds a value that is not a finite number of sensible size"
            )
        if not (np.all(self.variances > 0.0) and np.all(self.limits > 0.0)):
            raise ValueError("the domain holds a variance or a limit that is not positive")

    def ratios(self, views: Array) -> Array:
        """Views `(n, 2, B)` -> each distance over its limit, `(n, L, 2 views, Q and T2)`."""
        matrix, centre = self._compiled
        by_view = views.swapaxes(0, 1)
        # (2 views, n, L, components + 1)
        products = (by_view @ matrix).reshape(*by_view.shape[:2], len(self.means), -1) - centre
        squares, along_mean = products[..., :-1] ** 2, products[..., -1]
        # |x - m|^2 = |x|^2 - 2 (x m - |m|^2 / 2): no library's difference needs to be written out.
        q = np.sum(by_view**2, axis=-1)[..., None] - 2.0 * along_mean - squares.sum(axis=-1)
        t2 = np.sum(squares / self.variances.swapaxes(0, 1)[:, None], axis=-1)
        distances = np.stack([q, t2], axis=-1).transpose(1, 2, 0, 3)
        # Rounding may leave a Q just below zero.
        ratios: Array = np.maximum(distances, 0.0) / self.limits
        return ratios

    @cached_property
    def _compiled(self) -> tuple[Array, Array]:
        """Loadings and mean of each library side by side, `(2, B, L x (components + 1))`, and what
        to take off the products.
        """
        rows = np.concatenate([self.loadings, self.means[:, :, None]], axis=2).swapaxes(0, 1)
        centre = np.sum(rows * self.means.swapaxes(0, 1)[:, :, None], axis=-1)
        centre[..., -1] /= 2.0
        return rows.reshape(2, -1, rows.shape[-1]).swapaxes(1, 2).copy(), centre[:, None]

    def locate(self, smoothed: NDArray[np.floating]) -> Position:
        """Smoothed absorbance `(grid bands,)` of one spectrum -> its position.

        Raises:
            SpectrumError: the spectrum is constant.
        """
        (ratios,) = self.ratios(self.shape.views(smoothed)[None])
        nearest = int(np.argmin(ratios.max(axis=(1, 2))))
        worst = ratios[nearest].max(axis=0)
        # Written so that a NaN is beyond every limit.
        exceeded = tuple(
            name for name, ratio in zip(DISTANCES, worst, strict=True) if not ratio <= 1.0
        )
        return Position(nearest, float(worst.max()), exceeded)

    def to_bytes(self) -> bytes:
        """As a part of a bundle: the arrays in the order of the fields, as little-endian float32,
        and nothing else.
        """
        arrays = (self.means, self.loadings, self.variances, self.limits)
        return b"".join(array.astype("<f4").tobytes() for array in arrays)


def read(content: bytes, shape: DomainShape, grid: Grid) -> Domain:
    """A domain from a bundle's part; its size follows from the shape that the manifest states.

    Raises:
        ValueError: it is malformed.
    """
    shape.preprocessing(grid)
    bands = -(-grid.bands // shape.every)
    libraries, components = len(shape.libraries), shape.components
    sizes = [
        (libraries, _VIEWS, bands),
        (libraries, _VIEWS, components, bands),
        (libraries, _VIEWS, components),
        (libraries, _VIEWS, len(DISTANCES)),
    ]
    counts = [int(np.prod(size)) for size in sizes]
    expected = 4 * sum(counts)
    if len(content) != expected or expected > _MOST_BYTES:
        raise ValueError(
            f"it has {len(content)} bytes where {libraries} libraries of {components} components "
            f"and {bands} bands have "
            f"{expected}, and {_MOST_BYTES} are the most"
        )
    pieces = np.split(
        np.frombuffer(content, dtype="<f4").astype(np.float64), np.cumsum(counts)[:-1]
    )
    return Domain(shape, *(piece.reshape(size) for piece, size in zip(pieces, sizes, strict=True)))
