"""Scans as JCAMP-DX 4.24, one block for each, by McDonald & Wilks 1988, Applied Spectroscopy
42:151-162. Values are pairs, because the bands of spectrometers are seldom evenly spaced.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ccnvr.edge.history.stored_scans import StoredScan
from ccnvr.firmware_bridge.arrays import Array

_PAIRS_A_LINE = 4


def block(scan: StoredScan, reflectance: Array) -> str:
    """Return a scan with its reflectance `(bands,)` as a block; bands without a value are left out.

    Comments and labels hold no line breaks, so that no text can begin a label.
    """
    known = ~np.isnan(reflectance)
    wavelengths, values = scan.info.wavelengths_nm[known], reflectance[known]
    return "\n".join([*_labels(scan, wavelengths, values), *_pairs(wavelengths, values), "##END="])


def _labels(scan: StoredScan, wavelengths: Array, values: Array) -> Iterator[str]:
    sample, position = scan.context.sample, scan.context.position
    yield f"##TITLE={_text(scan.name)}"
    yield "##JCAMP-DX=4.24"
    yield "##DATA TYPE=NEAR INFRARED SPECTRUM"
    yield "##ORIGIN=ccnvr"
    yield f"##OWNER={_text(sample.operator) or 'unknown'}"
    yield f"##LONGDATE={_text(str(scan.record['time']))}"
    yield f"##SPECTROMETER/DATA SYSTEM={_text(f'{scan.info.model} {scan.info.serial}')}"
    yield f"##SOURCE REFERENCE={_text(str(scan.record['scan_id']))}"
    if sample.top_cm is not None or sample.bottom_cm is not None:
        yield f"##SAMPLE DESCRIPTION=depth {sample.top_cm} to {sample.bottom_cm} cm"
    if position is not None:
        # A label of our own, as the standard has none for places.
        yield f"##$POSITION={position.latitude:.7f} {position.longitude:.7f} (WGS 84)"
    yield "##XUNITS=NANOMETERS"
    yield "##YUNITS=REFLECTANCE"
    yield f"##FIRSTX={wavelengths[0]:.10g}"
    yield f"##LASTX={wavelengths[-1]:.10g}"
    yield "##XFACTOR=1"
    yield "##YFACTOR=1"
    yield f"##NPOINTS={wavelengths.size}"
    yield f"##FIRSTY={values[0]:.7g}"
    yield "##XYPOINTS=(XY..XY)"


def _pairs(wavelengths: Array, values: Array) -> Iterator[str]:
    # Fixed notation: an exponent is a form that some readers do not know.
    pairs = [f"{nm:.10g}, {value:.8f}" for nm, value in zip(wavelengths, values, strict=True)]
    for first in range(0, len(pairs), _PAIRS_A_LINE):
        yield "; ".join(pairs[first : first + _PAIRS_A_LINE])


def _text(text: str) -> str:
    """Return text for a label, without what would begin a comment or another label."""
    printable = "".join(one if one.isprintable() else " " for one in text)
    return printable.replace("$$", "$ $").replace("##", "# #").strip()
