"""What the names of a table's columns say: which are places on an axis, in which unit, of which
quantity, and which column names the soils.
"""

from __future__ import annotations

import re
from collections import defaultdict

from ccnvr.edge.spectrum_files.tables.axis import Claim
from ccnvr.firmware_bridge.frozen import frozen

_NUMBER = re.compile(r"^([^\d]*?)[ _.]?(\d+(?:\.\d+)?|\.\d+)(.*)$", re.DOTALL)
_LAST_NUMBER = re.compile(r"^(.*[a-zA-Z]\d*[ _.-])(\d+(?:\.\d+)?)$")
_PLAIN = re.compile(r"^[+]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?$")
# In R's names other characters than letters and digits become points.
_PER_CENTIMETRE = re.compile(
    r"(?:1\s*/\s*cm|cm\s*(?:\^|\*\*)?\s*[({\[]?\s*[-−⁻.]\s*[1¹]\s*[)}\]]?|cm⁻¹|/\s*cm)", re.I
)
_WORDS = re.compile(r"[a-zµμ]+|%")

_CLAIMS: dict[str, Claim] = {
    **dict.fromkeys(
        ("nm", "nanometer", "nanometers", "nanometre", "nanometres"),
        Claim.NANOMETRE,
    ),
    **dict.fromkeys(
        ("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre",
         "micrometres"),
        Claim.MICROMETRE,
    ),
    **dict.fromkeys(("percm", "wn", "wavenumber", "wavenumbers", "mir"), Claim.WAVENUMBER),
    **dict.fromkeys(
        ("wavelength", "wavelengths", "lambda", "wave", "wl", "wvl", "w"), Claim.WAVELENGTH
    ),
    **dict.fromkeys(
        ("v", "b", "band", "bands", "ch", "chan", "channel", "pixel", "px", "var", "col", "column",
         "f", "feature", "pc", "point", "idx", "index"),
        Claim.COUNT,
    ),
}  # fmt: skip
_QUANTITIES: dict[str, str | None] = {
    **dict.fromkeys(("abs", "absorbance", "logr", "log"), "absorbance"),
    **dict.fromkeys(("pct", "pcnt", "percent", "%"), "percent"),
    **dict.fromkeys(
        ("r", "ref", "refl", "rfl", "rho", "reflect", "reflectance", "reflectivity"), None
    ),
}
_NEUTRAL = {
    "x", "spc", "spec", "spectra", "spectrum", "scan", "visnir", "vnir", "nir", "vis", "swir",
    "value", "values", "soil", "tgt", "target",
}  # fmt: skip
_AXIS_NAMES = {
    "nm", "nanometer", "nanometers", "nanometre", "nanometres", "wl", "wvl", "um", "µm", "μm",
    "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres", "percm", "wn",
    "wavenumber", "wavenumbers", "wavelength", "wavelengths", "lambda",
}  # fmt: skip

_IDS = (
    "id", "rownames", "sample", "samples", "samplename", "samplenumber", "sampleno", "samplenr",
    "name",
    "sampleidentifier", "specimen", "specimenid", "labid", "labno", "labnumber", "soilid", "soil",
    "batchlabid", "idlayeruuidtxt", "idlayerlocalc", "idscanlocalc", "pointid", "probe", "probenid",
    "muestra", "amostra", "echantillon", "sampleuuid", "filename", "spectrumid", "spectrum",
)  # fmt: skip


@frozen
class Place:
    """A name's number on an axis, and the words around it, by which columns belong together."""

    number: float
    words: tuple[str, ...]

    @property
    def claim(self) -> Claim:
        """The kind of number that the words make it, such as a wavelength in nm."""
        return claim_of(self.words)

    @property
    def quantity(self) -> str | None:
        """The quantity that the words state, where they also state its scale."""
        return quantity_of(self.words)


def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case; `percm` stands for cm-1."""
    text = _PER_CENTIMETRE.sub(" percm ", name.lower())
    return tuple(_WORDS.findall(text.replace("1/r", " logr ").replace("log10", "log")))


def claim_of(words: tuple[str, ...]) -> Claim:
    """Return what words say that a number is."""
    claims = [_CLAIMS[word] for word in words if word in _CLAIMS]
    unknown = [
        word
        for word in words
        if word not in _CLAIMS and word not in _QUANTITIES and word not in _NEUTRAL
    ]
    if unknown and not claims:
        return Claim.UNKNOWN
    for claim in (Claim.WAVENUMBER, Claim.MICROMETRE, Claim.NANOMETRE):
        if claim in claims:
            return claim
    return claims[0] if claims else Claim.NOTHING


def quantity_of(words: tuple[str, ...]) -> str | None:
    """Return the quantity that words state, where they also state its scale."""
    stated = {_QUANTITIES[word] for word in words if word in _QUANTITIES}
    # The Open Soil Spectral Library writes reflectance as a fraction.
    if "scan" in words and "ref" in words:
        return "reflectance"
    return next((quantity for quantity in ("absorbance", "percent") if quantity in stated), None)


def names_quantity(name: str) -> bool:
    """Whether a name is that of a quantity, and so not that of a soil."""
    words = words_of(name)
    known = [word for word in words if word in _QUANTITIES]
    return bool(known) and all(word in _QUANTITIES or word in _NEUTRAL for word in words)


def names_axis(name: str) -> Claim | None:
    """Return what the name of a column says of the axis in it; None if it names no axis."""
    words = words_of(name)
    if not any(word in _AXIS_NAMES for word in words) or len(words) > 4:
        return None
    return claim_of(tuple(word for word in words if word in _AXIS_NAMES))


def place(name: str, decimal: str = ".") -> Place | None:
    """Return a name's place on an axis, as `350`, `X350`, `350 nm` or `scan_visnir.350_ref` have
    one; None for a name with no number or several.
    """
    name = name.strip()
    if decimal != ".":
        name = name.replace(decimal, ".")
    if _PLAIN.match(name):
        number = float(name)
        return Place(number, ()) if 0.0 <= number < 1e9 else None
    found = _NUMBER.match(_PER_CENTIMETRE.sub(" percm ", name))
    if found is None or len(name) > 60:
        return None
    before, number_text, after = found.groups()
    if re.search(r"\d", after):
        # A number in front of the last belongs to the words, as in d1_350, the first derivative.
        last = _LAST_NUMBER.match(name)
        return last and Place(float(last.group(2)), (last.group(1).lower(),))
    if before.rstrip(" _.").endswith(("-", "/")):
        return None
    return Place(float(number_text), words_of(before) + words_of(after))


def families(names: list[str], decimal: str = ".") -> list[dict[int, Place]]:
    """Return the columns whose names have the same words around their numbers, largest first."""
    by_words: dict[tuple[str, ...], dict[int, Place]] = defaultdict(dict)
    for column, name in enumerate(names):
        if (found := place(name, decimal)) is not None:
            by_words[found.words][column] = found
    return sorted(by_words.values(), key=len, reverse=True)


def identifier(names: list[str]) -> int | None:
    """Return the column that names the soils: `sample_id` in any spelling, or else the only column
    with a usual name; None if there is none or several.
    """
    plain = [re.sub(r"[\W_]", "", name.lower()) for name in names]
    if plain.count("sampleid") == 1:
        return plain.index("sampleid")
    usual = [column for column, name in enumerate(plain) if name in _IDS]
    return usual[0] if len(usual) == 1 else None
