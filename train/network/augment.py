"""Vary training spectra as another instrument, or the next scan of the same soil, would.

All of the preprocessing but SNV is linear, so the changes are filtered once, and each batch only
adds them in new amounts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.preprocess import Channel, Preprocessing, Preprocessor
from ccnvr.firmware_bridge.arrays import Array, Float32
from ccnvr.train.recipe.settings import Augmentation

Rows = NDArray[np.int64]

_NOISE_SPECTRA = 256  # filtered once; a batch draws one of these, and its sign, for each row
_SPECTRA_AT_ONCE = 512
_DERIVATIVE_WINDOW = 11


@dataclass(frozen=True, eq=False)
class Displacement:
    """What is added to each soil of a batch: a share of the difference between two others."""

    ends: Rows
    """The row of the soil that is added, `(n,)`."""

    starts: Rows
    """The row of the soil that is subtracted, `(n,)`."""

    amounts: Array
    """The share of their difference, `(n,)`."""

    def shared(self, share: slice) -> Displacement:
        """Return some of the batch."""
        return Displacement(self.ends[share], self.starts[share], self.amounts[share])

    def of(self, of_soils: Float32) -> Float32:
        """Return what is added to the batch's rows of `of_soils`, `(soils, channels, bands)`."""
        amounts = self.amounts.astype(np.float32)[:, None, None]
        added: Float32 = amounts * (of_soils[self.ends] - of_soils[self.starts])
        return added


@dataclass(frozen=True, eq=False)
class Mixture:
    """The soils of one batch: each alone, mixed with a partner, or displaced."""

    rows: Rows
    """The row of each soil, `(n,)`."""

    partners: Rows | None = None
    """The row of the soil that it is mixed with, `(n,)`."""

    weights: Array | None = None
    """Its own share in the mixture, `(n,)`."""

    displacement: Displacement | None = None
    """What is added to each."""

    @classmethod
    def displaced(cls, rows: Rows, sd: float, soils: int, rng: np.random.Generator) -> Mixture:
        """Draw two of all `soils` for each row, and a share of their difference of this sd.

        Such spectra vary in the directions in which soils do, and are as far from the known soils
        as new ones are, whereas a mixture of two lies between them.
        """
        ends, starts = rng.integers(soils, size=(2, len(rows)))
        return cls(rows, displacement=Displacement(ends, starts, rng.normal(0.0, sd, len(rows))))

    @classmethod
    def of(cls, rows: Rows, mixing: float, rng: np.random.Generator) -> Mixture:
        """Draw a partner for each row, and shares from a beta distribution.

        Both of its parameters are `mixing`; 0 mixes nothing.
        """
        return (
            cls(rows, rng.permutation(rows), rng.beta(mixing, mixing, len(rows)))
            if mixing
            else cls(rows)
        )

    def shared(self, share: slice) -> Mixture:
        """Return some of the batch."""
        if self.partners is None or self.weights is None:
            moved = self.displacement and self.displacement.shared(share)
            return Mixture(self.rows[share], displacement=moved)
        return Mixture(self.rows[share], self.partners[share], self.weights[share])

    def mixed(self, of_soils: Float32) -> Float32:
        """Return the batch's rows of `of_soils`, mixed with their partners' or displaced.

        `of_soils` holds all soils, `(soils, channels, bands)`.
        """
        if self.displacement is not None:
            displaced: Float32 = of_soils[self.rows] + self.displacement.of(of_soils)
            return displaced
        if self.partners is None or self.weights is None:
            return of_soils[self.rows]
        weights = self.weights.astype(np.float32)[:, None, None]
        mixed: Float32 = weights * of_soils[self.rows] + (1.0 - weights) * of_soils[self.partners]
        return mixed


class VariedInputs:
    """Model inputs of training spectra, varied anew in each batch.

    Args:
        preprocess: the preprocessing, compiled for the wavelengths of `spectra`.
        spectra: absorbance `(n, bands)` on a regular grid.
        augmentation: the sizes of the changes.
        seed: the seed of the noise.
    """

    def __init__(
        self, preprocess: Preprocessor, spectra: Array, augmentation: Augmentation, seed: int
    ) -> None:
        self._preprocess = preprocess
        self._augmentation = augmentation
        self._filtered = _filtered(preprocess, preprocess.filter, spectra)
        self._changes = self._linear_changes(spectra)
        noise = np.random.default_rng(seed).normal(
            0.0, augmentation.noise, (_NOISE_SPECTRA, spectra.shape[1])
        )
        self._noise = (
            _filtered(preprocess, preprocess.filter_change, noise) if augmentation.noise else None
        )
        self._ramp = _ramp(preprocess.preprocessing.grid).astype(np.float32)

    def __len__(self) -> int:
        return len(self._filtered)

    def unvaried(self) -> Float32:
        """Return the inputs of all spectra without changes, `(n, channels, bands)`."""
        return self._preprocess.scale(self._filtered.copy())

    def batch(
        self, soils: Mixture, rng: np.random.Generator, share: slice = slice(None)
    ) -> Float32:
        """Return varied inputs `(len(soils.rows[share]), channels, bands)`.

        What is drawn for a row does not depend on `share`, so that a team of processes draws what
        one process would. Soils are mixed in absorbance, before SNV.
        """
        # Drawn for the whole batch before the share is taken, so that no draw depends on the team.
        count = len(soils.rows)
        amounts = [
            rng.normal(size=count).astype(np.float32)[share, None, None] for _ in self._changes
        ]
        which, sign = (
            rng.integers(_NOISE_SPECTRA, size=count)[share],
            rng.choice([-1.0, 1.0], count)[share],
        )
        channels = self._filtered.shape[1]
        shifts = rng.normal(0.0, self._augmentation.input_shift, (3, count, channels, 1)).astype(
            np.float32
        )
        offset, tilt, gain = shifts[:, share]
        soils = soils.shared(share)
        varied = soils.mixed(self._filtered)
        for (change, squared), amount in zip(self._changes, amounts, strict=True):
            of_soil = change if len(change) == 1 else soils.mixed(change)
            varied += (amount**2 if squared else amount) * of_soil
        if self._noise is not None:
            varied += sign.astype(np.float32)[:, None, None] * self._noise[which]
        # SNV last: it is the only step that is not linear, so changes cannot be added after it.
        varied = self._preprocess.scale(varied)
        # These act on the network's input, where SNV has removed what `offset` and `gain` do.
        varied *= 1.0 + gain
        varied += offset + tilt * self._ramp
        return varied

    def _linear_changes(self, spectra: Array) -> list[tuple[Float32, bool]]:
        """Return the filtered effect of each change at one standard deviation.

        Each is `(1 or n, channels, bands)`, with whether it grows with the square of the amount.
        """
        sd = self._augmentation
        bands = spectra.shape[1]
        grid = self._preprocess.preprocessing.grid

        def derivative(order: int) -> Array:
            # Inside each segment, so that no shift carries the spectrum across a gap.
            shortest = grid.shortest_segment
            window = min(_DERIVATIVE_WINDOW, shortest - 1 + shortest % 2)
            plain = Preprocessing(grid, (Channel(window, 2, order, snv=False),))
            return Preprocessor(plain, grid.wavelengths()).filter(spectra)[:, 0]

        changes: list[tuple[Array, bool]] = []
        # A change with a standard deviation of 0 costs nothing in any batch.
        if sd.offset:
            changes.append((np.full((1, bands), sd.offset), False))
        if sd.slope:
            changes.append((sd.slope * _ramp(grid)[None], False))
        if sd.gain:
            changes.append((sd.gain * spectra, False))
        if sd.shift_nm:
            # To first order, a shift adds the first derivative.
            changes.append((sd.shift_nm * derivative(1), False))
        if sd.broadening_nm:
            # Convolution with a Gaussian of variance s^2 adds s^2 / 2 of the second derivative.
            changes.append((0.5 * sd.broadening_nm**2 * derivative(2), True))
        preprocess = self._preprocess
        return [
            (_filtered(preprocess, preprocess.filter_change, change), squared)
            for change, squared in changes
        ]


def _ramp(grid: Grid) -> Array:
    """Return a straight line over the wavelengths from -1 to 1, `(bands,)`."""
    if grid.wavelengths_nm:
        nm = grid.wavelengths()
        over_nm: Array = 2.0 * (nm - nm[0]) / (nm[-1] - nm[0]) - 1.0
        return over_nm
    steps = grid.steps()
    line: Array = np.linspace(-1.0, 1.0, int(steps[-1]) + 1)[steps]
    return line


def _filtered(
    preprocess: Preprocessor, linear: Callable[[Array], Array], spectra: Array
) -> Float32:
    """Apply `preprocess.filter` to spectra, or `filter_change` to changes, in single precision.

    It works in blocks, because a large library in double precision may not fit into memory.
    """
    filtered = np.empty(
        (len(spectra), len(preprocess.preprocessing.channels), preprocess.preprocessing.grid.bands),
        dtype=np.float32,
    )
    for start in range(0, len(spectra), _SPECTRA_AT_ONCE):
        rows = slice(start, start + _SPECTRA_AT_ONCE)
        filtered[rows] = linear(spectra[rows])
    return filtered
