"""SIMULATED spectra of paper, plants, plastic and noise, to try a domain on and never to train on.

A material is a layer with absorption K and scattering S (per mm) over a background: Kubelka 1948,
J. Opt. Soc. Am. 38:448-457. K is a sum of Gaussian bands where the material's substances absorb, in
nm:

- water 1190, 1450, 1790, 1940 and the flank of 2950: Palmer & Williams 1974, J. Opt. Soc. Am.
  64:1107-1115; Kou, Labrie & Chylek 1993, Appl. Opt. 32:3531-3540, which gives the strengths, 30
  per cm at 1450 and 120 at 1940;
- cellulose, lignin and protein: the table of Curran 1989, Remote Sens. Environ. 30:271-278;
  strengths of the order of those of dry matter in Jacquemoud et al. 1996, Remote Sens. Environ.
  56:194-202;
- CH2 of polyethylene and PVC 1215, 1417, 1732: Garaba & Dierssen 2018, Remote Sens. Environ.
  205:224-235; 1393, 1765, 1823, 2311, 2351 and 2415: sample GDS373 of the USGS spectral library,
  Clark et al. 2007, Data Series 231.

Widths, relative strengths, thickness, scattering and background are drawn at random within
plausible ranges. These are sketches of materials and not measurements, good enough to ask whether
they would pass for soil.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.firmware_bridge.arrays import Array

# Centre in nm, standard deviation in nm, strength.
Bands = tuple[tuple[float, float, float], ...]

# Per mm of liquid water.
WATER: Bands = (
    (1190, 25, 0.11),
    (1450, 45, 2.9),
    (1790, 60, 0.5),
    (1940, 45, 11.5),
    (2070, 160, 1.6),
    (2950, 145, 1200.0),
)
# Relative to the strongest.
CELLULOSE: Bands = (
    (1220, 30, 0.06),
    (1490, 35, 0.35),
    (1540, 30, 0.25),
    (1590, 30, 0.15),
    (1780, 25, 0.2),
    (1820, 25, 0.2),
    (1930, 30, 0.35),
    (2100, 50, 1.0),
    (2270, 30, 0.7),
    (2335, 25, 0.8),
    (2480, 40, 1.0),
)
LIGNIN: Bands = (
    (1170, 25, 0.1),
    (1420, 25, 0.3),
    (1690, 25, 0.45),
    (1940, 35, 0.2),
    (2130, 40, 0.5),
    (2270, 30, 0.8),
    (2380, 45, 1.0),
)
PROTEIN: Bands = (
    (1510, 30, 0.35),
    (1690, 25, 0.25),
    (1980, 35, 0.6),
    (2060, 35, 0.9),
    (2180, 30, 1.0),
    (2300, 25, 0.8),
    (2350, 25, 0.7),
)
METHYLENE: Bands = (
    (1215, 14, 0.09),
    (1393, 10, 0.06),
    (1417, 12, 0.09),
    (1732, 14, 0.35),
    (1765, 12, 0.25),
    (1823, 15, 0.08),
    (2311, 14, 1.0),
    (2351, 14, 0.8),
    (2415, 35, 0.7),
)

_NOISE = 3e-4


def absorption(bands: Bands, wavelengths_nm: Array) -> Array:
    """Return the sum of Gaussian bands at wavelengths `(w,)`."""
    centre, width, strength = np.array(bands).T[..., None]
    total: Array = np.sum(
        strength * np.exp(-0.5 * ((wavelengths_nm - centre) / width) ** 2), axis=0
    )
    return total


def layer(absorbs: Array, scatters: Array, thickness_mm: Array, background: Array) -> Array:
    """Return the reflectance of a layer over a background of reflectance 0 to 1, elementwise.

    `absorbs` and `scatters` are the layer's K and S per mm.

    Kubelka 1948, eq. for R of a layer: `(1 - Rg (a - b coth bSX)) / (a - Rg + b coth bSX)`, `a = 1
    + K/S`, `b = sqrt(a^2 - 1)`.
    """
    # Without absorption a is 1 and b 0, and the formula 0 / 0.
    a = 1.0 + np.maximum(absorbs, 1e-9) / scatters
    b = np.sqrt(a * a - 1.0)
    # Beyond 50 the hyperbolic tangent is 1 to the last bit.
    b_coth = b / np.tanh(np.minimum(b * scatters * thickness_mm, 50.0))
    reflectance: Array = (1.0 - background * (a - b_coth)) / (a - background + b_coth)
    return reflectance


def paper(wavelengths_nm: Array, count: int, rng: np.random.Generator) -> Array:
    """Return absorbance `(count, w)` of white paper and card, 0.05 to 2 mm on any background.

    It is cellulose with a little lignin and a little water.
    """
    absorbs = (
        _drawn(rng, count, 0.5, 2.0) * absorption(CELLULOSE, wavelengths_nm)
        + _drawn(rng, count, 0.0, 0.3) * absorption(LIGNIN, wavelengths_nm)
        + _drawn(rng, count, 0.02, 0.08) * absorption(WATER, wavelengths_nm)
    )
    return _seen(
        wavelengths_nm,
        absorbs + _drawn(rng, count, 0.0, 0.05),
        _drawn(rng, count, 20.0, 80.0),
        (0.05, 2.0),
        rng,
    )


def green_plant(wavelengths_nm: Array, count: int, rng: np.random.Generator) -> Array:
    """Return absorbance `(count, w)` of one or several green leaves on each other.

    They are mostly water, with protein, cellulose and lignin.
    """
    absorbs = (
        _drawn(rng, count, 0.4, 0.9) * absorption(WATER, wavelengths_nm)
        + _drawn(rng, count, 0.1, 0.6) * absorption(CELLULOSE, wavelengths_nm)
        + _drawn(rng, count, 0.1, 0.4) * absorption(LIGNIN, wavelengths_nm)
        + _drawn(rng, count, 0.1, 0.5) * absorption(PROTEIN, wavelengths_nm)
    )
    return _seen(wavelengths_nm, absorbs, _drawn(rng, count, 2.0, 8.0), (0.15, 2.0), rng)


def dry_plant(wavelengths_nm: Array, count: int, rng: np.random.Generator) -> Array:
    """Return absorbance `(count, w)` of straw, hay and litter.

    They are cellulose, lignin, protein and some water.
    """
    absorbs = (
        _drawn(rng, count, 0.5, 2.0) * absorption(CELLULOSE, wavelengths_nm)
        + _drawn(rng, count, 0.3, 1.5) * absorption(LIGNIN, wavelengths_nm)
        + _drawn(rng, count, 0.1, 0.8) * absorption(PROTEIN, wavelengths_nm)
        + _drawn(rng, count, 0.02, 0.15) * absorption(WATER, wavelengths_nm)
    )
    return _seen(
        wavelengths_nm,
        absorbs + _drawn(rng, count, 0.0, 0.3),
        _drawn(rng, count, 5.0, 25.0),
        (0.2, 3.0),
        rng,
    )


def plastic(wavelengths_nm: Array, count: int, rng: np.random.Generator) -> Array:
    """Return absorbance `(count, w)` of polyethylene and PVC, 0.1 to 3 mm, clear, white or grey."""
    absorbs = _drawn(rng, count, 2.0, 5.0) * absorption(METHYLENE, wavelengths_nm) + _drawn(
        rng, count, 0.0, 0.3
    )
    return _seen(wavelengths_nm, absorbs, _drawn(rng, count, 0.5, 30.0), (0.1, 3.0), rng)


def white_noise(wavelengths_nm: Array, count: int, rng: np.random.Generator) -> Array:
    """Return absorbance `(count, w)` without a sample: a level and white noise of 0.02 to 0.2."""
    noise = rng.normal(0.0, 1.0, (count, wavelengths_nm.size))
    return _drawn(rng, count, 0.0, 1.0) + _drawn(rng, count, 0.02, 0.2) * noise


MATERIALS: dict[str, Callable[[Array, int, np.random.Generator], Array]] = {
    "white paper": paper,
    "green plant": green_plant,
    "dry plant": dry_plant,
    "plastic": plastic,
    "white noise": white_noise,
}


def _drawn(rng: np.random.Generator, count: int, low: float, high: float) -> Array:
    """Draw a number for each spectrum, `(count, 1)`."""
    return rng.uniform(low, high, (count, 1))


def _seen(
    wavelengths_nm: Array,
    absorbs: Array,
    scatters: Array,
    thickness_mm: tuple[float, float],
    rng: np.random.Generator,
) -> Array:
    """Return the absorbance of layers on backgrounds from black to white, as an instrument sees it.

    Scattering falls with wavelength by a power of 0 to 1, and a good instrument adds its noise.
    """
    count = len(absorbs)
    falling = (wavelengths_nm / 1500.0) ** -_drawn(rng, count, 0.0, 1.0)
    background = _drawn(rng, count, 0.05, 0.9)
    reflectance = layer(absorbs, scatters * falling, _drawn(rng, count, *thickness_mm), background)
    # Strong bands of water would otherwise reflect next to nothing, which no instrument can show.
    return absorbance(np.maximum(reflectance, 1e-4)) + rng.normal(0.0, _NOISE, absorbs.shape)
