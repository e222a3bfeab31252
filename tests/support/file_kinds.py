"""Files of every kind that soil scientists have, made from real soils, and what becomes of each.

`docs/files.md` is made from this table by `python -m tools.file_kinds`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.spectrum_files import limesoda
from tests.support import spectrum_builders as build

Array = NDArray[np.float64]
Rows = list[list[str]]

NM = np.arange(400.0, 2501.0, 4.0)
"""The wavelengths of the tables, in nm."""

IDS = ("F1-a", "F1-b", "F2-a")


@cache
def soils() -> Array:
    """Return the reflectance of three real soils at `NM`, rounded as tables are."""
    library = limesoda.load("SC.93")
    found = [np.interp(NM, library.wavelengths_nm, library.reflectance[row]) for row in (0, 20, 40)]
    return np.round(np.array(found), 5)


@dataclass(frozen=True)
class Kind:
    """One kind of file: what it is, how it is written, and what becomes of it.

    `expected` is `read` if its first soil has the prediction of the plain table, and else words of
    the refusal. `notes` are words of what is said beside. `options` are those of `ccnvr predict`.
    """

    group: str
    what: str
    name: str
    write: Callable[[Path], object]
    expected: str = "read"
    notes: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def rows(
    names: list[str] | None = None,
    values: NDArray[np.floating] | None = None,
    ids: tuple[str, ...] = IDS,
) -> Rows:
    """Return the plain table: a header of `sample_id` and wavelengths, and a row for each soil."""
    header = ["sample_id", *(names or [f"{nm:g}" for nm in NM])]
    table = soils() if values is None else values
    return [header, *([name, *map(_cell, row)] for name, row in zip(ids, table, strict=True))]


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def text(
    table: Rows, delimiter: str = ",", decimal: str = ".", before: str = "", encoding: str = "utf-8"
) -> Callable[[Path], object]:
    """Return what writes a table as text."""

    def write(path: Path) -> object:
        stream = io.StringIO()
        csv.writer(stream, delimiter=delimiter, lineterminator="\r\n").writerows(
            [[cell if cell[:1].isalpha() else cell.replace(".", decimal) for cell in row]
             for row in table]
        )  # fmt: skip
        return path.write_bytes((before + stream.getvalue()).encode(encoding))

    return write


def columns(table: Rows) -> Rows:
    """Return a table with rows and columns exchanged."""
    return [list(row) for row in zip(*table, strict=True)]


def raw(data: Callable[[], bytes]) -> Callable[[Path], object]:
    """Return what writes bytes."""
    return lambda path: path.write_bytes(data())


def named(style: str) -> Callable[[Path], object]:
    """Return what writes the plain table with bands named in a style, as `X{}`."""
    return text(rows([style.format(f"{nm:g}") for nm in NM]))


def with_columns(names: list[str], cells: list[str]) -> Rows:
    """Return the plain table with other columns behind the ids."""
    header, *body = rows()
    return [[header[0], *names, *header[1:]], *([row[0], *cells, *row[1:]] for row in body)]


def workbook(table: Rows, *, before: int = 0, sheets: int = 1) -> Callable[[Path], object]:
    """Return what writes a workbook with the table in each of some sheets."""

    def write(path: Path) -> object:
        import openpyxl

        book = openpyxl.Workbook()
        for number in range(sheets):
            sheet = book.active if number == 0 else book.create_sheet()
            for _ in range(before):
                sheet.append(["Soils of 2024"])
            for row in table:
                sheet.append([float(cell) if cell[:1].isdigit() else cell for cell in row])
        return book.save(path)

    return write


def first() -> Array:
    """Return the first soil's reflectance."""
    soil: Array = soils()[0]
    return soil


def pairs(axis: Array, values: Array, header: str = "", form: str = "{:.4f},{:.6f}") -> bytes:
    """Return two columns of text."""
    lines = [form.format(x, y) for x, y in zip(axis.tolist(), values.tolist(), strict=True)]
    return "\n".join([*([header] if header else []), *lines, ""]).encode()


def mid_infrared(axis: NDArray[np.floating]) -> Array:
    """SIMULATED. Return absorbance over wavenumbers that looks as a soil's in the mid-infrared."""
    bands = [
        (3620, 25, 0.5), (3400, 200, 0.35), (2920, 40, 0.1), (1990, 25, 0.12), (1870, 25, 0.2),
        (1640, 60, 0.4), (1430, 60, 0.2), (1030, 90, 1.4), (910, 20, 0.5), (790, 20, 0.4),
    ]  # fmt: skip
    found = np.full(axis.size, 0.3)
    for centre, width, height in bands:
        found += height * np.exp(-0.5 * ((axis - centre) / width) ** 2)
    return found


def of_mid_infrared(axis: NDArray[np.floating], style: str = "{}") -> Rows:
    """Return a table of the mid-infrared."""
    values = np.array([mid_infrared(axis) * scale for scale in (0.9, 0.8, 1.0)])
    return rows([style.format(f"{place:g}") for place in axis], values)


def wavenumbers(style: str = "{}") -> Rows:
    """Return the plain table over wavenumbers, from high to low."""
    return rows([style.format(f"{1e7 / nm:.2f}") for nm in NM])


def jcamp(change: Callable[[str], str], form: str = "pairs", **options: str) -> bytes:
    """Return a JCAMP-DX file whose text is changed."""
    data = build.jcamp(float(NM[0]), float(NM[-1]), first(), form=form, **options)
    return change(data.decode()).encode()


def with_commas(data: str) -> str:
    """Return JCAMP-DX with decimal commas in labels and values."""
    lines = []
    for line in data.splitlines():
        if line.startswith("##") and not line[2:].startswith(("FIRSTX", "LASTX", "YFACTOR")):
            lines.append(line)
        else:
            lines.append(line.replace(".", ","))
    return "\r\n".join(lines)


def sig(overlap: bool = True) -> bytes:
    """Return a Spectra Vista file; its detectors overlap at 970-1015 and 1890-1905 nm."""
    if not overlap:
        return build.sig(NM, first())
    pieces = [(400.0, 1015.0, 1.04), (970.0, 1905.0, 1.0), (1890.0, 2498.0, 1.0)]
    axis = np.concatenate([np.arange(low, high, 3.0) for low, high, _ in pieces])
    drift = np.concatenate([np.full(np.arange(low, high, 3.0).size, d) for low, high, d in pieces])
    return build.sig(axis, np.interp(axis, NM, first()) * drift)


def noisy_in_vapour() -> Array:
    """SIMULATED. Return soils as measured by sunlight, with noise where water vapour absorbs."""
    rng = np.random.default_rng(0)
    values = soils().copy()
    vapour = ((NM > 1350) & (NM < 1450)) | ((NM > 1800) & (NM < 1950))
    values[:, vapour] = rng.uniform(0.0, 1.0, (3, vapour.sum()))
    values[:, np.argmin(np.abs(NM - 1384.0))] = 2.19
    return values


def missing(where: NDArray[np.bool_]) -> Array:
    """Return the soils without values at some bands."""
    values = soils().copy()
    values[:, where] = np.nan
    return values


def of_opus(blocks: int) -> bytes:
    """Return an OPUS file with so many absorbance spectra, of which the last is the soil's."""
    absorbance = -np.log10(first())
    axis = NM / 1000.0
    spectra = [absorbance * (0.5 + 0.5 * number / blocks) for number in range(1, blocks + 1)]
    return build.opus_of(float(axis[0]), float(axis[-1]), spectra, unit="MI")


TABLES = [
    Kind("Tables", "soils in rows, `sample_id` and wavelengths", "a.csv", text(rows())),
    Kind("Tables", "no column of ids", "a.csv", text([row[1:] for row in rows()]),
         notes=("numbered 1, 2, 3",)),
    Kind("Tables", "ids in a column `Sample ID`, `name` or `Lab_ID`", "a.csv",
         text([["Lab_ID", *rows()[0][1:]], *rows()[1:]]), notes=("column 'Lab_ID'",)),
    Kind("Tables", "no header", "a.csv", text([row[1:] for row in rows()[1:]]),
         "has values in its first line"),
    Kind("Tables", "no header, but ids", "a.csv", text(rows()[1:]), "has values in its first line"),
    Kind("Tables", "transposed: wavelengths down, soils across", "a.csv",
         text([["Wavelength", *IDS], *columns(rows())[1:]])),
    Kind("Tables", "transposed, soils named 1, 2, 3", "a.csv",
         text([["sample_id", "1", "2", "3"], *columns(rows())[1:]])),
    Kind("Tables", "transposed, over wavenumbers named in the header", "a.csv",
         text([["Wavenumber (cm-1)", *IDS], *columns(wavenumbers())[1:]]),
         notes=("converted to nm",)),
    Kind("Tables", "transposed, over micrometres named in the header", "a.csv",
         text([["wavelength_um", *IDS],
               *([f"{nm / 1000:g}", *row[1:]]
                 for nm, row in zip(NM, columns(rows())[1:], strict=True))]),
         notes=("converted to nm",)),
    Kind("Tables", "two columns without a header (`.dpt`, `.txt`)", "a.dpt",
         raw(lambda: pairs(NM, first()))),
    Kind("Tables", "two columns, blanks between them", "a.txt",
         raw(lambda: pairs(NM, first(), form="  {:.4f}   {:.6f}"))),
    Kind("Tables", "two columns, semicolons and decimal commas", "a.txt",
         raw(lambda: pairs(NM, first(), "Wavelength;Reflectance", "{:.1f};{:.6f}")
             .replace(b".", b","))),
    Kind("Tables", "two columns with a header of a program", "a.txt",
         raw(lambda: pairs(NM, first(), "Wavelength (nm)\tribb00001.asd", "{:.0f}\t{:.6f}"))),
    Kind("Tables", "two columns of percent, as the header says", "a.csv",
         raw(lambda: pairs(NM, 100 * first(), "nm,Reflectance (%)"))),
    Kind("Tables", "two columns of absorbance, as the header says", "a.csv",
         raw(lambda: pairs(NM, -np.log10(first()), "nm,Absorbance"))),
    Kind("Tables", "several quantities beside the wavelengths", "a.csv",
         text([["Wavelength", "Reference", "Reflectance", "White"],
               *columns(rows())[1:]]), "('Reflectance') and not by a soil"),
    Kind("Tables", "a line `sep=;` on top", "a.csv", text(rows(), ";", before="sep=;\r\n")),
    Kind("Tables", "blank lines on top", "a.csv", text(rows(), before="\r\n\r\n")),
    Kind("Tables", "a title and a date on top", "a.csv",
         text(rows(), before="Soils of the north field\r\nmeasured on 3 May\r\n"),
         notes=("passed over 2 lines above the table",)),
    Kind("Tables", "semicolons and decimal commas", "a.csv", text(rows(), ";", ",")),
    Kind("Tables", "tabs", "a.tsv", text(rows(), "\t")),
    Kind("Tables", "tabs and decimal commas", "a.txt", text(rows(), "\t", ",")),
    Kind("Tables", "Latin-1 with accents", "a.csv",
         text(rows(ids=("forêt", "prés", "été")), encoding="latin-1")),
    Kind("Tables", "UTF-16, as Excel's Unicode text", "a.txt",
         text(rows(), "\t", encoding="utf-16")),
    Kind("Tables", "a byte order mark and quotation marks", "a.csv",
         text(rows(ids=('F1, "a"', "b", "c")), encoding="utf-8-sig")),
    Kind("Tables", "names `X350`", "a.csv", named("X{}")),
    Kind("Tables", "names `nm350`", "a.csv", named("nm{}")),
    Kind("Tables", "names `350 nm`", "a.csv", named("{} nm")),
    Kind("Tables", "names `wl_350`, `W350`, `spc.350`, `R350`", "a.csv", named("spc.{}")),
    Kind("Tables", "names of the Open Soil Spectral Library", "a.csv",
         named("scan_visnir.{}_ref")),
    Kind("Tables", "names with a word that says nothing, `foo350`", "a.csv", named("foo{}"),
         "do not say what they are"),
    Kind("Tables", "the same with `--axis nm`", "a.csv", named("foo{}"), options=("--axis", "nm")),
    Kind("Tables", "NA where the model does not look", "a.csv",
         text(rows(values=missing(NM < 500)))),
    Kind("Tables", "NA where the model looks", "a.csv",
         text(rows(values=missing(NM == 1500))), "has no value at 1500 nm"),
    Kind("Tables", "particle sizes in columns 2, 20, 50 and one cell empty", "a.csv",
         text(with_columns(["2", "20", "50"], ["12", "", "30"])),
         notes=("are not part of the spectrum",)),
    Kind("Tables", "particle sizes in columns 2, 63, 2000 beside a band of 2000 nm", "a.csv",
         text(with_columns(["2", "63", "2000"], ["12", "40", "100"])),
         notes=("are not part of the spectrum",)),
    Kind("Tables", "laboratory values and notes beside the bands", "a.csv",
         text(with_columns(["SOC_pct", "pH_H2O", "plot"], ["1.2", "6.5", "north"]))),
    Kind("Tables", "two sets of bands, as reflectance and its derivative", "a.csv",
         text([row + ([f"d1_{name}" for name in row[1:]] if at == 0 else row[1:])
               for at, row in enumerate(rows())]), "holds two sets of spectra"),
    Kind("Tables", "the same bands twice", "a.csv",
         text([row + row[1:] for row in rows()]), "keep one column of each wavelength"),
    Kind("Tables", "the Open Soil Spectral Library's near and mid-infrared", "a.csv",
         text([row + ([f"scan_mir.{at}_abs" for at in range(600, 4001, 10)] if row[0] == "sample_id"
                      else ["0.5"] * 341)
               for row in rows([f"scan_visnir.{nm:g}_ref" for nm in NM])]),
         notes=("'scan_mir.600_abs'",)),
    Kind("Tables", "transposed, over wavenumbers that nothing names", "a.csv",
         text([["x", *IDS], *columns(wavenumbers())[1:]]), "these look like wavenumbers"),
    Kind("Tables", "a row with too few cells", "a.csv", text([*rows(), ["x", "0.3"]]),
         "row 5 has 2 columns where the header has"),
    Kind("Tables", "words where a value belongs", "a.csv",
         text([*rows()[:-1], [*rows()[-1][:-1], "see notes"]]), "is 'see notes' and must be"),
    Kind("Tables", "row names without a name, as R writes them", "a.csv",
         text([rows()[0][1:], *rows()[1:]]), notes=("as R writes row names",)),
    Kind("Tables", "separators behind the last cell", "a.csv",
         text([rows()[0], *([*row, "", ""] for row in rows()[1:])])),
    Kind("Workbooks", "one sheet (`.xlsx`)", "a.xlsx", workbook(rows()),
         notes=("read from the sheet",)),
    Kind("Workbooks", "a title above the table", "a.xlsx", workbook(rows(), before=1)),
    Kind("Workbooks", "several sheets with tables", "a.xlsx", workbook(rows(), sheets=2),
         "name one by --sheet"),
    Kind("Workbooks", "the same with `--sheet`", "a.xlsx", workbook(rows(), sheets=2),
         options=("--sheet", "Sheet1")),
    Kind("Workbooks", "the old kind (`.xls`)", "a.xls",
         raw(lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)), "save it as .xlsx or CSV"),
]  # fmt: skip

AXES = [
    Kind("Axes", "numbers of bands, 0 to 525", "a.csv",
         text(rows([str(at) for at in range(NM.size)])), "count the bands (0 to 525"),
    Kind("Axes", "numbers of bands, 1 to 4200", "a.csv",
         text(rows([str(at) for at in range(1, 4201)],
                   np.array([np.interp(np.linspace(400, 2500, 4200), NM, r) for r in soils()]))),
         "count the bands (1 to 4200"),
    Kind("Axes", "R's own names, `V1` to `V526`", "a.csv",
         text(rows([f"V{at}" for at in range(1, NM.size + 1)])), "count the bands"),
    Kind("Axes", "every fourth number of a band, 0, 4, 8 ...", "a.csv",
         text(rows([str(4 * at) for at in range(NM.size)])), "no instrument measures at 0 nm"),
    Kind("Axes", "micrometres that nothing names", "a.csv",
         text(rows([f"{nm / 1000:g}" for nm in NM])), "these look like micrometres"),
    Kind("Axes", "the same with `--axis um`", "a.csv",
         text(rows([f"{nm / 1000:g}" for nm in NM])), options=("--axis", "um")),
    Kind("Axes", "wavenumbers of the near infrared that nothing names", "a.csv",
         text(wavenumbers()), "these look like wavenumbers in cm-1"),
    Kind("Axes", "the same with `--axis wavenumber`", "a.csv", text(wavenumbers()),
         options=("--axis", "wavenumber"), notes=("converted to nm",)),
    Kind("Axes", "Angstrom with `--axis wavenumber`", "a.csv",
         text(rows([f"{10 * nm:g}" for nm in NM])), "bands lie up to 24.8 nm apart",
         options=("--axis", "wavenumber")),
    Kind("Axes", "wavenumbers that the names state, `4000 cm-1`", "a.csv",
         text(wavenumbers("{} cm-1")), notes=("converted to nm",)),
    Kind("Axes", "wavenumbers of the mid-infrared, 650 to 4000", "a.csv",
         text(of_mid_infrared(np.arange(650.0, 4001.0, 2.0))), "of the mid-infrared"),
    Kind("Axes", "the same from 4000 down to 600", "a.csv",
         text(of_mid_infrared(np.arange(4000.0, 599.0, -2.0))), "of the mid-infrared"),
    Kind("Axes", "the same as the Open Soil Spectral Library names them", "a.csv",
         text(of_mid_infrared(np.arange(600.0, 4001.0, 2.0), "scan_mir.{}_abs")),
         "the spectrum covers 2500.0-16666.7 nm"),
    Kind("Axes", "mid-infrared cut to 900-2500, in the steps of a laser", "a.csv",
         text(of_mid_infrared(15798.0 / 4096.0 * np.arange(234.0, 648.0))),
         "steps of a Fourier-transform spectrometer"),
    Kind("Axes", "mid-infrared cut to 900-2600, in even steps", "a.csv",
         text(of_mid_infrared(np.arange(900.0, 2600.0, 4.0))), "without the water band at 1917 nm"),
    Kind("Axes", "mid-infrared in two columns", "a.dpt",
         raw(lambda: pairs(np.arange(3996.0, 650.0, -2.0),
                           mid_infrared(np.arange(3996.0, 650.0, -2.0)))),
         "these look like wavenumbers"),
    Kind("Axes", "Angstrom, 4000 to 25000", "a.csv",
         text(rows([f"{10 * nm:g}" for nm in NM])), "these look like wavenumbers"),
    Kind("Axes", "values in the opposite order of the wavelengths", "a.csv",
         text(rows([f"{nm:g}" for nm in NM[::-1]])), "1917 nm"),
    Kind("Axes", "a bundle of other wavelengths", "a.csv",
         text(rows([f"{nm:g}" for nm in NM[:150]], soils()[:, :150])),
         "the spectrum covers 400.0-996.0 nm"),
]  # fmt: skip

NO_SOILS = [
    Kind("No soils", "a constant", "a.csv", text(rows(values=np.full((3, NM.size), 0.4))),
         "is constant within"),
    Kind("No soils", "a white panel", "a.csv",
         text(rows(values=np.full((3, NM.size), 0.99) + 1e-3 * np.sin(NM / 50))),
         "as a white panel is"),
    Kind("No soils", "raw counts as reflectance", "a.csv", text(rows(values=soils() * 40_000)),
         "these look like raw counts"),
    Kind("No soils", "percent as reflectance", "a.csv", text(rows(values=soils() * 100)),
         "must lie above 0 and below 2"),
    Kind("No soils", "the same with `--quantity percent`", "a.csv",
         text(rows(values=soils() * 100)), options=("--quantity", "percent")),
    Kind("No soils", "absorbance as reflectance", "a.csv", text(rows(values=-np.log10(soils()))),
         "rises at 1917 nm, read as reflectance"),
    Kind("No soils", "the same with `--quantity absorbance`", "a.csv",
         text(rows(values=np.round(-np.log10(soils()), 7))), options=("--quantity", "absorbance")),
    Kind("No soils", "reflectance after SNV", "a.csv",
         text(rows(values=(soils() - soils().mean(axis=1, keepdims=True)) / soils().std())),
         "give the spectra as measured"),
    Kind("No soils", "a first derivative", "a.csv",
         text(rows(values=np.gradient(soils(), axis=1))), "give the spectra as measured"),
    Kind("No soils", "reflectance after continuum removal", "a.csv",
         text(rows(values=np.minimum(1.0, soils() / soils().max(axis=1, keepdims=True) + 0.02))),
         "as after continuum removal"),
    Kind("No soils", "a hundredth of reflectance", "a.csv", text(rows(values=soils() / 100)),
         "nowhere reflects more than"),
    Kind("No soils", "a field spectrum with the air's water bands", "a.csv",
         text(rows(values=noisy_in_vapour())), "the air's water vapour absorbs sunlight"),
]  # fmt: skip

INSTRUMENTS = [
    Kind("ASD", "reflectance", "a.asd", raw(lambda: build.asd(400, 4, first()))),
    Kind("ASD", "raw counts with the white reference in the file", "a.asd",
         raw(lambda: build.asd(400, 4, first(), kind=0)), notes=("as ViewSpec does",)),
    Kind("ASD", "raw counts without a white reference", "a.asd",
         raw(lambda: build.asd(400, 4, first(), kind=0, version=b"ASD", dtype="<f4")),
         "take a white reference"),
    Kind("ASD", "radiance", "a.asd", raw(lambda: build.asd(400, 4, first(), kind=2)),
         "was saved as radiance"),
    Kind("ASD", "an empty file", "a.asd", raw(lambda: b""), "is empty"),
    Kind("ASD", "another file with the name", "a.asd", raw(lambda: b"hello, world\n"),
         "is called .asd but is no ASD file"),
    Kind("Bruker OPUS", "one absorbance spectrum", "a.0", raw(lambda: of_opus(1))),
    Kind("Bruker OPUS", "three absorbance spectra", "a.0", raw(lambda: of_opus(3)),
         notes=("of its 3 absorbance spectra the last is read",)),
    Kind("Bruker OPUS", "a background alone", "a.0",
         raw(lambda: build.opus(0.4, 2.5, first(), unit="MI", kind=0b1011 | 1 << 10)),
         "holds a background or a single-channel spectrum"),
    Kind("Spectra Vista", "one axis", "a.sig", raw(lambda: sig(overlap=False))),
    Kind("Spectra Vista", "overlapping detectors", "a.sig", raw(sig),
         notes=("spliced at 990 and 1900 nm", "the first detector is scaled by")),
    Kind("Spectral Evolution", "`Reflect. %`", "a.sed", raw(lambda: build.sed(NM, first()))),
    Kind("Spectral Evolution", "`Reflect. [1.0]`", "a.sed",
         raw(lambda: build.sed(NM, first(), "Reflect. [1.0]"))),
    Kind("Spectral Evolution", "`Tgt./Ref. %`", "a.sed",
         raw(lambda: build.sed(NM, first()).replace(b"Reflect. %", b"Tgt./Ref. %"))),
    Kind("Spectral Evolution", "radiance of target and reference alone", "a.sed",
         raw(lambda: build.sed_of_radiance(NM, first())),
         notes=("Rad. (Target) is divided by Rad. (Ref.)",)),
    Kind("Spectral Evolution", "without its first lines", "a.sed",
         raw(lambda: build.sed(NM, first()).split(b"Data:\r\n")[1]),
         "has not the first lines of a Spectral Evolution file"),
    Kind("JCAMP-DX", "pairs", "a.dx", raw(lambda: jcamp(str))),
    Kind("JCAMP-DX", "labels with blanks", "a.dx",
         raw(lambda: jcamp(lambda data: data.replace("##", "## ").replace("=", " =")))),
    Kind("JCAMP-DX", "`Wavelength (nm)`", "a.dx",
         raw(lambda: jcamp(str, x_units="Wavelength (nm)"))),
    Kind("JCAMP-DX", "pairs with decimal commas", "a.dx",
         raw(lambda: jcamp(lambda data: with_commas(data.replace("400.000000", "400.0")))),
         notes=("decimal commas",)),
    Kind("JCAMP-DX", "values with decimal commas", "a.dx",
         raw(lambda: jcamp(with_commas, form="affn")), notes=("decimal commas",)),
    Kind("SPC", "the format since 1996", "a.spc", raw(lambda: build.spc(400, 2500, [first()]))),
    Kind("SPC", "the format before 1996", "a.spc",
         raw(lambda: b"\0\x4d" + build.spc(400, 2500, [first()])[2:]), "from before 1996"),
    Kind("SPC", "Shimadzu's", "a.spc",
         raw(lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)), "is a Shimadzu file"),
    Kind("Others", "Thermo OMNIC (`.spa`)", "a.spa",
         raw(lambda: b"Spectral Data File\r\nF1-a" + bytes(400)), "is a Thermo OMNIC spectrum"),
    Kind("Others", "PerkinElmer (`.sp`)", "a.sp", raw(lambda: b"PEPE2D" + bytes(400)),
         "is a PerkinElmer Spectrum file"),
    Kind("Others", "a picture", "a.png", raw(lambda: b"\x89PNG\r\n\x1a\n" + bytes(40)),
         "is a picture"),
    Kind("Others", "a table of something else", "log.csv",
         raw(lambda: b"time,plot,weather\n10:04,F1,dry\n"),
         "has 0 columns named by a wavelength in nm"),
]  # fmt: skip

KINDS = [*TABLES, *AXES, *NO_SOILS, *INSTRUMENTS]
