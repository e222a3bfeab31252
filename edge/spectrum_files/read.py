"""Reads the files that spectrometers and their programs leave: CSV tables, and the formats in
`_READERS`.

A file is known by its first bytes; only `.spc` needs its name too. All formats are bounded by the
file's own length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccnvr.edge.spectrum_files.formats import asd as asd_file
from ccnvr.edge.spectrum_files.formats import jcamp as jcamp_file
from ccnvr.edge.spectrum_files.formats import opus as opus_file
from ccnvr.edge.spectrum_files.formats import sed_sig as column_file
from ccnvr.edge.spectrum_files.formats import spc as spc_file
from ccnvr.edge.spectrum_files.formats.raw_spectrum import Malformed, RawSpectrum
from ccnvr.edge.spectrum_files.spectra_table import SpectraTable
from ccnvr.edge.spectrum_files.tables.text_table import read_blocks
from ccnvr.firmware_bridge.errors import UsageError

LARGEST_FILE = 64 << 20
"""Bytes of an instrument's file; CSV tables, read in blocks, may be larger."""

_HEAD = 8_192


@dataclass(frozen=True)
class _Format:
    name: str
    recognises: Callable[[Path, bytes], bool]
    read: Callable[[bytes], list[RawSpectrum]]


_READERS = (
    _Format("ASD", lambda path, head: head.startswith(asd_file.MAGIC), asd_file.read),
    _Format("Bruker OPUS", lambda path, head: head.startswith(opus_file.MAGIC), opus_file.read),
    _Format(
        "Spectra Vista SIG",
        lambda path, head: head.startswith(column_file.SIG_MAGIC),
        column_file.read_sig,
    ),
    _Format(
        "JCAMP-DX",
        lambda path, head: head.lstrip().upper().startswith(jcamp_file.MAGIC),
        jcamp_file.read,
    ),
    _Format(
        "Spectral Evolution SED",
        lambda path, head: column_file.looks_like_sed(head),
        column_file.read_sed,
    ),
    _Format(
        "SPC",
        lambda path, head: path.suffix.lower() == ".spc" and spc_file.looks_like_spc(head),
        spc_file.read,
    ),
)


def read_tables(paths: list[Path], pass_over: Callable[[Path], None]) -> Iterator[SpectraTable]:
    """The spectra of files and of folders' files, in order of name, in blocks of at least one.

    In a folder, what is neither CSV nor an instrument's file goes to `pass_over` instead.

    Raises:
        UsageError: a file cannot be read, or a folder holds none that can.
    """
    for path in paths:
        if not path.is_dir():
            yield from _tables(path, _format(path))
            continue
        usable = 0
        for inside in sorted(
            child for child in path.iterdir() if child.is_file() and not child.name.startswith(".")
        ):
            found = _format(inside)
            if found is None and inside.suffix.lower() != ".csv":
                pass_over(inside)
                continue
            usable += 1
            yield from _tables(inside, found)
        if not usable:
            raise UsageError(
                f"folder {path} holds no CSV file and no instrument's file; name the files "
                "themselves"
            )


def _tables(path: Path, found: _Format | None) -> Iterator[SpectraTable]:
    if found is None:
        yield from read_blocks(path)
    else:
        yield from _read(path, found)


def _format(path: Path) -> _Format | None:
    """The format of an instrument's file; None for any other, or none at all, which the CSV reader
    will explain.
    """
    try:
        with open(path, "rb") as stream:
            head = stream.read(_HEAD)
    except OSError:
        return None
    return next((known for known in _READERS if known.recognises(path, head)), None)


def _read(path: Path, found: _Format) -> Iterator[SpectraTable]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise Malformed(f"has more than {LARGEST_FILE >> 20} MiB")
        # Numbers beyond all measure become infinite or none, and are refused where they are used.
        with np.errstate(all="ignore"):
            spectra = found.read(path.read_bytes())
            axes = [spectrum.wavelengths_nm() for spectrum in spectra]
    except Malformed as error:
        raise UsageError(f"{path}, a file of the kind {found.name}, {error}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from error
    for number, (spectrum, (wavelengths, values)) in enumerate(
        zip(spectra, axes, strict=True), start=1
    ):
        sample = path.stem if len(spectra) == 1 else f"{path.stem}/{number}"
        yield SpectraTable(
            path,
            [number],
            [sample],
            wavelengths,
            values[np.newaxis],
            {},
            spectrum.quantity,
            "spectrum",
        )
