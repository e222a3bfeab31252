"""A linear correction of absorbance for another instrument, for moisture, or for both.

In and out: absorbance on the model's grid. A bundle may carry a correction as `correction.npz`,
with three arrays and nothing else.
"""

from __future__ import annotations

import io
import math
import zipfile

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.frozen import frozen

PART = "correction.npz"

# Bounds the memory that a bundle can ask for; windows of instruments are a few bands wide.
WIDEST_WINDOW = 201
MOST_DIRECTIONS = 30
"""The largest rank of a projection.

Moisture and temperature need fewer than ten directions; more would also remove what distinguishes
soils.
"""

_LARGEST = 1e3
"""The limit on all numbers of a correction; those of instruments are near 1."""


@frozen(eq=False)
class Correction:
    """The correction `x' = (I - V V^T) W x + b` of absorbance x.

    W is a piecewise direct standardisation (Wang, Veltkamp & Kowalski 1991, Anal. Chem.
    63:2750-2756). V spans the directions that an external parameter orthogonalisation (EPO)
    removes (Roger, Chauchard & Bellon-Maurel 2003, Chemom. Intell. Lab. Syst. 66:191-204).

    `weights` is W as `(bands, window)`: row i holds the weights of the bands from i - window // 2
    to i + window // 2. `directions` is V, `(bands, rank)`, with orthonormal columns. `offset` is b,
    `(bands,)`. A window of 1 stands for no standardisation, a rank of 0 for no projection.

    Raises:
        ValueError: the arrays do not fit each other, or a value is not possible.
    """

    weights: Array
    directions: Array
    offset: Array

    def __post_init__(self) -> None:
        shapes = [array.shape for array in (self.weights, self.directions, self.offset)]
        bands = self.offset.size
        if [len(shape) for shape in shapes] != [2, 2, 1] or any(
            shape[0] != bands for shape in shapes
        ):
            raise ValueError(
                f"its arrays of shapes {', '.join(map(str, shapes))} do not belong to one grid"
            )
        window, rank = self.weights.shape[1], self.directions.shape[1]
        if (
            window % 2 == 0
            or window > min(WIDEST_WINDOW, 2 * bands)
            or rank >= min(MOST_DIRECTIONS + 1, bands)
        ):
            raise ValueError(
                f"its window of {window} bands and {rank} directions are not possible: the window "
                f"is odd and at most {WIDEST_WINDOW}, the directions are at most {MOST_DIRECTIONS} "
                f"and fewer than the {bands} bands"
            )
        if not all(
            np.all(np.abs(array) < _LARGEST)
            for array in (self.weights, self.directions, self.offset)
        ):
            raise ValueError(f"it holds a number that is not finite, or not below {_LARGEST:g}")
        # Only with orthonormal directions is I - V V^T a projection, which cannot amplify noise.
        if not np.allclose(self.directions.T @ self.directions, np.eye(rank), rtol=0.0, atol=1e-6):
            raise ValueError("its directions are not orthonormal")

    @property
    def bands(self) -> int:
        """The number of bands of the grid that the correction belongs to."""
        return self.offset.size

    @property
    def standardises(self) -> bool:
        """Whether the correction has a W, which belongs to one instrument."""
        return bool(self.weights.shape[1] > 1)

    def windows(self) -> Array:
        """Return W as a `(bands, bands)` matrix; weights that reach beyond the grid are dropped."""
        half = self.weights.shape[1] // 2
        # With a margin on both sides, so that the windows of the outer bands need no special case.
        padded = np.zeros((self.bands, self.bands + 2 * half))
        rows = np.arange(self.bands)[:, None]
        padded[rows, rows + np.arange(2 * half + 1)] = self.weights
        return padded[:, half : half + self.bands]

    def __call__(self, spectra: Array) -> Array:
        """Return corrected absorbance `(n, bands)`.

        A `Preprocessor` gives the same, but in one step with its filters.
        """
        standardised = spectra @ self.windows().T
        return standardised - (standardised @ self.directions) @ self.directions.T + self.offset


def projection(directions: Array, offset: Array) -> Correction:
    """Return a correction that only projects: `x' = (I - V V^T) x + b`."""
    return Correction(np.ones((offset.size, 1)), directions, offset)


def standardisation(weights: Array, offset: Array) -> Correction:
    """Return a correction that only standardises: `x' = W x + b`."""
    return Correction(weights, np.zeros((offset.size, 0)), offset)


def pack(correction: Correction) -> bytes:
    """Return the correction as a file of a bundle; equal corrections give equal bytes."""
    stream = io.BytesIO()
    # Not compressed: reading then takes no more memory than the file has bytes, whatever it states.
    np.savez(
        stream,
        weights=correction.weights,
        directions=correction.directions,
        offset=correction.offset,
    )
    return stream.getvalue()


def unpack(content: bytes, bands: int) -> Correction:
    """Return the correction in a file that `pack` wrote, for a grid of `bands` bands.

    No more memory is allocated than `content` takes.

    Raises:
        ValueError: the file is malformed, or made for another grid.
        Exception: whatever zipfile and NumPy raise on damaged content.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        correction = Correction(
            *(_array(archive, f"{name}.npy") for name in ("weights", "directions", "offset"))
        )
    if correction.bands != bands:
        raise ValueError(f"it is for {correction.bands} bands, but the model has {bands}")
    return correction


def _array(archive: zipfile.ZipFile, name: str) -> Array:
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed, which corrections never are")
    content = archive.read(name)
    stream = io.BytesIO(content)
    # NumPy's own reader would unpickle an array of objects; only the header is left to it.
    np.lib.format.read_magic(stream)
    shape, by_column, dtype = np.lib.format.read_array_header_1_0(stream)
    # The header may state any shape, so it must match the bytes before it is used.
    if dtype != np.dtype("<f8") or math.prod(shape) * 8 != len(content) - stream.tell():
        raise ValueError(f"{name} does not hold the float64 numbers that its header states")
    values = np.frombuffer(content, dtype=np.float64, offset=stream.tell())
    return values.reshape(shape, order="F" if by_column else "C")
