"""Spectra of a file, all or a block of them, with what the file itself says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccnvr.edge.spectrum_files.water_bands import upside_down
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError

QUANTITIES = {"reflectance": (0.0, 2.0), "percent": (0.0, 200.0), "absorbance": (-0.3, 6.0)}
"""What a file may hold, with the range of values that a surface can have; the ends are outside it.
"""

# Of white surfaces, in some light.
_LARGEST_FRACTION = 1.5


@dataclass(frozen=True)
class SpectraTable:
    """Rows of a file, all or a block of them; `columns` are those that are no wavelengths, as text.

    `spectra` is `(n, bands)` as written in the file; wavelengths increase. `rows` are the rows'
    numbers in the file, or whatever `unit` calls them. `quantity` is what the file itself says that
    it holds, of `QUANTITIES`, None if nothing.
    """

    path: Path
    rows: Sequence[int]
    sample_ids: list[str]
    wavelengths_nm: Array
    spectra: Array
    columns: dict[str, list[str]]
    quantity: str | None = None
    unit: str = "row"

    def __post_init__(self) -> None:
        for row, sample_id in zip(self.rows, self.sample_ids, strict=True):
            if not sample_id.strip():
                raise UsageError(
                    f"{self.path} {self.unit} {row} has no sample_id; name each soil, scans of "
                    "one soil alike"
                )

    def reflectance(self, quantity: str, bands: slice = slice(None)) -> Array:
        """The spectra's `bands` as reflectance fractions, given what the file holds: one of
        `QUANTITIES`.

        Where the file itself does not say what it holds, a spectrum shows whether it can be that.

        Raises:
            UsageError: a value is none that the quantity can have, or a spectrum none; names row
                and sample.
        """
        spectra, (low, high) = self.spectra[:, bands], QUANTITIES[quantity]
        possible = (spectra > low) & (spectra < high)
        if not np.all(possible):
            row, band = np.unravel_index(int(np.argmin(possible)), spectra.shape)
            raise self._refusal(
                int(row),
                f"has {quantity} {spectra[row, band]:g} at {self.wavelengths_nm[bands][band]:g} "
                "nm, which must lie between "
                f"{low:g} and {high:g}",
            )
        if quantity == "percent" and np.any(fractions := spectra.max(axis=1) <= _LARGEST_FRACTION):
            fault = f"nowhere exceeds {_LARGEST_FRACTION:g}, so it holds fractions and not percent"
            raise self._refusal(int(np.argmax(fractions)), fault)
        if quantity == "absorbance":
            reflectance = np.power(10.0, -spectra)
        else:
            reflectance = spectra / 100.0 if quantity == "percent" else spectra
        if self.quantity is None and np.any(
            wrong := upside_down(self.wavelengths_nm[bands], reflectance)
        ):
            fault = f"rises at 1917 nm, read as {quantity}, where the water in every soil absorbs"
            raise self._refusal(int(np.argmax(wrong)), fault, "correct it or leave it out")
        return reflectance

    def _refusal(self, row: int, fault: str, remedy: str = "correct it") -> UsageError:
        if self.quantity is None:
            remedy += (
                ", or say what the file holds by --quantity, in a recipe by file_quantity: "
                f"{', '.join(QUANTITIES)}"
            )
        else:
            fault += f", and the file itself says that it holds {self.quantity}"
            remedy = "correct its values, or what its header says"
        return UsageError(
            f"{self.path} {self.unit} {self.rows[row]}: sample {self.sample_ids[row]!r} {fault}; "
            f"{remedy}"
        )
