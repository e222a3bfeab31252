"""Reads the files that spectrometers and their programs write: tables, and the `FORMATS`.

A format is recognised by a file's first bytes; only SPC needs the ending `.spc` too. Sizes that a
file states are checked against its actual length.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccnvr.edge.spectrum_files.formats import asd, jcamp, known, opus, sed, sig, spc
from ccnvr.edge.spectrum_files.formats.raw_spectrum import (
    HoldsNoSpectrum,
    Malformed,
    RawSpectrum,
)
from ccnvr.edge.spectrum_files.messages import NoSpectra, clean_messages
from ccnvr.edge.spectrum_files.spectra_table import Reading, SpectraTable
from ccnvr.edge.spectrum_files.tables import workbook
from ccnvr.edge.spectrum_files.tables.layout import AS_IT_SAYS, TableOptions, axis_words
from ccnvr.edge.spectrum_files.tables.text_table import read_blocks
from ccnvr.firmware_bridge.errors import UsageError

LARGEST_FILE = 64 << 20
"""Bytes of an instrument's file; tables, read in blocks, may be larger."""

TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".tab", ".dat", ".asc", ".dpt", *workbook.ENDINGS)
"""The endings of files that are read as tables inside a folder."""

_HEAD = 8_192


@dataclass(frozen=True)
class Format:
    """A format of instruments: how its files are known, and their reader."""

    name: str
    recognises: Callable[[Path, bytes], bool]
    read: Callable[[bytes], list[RawSpectrum]]


FORMATS = (
    Format("ASD", lambda path, head: head.startswith(asd.MAGIC), asd.read),
    Format("Bruker OPUS", lambda path, head: head.startswith(opus.MAGIC), opus.read),
    Format("Spectra Vista SIG", lambda path, head: head.startswith(sig.MAGIC), sig.read),
    Format("JCAMP-DX", lambda path, head: jcamp.recognises(head), jcamp.read),
    Format("Spectral Evolution SED", lambda path, head: sed.recognises(head), sed.read),
    Format(
        "SPC",
        lambda path, head: path.suffix.lower() == ".spc" and spc.looks_like_spc(head),
        spc.read,
    ),
)


def read_tables(
    paths: list[Path],
    pass_over: Callable[[Path], None],
    options: TableOptions = AS_IT_SAYS,
) -> Iterator[SpectraTable]:
    """Read files, and folders' files in order of name, in blocks of at least one spectrum.

    In a folder, what holds no spectra goes to `pass_over` instead.

    Raises:
        UsageError: a file cannot be read, or a folder holds none that can.
    """
    for path in paths:
        if not os.path.isdir(path):
            yield from read_file(path, options)
            continue
        usable = 0
        for inside in files_in(path):
            if not may_hold_spectra(inside):
                pass_over(inside)
                continue
            try:
                yield from read_file(inside, options)
                usable += 1
            except NoSpectra:
                pass_over(inside)
        if not usable:
            raise nothing_in(path)


def files_in(folder: Path) -> list[Path]:
    """Return the files of a folder by name, without hidden ones."""
    return sorted(
        child for child in folder.iterdir() if child.is_file() and not child.name.startswith(".")
    )


def nothing_in(folder: Path) -> UsageError:
    """Return the error that a folder holds no file of spectra."""
    return UsageError(
        f"folder {folder} holds no CSV file and no instrument's file with spectra; name the files "
        "themselves"
    )


def may_hold_spectra(path: Path) -> bool:
    """Whether a file found in a folder is a table or an instrument's by its name or content."""
    suffix = path.suffix.lower()
    return suffix in TABLE_ENDINGS or known.is_instruments(suffix) or _format(path) is not None


def read_file(path: Path, options: TableOptions = AS_IT_SAYS) -> Iterator[SpectraTable]:
    """Read one file in blocks of at least one spectrum.

    Raises:
        NoSpectra: it is sound but holds no spectrum of a sample.
        UsageError: it cannot be read, or in several ways.
    """
    with clean_messages():
        found = _format(path)
        yield from read_blocks(path, options) if found is None else _read(path, found, options)


def _format(path: Path) -> Format | None:
    """Return the format of an instrument's file; None for any other, or none at all, which the
    reader of tables will explain.
    """
    try:
        with open(path, "rb") as stream:
            head = stream.read(_HEAD)
    except OSError:
        return None
    return next((known for known in FORMATS if known.recognises(path, head)), None)


def _read(path: Path, found: Format, options: TableOptions) -> Iterator[SpectraTable]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise Malformed(f"has more than {LARGEST_FILE >> 20} MiB")
        # Numbers beyond all measure become infinite or NaN, and are refused where they are used.
        with np.errstate(all="ignore"):
            spectra = found.read(path.read_bytes())
            axes = [spectrum.wavelengths_nm() for spectrum in spectra]
    except Malformed as error:
        kind = NoSpectra if isinstance(error, HoldsNoSpectrum) else UsageError
        raise kind(f"{path}, a file of the kind {found.name}, {error}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from error
    for number, (spectrum, (wavelengths, values)) in enumerate(
        zip(spectra, axes, strict=True), start=1
    ):
        if options.unit not in (None, spectrum.unit):
            raise UsageError(
                f"{path} states {axis_words(spectrum.unit)}; leave out --axis {options.axis}"
            )
        sample = path.stem if len(spectra) == 1 else f"{path.stem}/{number}"
        # No reader gives an infinite value, since nothing later would name it.
        values = np.where(np.isfinite(values), values, np.nan)
        yield SpectraTable(
            path,
            [number],
            [sample],
            wavelengths,
            values[np.newaxis],
            {},
            spectrum.quantity,
            "spectrum",
            Reading(found.name, axis_words(spectrum.unit), True, spectrum.notes),
        )
