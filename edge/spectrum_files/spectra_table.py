"""Spectra of a file, all or a block of them, with what the file itself says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.spectrum_files import plausible
from ccnvr.edge.spectrum_files.messages import NoSpectra, shown
from ccnvr.edge.spectrum_files.water_bands import upside_down, water_is_missing, water_is_there
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.frozen import frozen

QUANTITIES = {"reflectance": (0.0, 2.0), "percent": (0.0, 200.0), "absorbance": (-0.3, 6.0)}
"""What a file may hold, with the range of values that a surface can have; the ends are outside it.
"""

# Of white surfaces, in some light.
_LARGEST_FRACTION = 1.5

# Axis and quantity are the same for all spectra of a file, so some of them tell.
_SOME_SPECTRA = 16
_MOST = 0.5


@frozen
class Reading:
    """How a file was understood, in words.

    `axis` is the unit on the file's axis and `axis_stated` whether the file or the user says so.
    `notes` are the choices that the reader made, to be shown to the user.
    """

    format: str = "table"
    axis: str = "wavelengths in nm"
    axis_stated: bool = True
    notes: tuple[str, ...] = ()


UNSAID = Reading()
"""Wavelengths in nm, as they stand."""


@frozen
class SpectraTable:
    """Rows of a file, all or a block of them; `columns` holds, as text, those without wavelengths.

    `spectra` is `(n, bands)` as written in the file, NaN where it has no value; wavelengths
    increase. `rows` are the rows' numbers in the file, or whatever `unit` calls them. `quantity` is
    what the file itself says that it holds, of `QUANTITIES`, None if nothing.
    """

    path: Path
    rows: Sequence[int]
    sample_ids: list[str]
    wavelengths_nm: Array
    spectra: Array
    columns: dict[str, list[str]]
    quantity: str | None = None
    unit: str = "row"
    reading: Reading = UNSAID

    def __post_init__(self) -> None:
        for row, sample_id in zip(self.rows, self.sample_ids, strict=True):
            if not sample_id.strip():
                raise UsageError(
                    f"{self.path} {self.unit} {row} has no sample_id; name each soil, scans of "
                    "one soil alike"
                )

    def held_quantity(self, quantity: str | None) -> str:
        """Return the quantity that the file states, or else the user's, or else reflectance."""
        return self.quantity or quantity or "reflectance"

    def agreed_quantity(self, quantity: str | None, option: str) -> str:
        """Return the quantity held, if the file and the user agree; `option` is what they said.

        Raises:
            UsageError: the file states another quantity.
        """
        if self.quantity is not None and quantity not in (None, self.quantity):
            raise UsageError(f"{self.path} says that it holds {self.quantity}; leave out {option}")
        return self.held_quantity(quantity)

    def reflectance(self, quantity: str, bands: slice | Integers = slice(None)) -> Array:
        """Return the spectra's `bands` as fractions of reflectance, `(n, bands)`.

        `quantity` is what the file holds, one of `QUANTITIES`. Where the file itself does not say,
        a spectrum shows whether it can be that.

        Raises:
            UsageError: a value is missing or is none that the quantity can have, or a spectrum is
                no soil's; names row and sample.
        """
        spectra, (low, high) = self.spectra[:, bands], QUANTITIES[quantity]
        possible = (spectra > low) & (spectra < high)
        if not np.all(possible):
            row, band = divmod(int(np.argmin(possible)), spectra.shape[1])
            raise self._impossible(row, spectra[row], band, quantity, bands)
        if quantity == "percent" and np.any(fractions := spectra.max(axis=1) <= _LARGEST_FRACTION):
            fault = f"nowhere exceeds {_LARGEST_FRACTION:g}, so it holds fractions and not percent"
            raise self._refusal(int(np.argmax(fractions)), fault, quantity=quantity)
        reflectance = as_fraction(spectra, quantity)
        seen = self.wavelengths_nm[bands]
        if self.quantity is None and np.any(wrong := upside_down(seen, reflectance)):
            fault = f"rises at 1917 nm, read as {quantity}, where the water in every soil absorbs"
            raise self._refusal(
                int(np.argmax(wrong)), fault, "correct it or leave it out", quantity
            )
        if self.quantity is None:
            self._check_quantity(quantity)
        faults = plausible.faults(seen, reflectance)
        for row, found in faults.items():
            of_scale = quantity if found.of_scale else None
            refusal = self._refusal(row, found.text, found.remedy, of_scale)
            # A scan of the panel lies beside those of soils; in a table it is a mistake.
            raise NoSpectra(str(refusal)) if found.white and self.unit == "spectrum" else refusal
        if not self.reading.axis_stated:
            self._check_water(quantity)
        return reflectance

    def likelier_quantity(self, quantity: str) -> str | None:
        """Return another quantity than the one assumed, if it alone shows the water of soils.

        None if the file itself states what it holds.
        """
        if self.quantity is not None or self._shows_water(quantity):
            return None
        others = [name for name in QUANTITIES if name != quantity and self._shows_water(name)]
        return others[0] if len(others) == 1 else None

    def _shows_water(self, quantity: str) -> bool:
        wavelengths, reflectance = self._some_read_as(quantity)
        return bool(reflectance.size) and water_is_there(wavelengths, reflectance)

    def _some_read_as(self, quantity: str) -> tuple[Array, Array]:
        """Return wavelengths and reflectance of some spectra, of what can be this quantity."""
        some = self.spectra[:: max(1, len(self.spectra) // _SOME_SPECTRA)]
        low, high = QUANTITIES[quantity]
        usable = np.all((some > low) & (some < high), axis=0)
        if not usable.any():
            # Without any value there is no median either.
            return self.wavelengths_nm[:0], some[:, :0]
        if quantity == "percent" and np.nanmedian(some) <= _LARGEST_FRACTION:
            usable[:] = False
        return self.wavelengths_nm[usable], as_fraction(some[:, usable], quantity)

    def _check_quantity(self, quantity: str) -> None:
        """Refuse spectra that are upside down as `quantity`, and show soils' water as another one.

        All bands decide, not those of the model alone, since a model may leave out the water bands.
        Those of a field spectrum hold noise there, so that one reading must be wrong and the other
        right.
        """
        wavelengths, reflectance = self._some_read_as(quantity)
        if not reflectance.size or np.mean(upside_down(wavelengths, reflectance)) < _MOST:
            return
        if likelier := self.likelier_quantity(quantity):
            raise UsageError(
                f"{self.path} has spectra that rise at 1917 nm, read as {quantity}, where the "
                f"water in every soil absorbs, and fall read as {likelier}; {_option(likelier)}"
            )

    def _check_water(self, quantity: str) -> None:
        """Refuse wavelengths that no name states if no spectrum shows the water of every soil."""
        wavelengths, reflectance = self._some_read_as(quantity)
        if reflectance.size and water_is_missing(wavelengths, reflectance):
            raise UsageError(
                f"{self.path} has spectra without the water band at 1917 nm that every soil has, "
                f"if its axis is read as {self.reading.axis}; check that the values are in the "
                "order of the wavelengths, and give the unit: --axis wavenumber or um, or nm if "
                "you are sure"
            )

    def _impossible(
        self, row: int, values: Array, band: int, quantity: str, bands: slice | Integers
    ) -> UsageError:
        """Return the refusal of a spectrum with a value that the quantity cannot have."""
        seen, (low, high) = self.wavelengths_nm[bands], QUANTITIES[quantity]
        if np.isnan(values[band]):
            fault = f"has no value at {seen[band]:g} nm, which the model reads"
            return self._refusal(
                row, fault, "measure it again, leave it out, or use a model without this band"
            )
        fault = (
            f"has {quantity} {values[band]:g} at {seen[band]:g} nm, which must lie above "
            f"{low:g} and below {high:g}"
        )
        reason = plausible.explained(seen, values, low, high)
        if reason is not None and (self.quantity is None or not reason.of_scale):
            return self._refusal(row, f"{fault}: {reason.text}", reason.remedy)
        return self._refusal(row, fault, quantity=quantity)

    def _refusal(
        self, row: int, fault: str, remedy: str = "correct it", quantity: str | None = None
    ) -> UsageError:
        """Return the error that names row and sample.

        It says how to state another quantity than the one that was assumed, `quantity`, unless
        that is None.
        """
        if quantity is not None and (likelier := self.likelier_quantity(quantity)):
            remedy = (
                f"read as {likelier} the file shows the water of soils: {_option(likelier)}; "
                f"otherwise {remedy}"
            )
        elif quantity is not None and self.quantity is None:
            remedy += (
                ", or, if the file holds another quantity, say which of "
                f"{', '.join(QUANTITIES)} by --quantity (file_quantity in a recipe for training)"
            )
        elif quantity is not None:
            fault += f", and the file itself says that it holds {self.quantity}"
            remedy = "correct its values, or what its header says"
        return UsageError(
            f"{self.path} {self.unit} {self.rows[row]}: sample {shown(self.sample_ids[row])} "
            f"{fault}; {remedy}"
        )


def _option(quantity: str) -> str:
    return f"give --quantity {quantity} (file_quantity in a recipe for training)"


def joined(blocks: Sequence[SpectraTable]) -> SpectraTable:
    """Return the blocks of one file as one table."""
    first = blocks[0]
    return SpectraTable(
        first.path,
        [row for block in blocks for row in block.rows],
        [sample for block in blocks for sample in block.sample_ids],
        first.wavelengths_nm,
        np.concatenate([block.spectra for block in blocks]),
        {
            name: [cell for block in blocks for cell in block.columns[name]]
            for name in first.columns
        },
        first.quantity,
        first.unit,
        first.reading,
    )


def as_fraction(spectra: NDArray[np.float64], quantity: str) -> Array:
    """Return spectra of one of `QUANTITIES` as fractions of reflectance."""
    if quantity == "absorbance":
        return np.power(10.0, -spectra)
    return spectra / 100.0 if quantity == "percent" else spectra
