"""Files that no reader here reads, by what they begin with or are called, and what to export
instead.
"""

from __future__ import annotations

from pathlib import Path

_EXPORT = "export the spectra as JCAMP-DX, or as text with a column of wavelengths"

_BY_HEAD = {
    b"PAR1": "is a Parquet file, which only ccnvr train and finetune read, by the ending .parquet; "
    "save it as CSV",
    b"PK\x03\x04": "is a workbook, or another ZIP archive; give it the ending .xlsx if it is a "
    "workbook, or save the table as CSV",
    b"\x1f\x8b": "is compressed by gzip; unpack it",
    b"%PDF": "is a PDF; give the table as CSV",
    b"\x89HDF": "is an HDF5 file; save the spectra as CSV",
    b"CDF\x01": "is a NetCDF file; save the spectra as CSV",
    b"MATLAB 5.0": "is a MATLAB file; save the spectra as CSV",
    b"RDX": "is a file of R; save the table by write.csv",
    b"Spectral Data File": f"is a Thermo OMNIC spectrum, which is not read; in OMNIC, {_EXPORT}",
    b"PEPE": f"is a PerkinElmer Spectrum file, which is not read; in Spectrum, {_EXPORT}",
    b"\x89PNG": "is a picture and holds no spectra",
    b"\xff\xd8\xff": "is a picture and holds no spectra",
}

_BY_SUFFIX = {
    ".spa": f"is called as a Thermo OMNIC spectrum, which is not read; in OMNIC, {_EXPORT}",
    ".spg": f"is called as a group of Thermo OMNIC spectra, which is not read; in OMNIC, {_EXPORT}",
    ".sp": f"is called as a PerkinElmer spectrum, which is not read; in Spectrum, {_EXPORT}",
    ".spc": "is called .spc but is no Galactic SPC file; export it again as SPC or JCAMP-DX",
    ".asd": "is called .asd but is no ASD file; copy it again from the instrument",
    ".sed": "is called .sed but has not the first lines of a Spectral Evolution file, such as "
    "Instrument: and Measurement:; copy it again from the instrument",
    ".sig": "is called .sig but does not begin as a Spectra Vista file; copy it again from the "
    "instrument",
    ".dx": "is called as a JCAMP-DX file but does not begin with ##TITLE; export it again",
    ".jdx": "is called as a JCAMP-DX file but does not begin with ##TITLE; export it again",
    ".xls": "is a workbook of the old kind; save it as .xlsx or CSV",
    ".mat": "is called as a MATLAB file; save the spectra as CSV",
    ".rds": "is called as a file of R; save the table by write.csv",
    ".rdata": "is called as a file of R; save the table by write.csv",
}

_INSTRUMENTS = (".spa", ".spg", ".sp", ".spc", ".asd", ".sed", ".sig", ".dx", ".jdx")

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_BY_SUFFIX = {
    ".spc": "is a Shimadzu file in a container of Microsoft (OLE) and no Galactic SPC file, and is "
    f"not read; in UVProbe or LabSolutions, {_EXPORT}",
    ".xls": _BY_SUFFIX[".xls"],
}


def unreadable(path: Path, head: bytes) -> str | None:
    """Return what a file is that no reader reads, and what to do; None if it is nothing known."""
    if not head:
        return "is empty; copy it again from the instrument, or measure again"
    suffix = path.suffix.lower()
    if suffix == ".ods":
        return "is a workbook of LibreOffice; save it as .xlsx or CSV"
    if head.startswith(_OLE):
        return _OLE_BY_SUFFIX.get(
            suffix, f"is a container of Microsoft (OLE), which is not read; {_EXPORT}, or save CSV"
        )
    if not head.strip(b"\0"):
        return "holds zeros alone, as a file that was never finished; copy it again"
    return next((kind for start, kind in _BY_HEAD.items() if head.startswith(start)), None)


def not_a_table(path: Path, head: bytes) -> str | None:
    """Return what a file is if it cannot be a text table, and what to do; None if it can."""
    return unreadable(path, head) or _BY_SUFFIX.get(path.suffix.lower())


def is_instruments(suffix: str) -> bool:
    """Whether files with this ending, in lower case, are those of instruments."""
    return suffix in _INSTRUMENTS
