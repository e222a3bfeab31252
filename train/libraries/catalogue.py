"""The known libraries: their readers, parts, licences, and the treatment of their values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries import downloads
from ccnvr.train.libraries.downloads import PublishedFile
from ccnvr.train.libraries.own.files import ENDINGS
from ccnvr.train.libraries.published import icraf, lucas, ossl, r_packages
from ccnvr.train.libraries.sensor import View
from ccnvr.train.libraries.soils import Soils


@dataclass(frozen=True)
class Library:
    """A named source of soils."""

    read: Callable[[View, str], Soils]
    """Reads all soils as a view shows them; the part (or "") only says which part must exist."""

    parts: tuple[str, ...]
    """The names of its official parts."""

    licence: str
    """The licence, and what to cite."""

    values: str
    """How the laboratory determined the values, and how they are converted."""

    origin: str
    """Where its files come from."""

    present: Callable[[], Path | None]
    """Returns its file, or None if it is not on this computer."""

    large: bool = False
    """Whether it takes minutes to read."""

    labels: tuple[str, ...] = ()
    """The labels that its soils can be selected by, see `parts`."""


def library_and_part(spec: str) -> tuple[str, str]:
    """Split `NAME:PART`; the part is "" for `NAME` and for a file, whose path may have colons."""
    if spec.endswith(ENDINGS):
        return spec, ""
    name, _, part = spec.partition(":")
    return name, part


_OFFICIAL = ("train", "test")
_LIMESODA_LICENCE = (
    "CC BY-SA 4.0; Schmidinger et al. 2025, Geoderma, doi 10.1016/j.geoderma.2025.117337"
)
_JRC_LICENCE = "JRC licence agreement, not to be passed on"

# 0.58 is the conventional share of carbon in organic matter, after van Bemmelen.
_CARBON = {
    "CV.98": "OC as published, % x 10",
    "SC.93": "OC as published, % x 10",
    "SL.125": "OC = 0.58 x organic matter, % x 10",
    "SSP.460": "OC as published, % x 10",
    "UL.120": "OC = 0.58 x organic matter, % x 10",
}


def _fetched(
    file: PublishedFile,
    read: Callable[[View], Soils],
    parts: tuple[str, ...],
    licence: str,
    values: str,
) -> Library:
    origin = f"{file.name}, fetched when first used: {file.origin}"
    return Library(
        lambda view, part: read(view),
        parts,
        licence,
        values,
        origin,
        partial(downloads.present, file),
    )


def _limesoda(name: str) -> Library:
    def read(view: View, part: str) -> Soils:
        published = limesoda.load(name)
        spectra = absorbance(published.reflectance) @ view.matrix(published.wavelengths_nm).T
        soils = Soils.of_library(
            name, view.grid, published.sample_ids, spectra, published.properties
        )
        train = published.folds != limesoda.HELD_OUT_FOLD
        return replace(soils, parts={"train": train, "test": ~train})

    def present() -> Path | None:
        try:
            path = limesoda.data_folder() / f"{name}.npz"
        # A package that is not installed is an answer here and not an error.
        except UsageError:
            return None
        return path if path.exists() else None

    # LimeSoDa does not state for these sets whether pH is in water or CaCl2.
    values = (
        f"{_CARBON[name]}; pH as published, whose solution is not stated; clay as published, in %"
    )
    return Library(
        read, _OFFICIAL, _LIMESODA_LICENCE, values, "the PyPI package LimeSoDa==0.1.5", present
    )


def _asked_for(
    read: Callable[[Path, View, str], Soils],
    file: str,
    origin: str,
    find: Callable[[Path], Path | None],
    licence: str,
    values: str,
    parts: tuple[str, ...] = (),
) -> Library:
    """Return a library whose files only the user can get."""

    def present() -> Path | None:
        folder = downloads.data_folder()
        return find(folder) if folder is not None else None

    def from_folder(view: View, part: str) -> Soils:
        return read(downloads.required_folder(file, origin), view, part)

    return Library(from_folder, parts, licence, values, f"{file}, {origin}", present, large=True)


def _file(name: str) -> Callable[[Path], Path | None]:
    return lambda folder: folder / name if (folder / name).exists() else None


def _survey(survey: lucas.Survey, values: str) -> Library:
    def find(folder: Path) -> Path | None:
        # Laboratory values without their spectra are of no use.
        return survey.laboratory_file(folder) if survey.spectra_files(folder) else None

    file = f"{survey.laboratory} and a folder {survey.spectra} of spectra in CSV files"
    return _asked_for(
        lambda folder, view, part: lucas.read_survey(survey, folder, view),
        file,
        lucas.ORIGIN,
        find,
        _JRC_LICENCE,
        values,
    )


LIBRARIES = {
    "nirsoil": _fetched(
        r_packages.NIRSOIL,
        r_packages.read_nirsoil,
        _OFFICIAL,
        "MIT (R package prospectr); P. Dardenne, CRA-W; Fernandez Pierna & Dardenne 2008, Chemom. "
        "Intell. Lab. Syst. 91:94-98",
        "OC by sulfochromic oxidation (ISO 14235), g/100g x 10; total N; CEC in meq/100g = "
        "cmol(+)/kg; no pH, clay",
    ),
    "geeves": _fetched(
        r_packages.GEEVES,
        r_packages.read_geeves,
        (),
        "MIT (R package soilspec); Geeves et al. 1994; Wadoux et al. 2021",
        "OC = total carbon in g/100g x 10, so carbonates count; clay as published, %; no N, CEC, "
        "pH",
    ),
    **{name: _limesoda(name) for name in limesoda.VISNIR_SETS},
    "icraf": replace(
        _asked_for(
            lambda folder, view, part: icraf.read(folder, view),
            f"{icraf.SPECTRA}, {icraf.CHEMISTRY}, {icraf.TEXTURE}, {icraf.CODES} and "
            f"{icraf.COUNTRIES}, or {icraf.JOINED}",
            icraf.ORIGIN,
            icraf.find,
            "CC BY 4.0; World Agroforestry (ICRAF) & ISRIC, ICRAF-ISRIC Soil VNIR Spectral "
            "Library, doi 10.34725/DVN/MFHA9C; Garrity & Bindraban 2004",
            "OC and total N in percent x 10; CEC and exchangeable Ca, Mg, K, Na in cmol(+)/kg; pH "
            "in water, and in KCl as pH_KCl; clay, silt, sand and CaCO3 in %; EC in dS/m; texture "
            "is missing where its sum is not 94-106 %, N where C/N is not 2-60; 0 may be below "
            "detection",
        ),
        large=False,
        labels=icraf.LABELS,
    ),
    "ossl": _asked_for(
        lambda folder, view, part: ossl.read(folder, view),
        ossl.FILE,
        ossl.ORIGIN,
        _file(ossl.FILE),
        "OSSL v1.2, each part under its owner's terms; Safanelli et al. 2025, PLoS ONE 20:e0296545",
        "OC and total N in percent x 10; CEC by ammonium acetate at pH 7; pH in water; clay in %; "
        "methods harmonised by OSSL",
    ),
    "neospectra": _asked_for(
        lambda folder, view, part: ossl.read_neospectra(folder, view),
        f"{ossl.NEOSPECTRA_SPECTRA} and {ossl.NEOSPECTRA_LABORATORY}",
        ossl.ORIGIN,
        lambda folder: (
            _file(ossl.NEOSPECTRA_SPECTRA)(folder) and _file(ossl.NEOSPECTRA_LABORATORY)(folder)
        ),
        "CC BY 4.0; Sanderman et al. 2023, doi 10.5281/zenodo.7586622",
        "as OSSL; scans of 1350-2550 nm, each as one of nine NeoSpectra handhelds took it; many of "
        "the soils are in OSSL too",
    ),
    "lucas2009": _asked_for(
        lucas.read_2009,
        f"{lucas.FILES_2009[-1]} or {lucas.FILES_2009[0]}",
        lucas.ORIGIN,
        lucas.file_2009,
        f"{_JRC_LICENCE}; Toth et al. 2013, EUR 26102",
        "OC by dry combustion (ISO 10694), N by Kjeldahl (ISO 11261), CEC by BaCl2 (ISO 11260), pH "
        "in water (ISO 10390), clay in % (ISO 11277); negative values are missing",
        ("mineral", "organic", "train", "test"),
    ),
    "lucas2015": _survey(
        lucas.LUCAS_2015,
        "OC by dry combustion (ISO 10694), N by Kjeldahl (ISO 11261), pH in water (ISO 10390), "
        "clay in % (ISO 11277); no CEC; negative values and those below the limit of detection are "
        "missing; the scans of a point averaged in absorbance",
    ),
    "lucas2018": _survey(
        lucas.LUCAS_2018,
        "OC and N in g/kg, pH in water, 0-20 cm; no CEC, clay; values below the limit of detection "
        "are missing; the scans of a point averaged in absorbance",
    ),
}
