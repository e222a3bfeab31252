"""The spectra that everything is timed on: real soils, seen by a simulated handheld.

The soils are those of LimeSoDa's five Vis-NIR sets. The instrument's noise is that of
`ccnvr simulate`, so that the checks for noise do the work that they do in the field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ccnvr.edge.benchmark.link import frames_of
from ccnvr.edge.inference.pipeline import References
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings
from ccnvr.firmware_bridge.link.frames import encode
from ccnvr.firmware_bridge.simulators.handheld import SimulatedSpectrometer, onto_pixels

SPECTRA = 32
PANEL_REFLECTANCE = 0.99
_SETTINGS = Settings(10_000, 16)


@dataclass(frozen=True)
class Workload:
    """Scans of soils with what is needed to predict from them.

    Attributes:
        info: the instrument.
        references: its dark and white scan.
        scans: the scans of the soils.
        wires: the bytes of each scan's frames on the link.
        soils: absorbance of all the soils at the instrument's bands, `(n, bands)`, without noise.
    """

    info: InstrumentInfo
    references: References
    scans: list[Scan]
    wires: list[bytes]
    soils: Array

    def absorbance(self) -> Array:
        """Return the absorbance of each scan, `(SPECTRA, bands)`."""
        return np.array(
            [
                -np.log10(self.references.reflectance(scan.counts, np.arange(scan.counts.size)))
                for scan in self.scans
            ]
        )


def make(spectra: int = SPECTRA) -> Workload:
    """Return the scans of so many soils, drawn evenly from all.

    Raises:
        UsageError: the data package LimeSoDa is not installed.
    """
    sets = [limesoda.load(name) for name in limesoda.VISNIR_SETS]
    reflectance = np.concatenate([onto_pixels(one.wavelengths_nm, one.reflectance) for one in sets])
    chosen = np.linspace(0, len(reflectance) - 1, spectra).astype(int)
    detector = SimulatedSpectrometer(reflectance[chosen], seed=1, boot=1, pace=0.0)
    kinds = [ScanKind.DARK, ScanKind.WHITE, *[ScanKind.SAMPLE] * spectra]
    sums = [
        detector.bench.sums(
            kind,
            _SETTINGS.integration_us,
            _SETTINGS.averages,
            number=number,
            soil=max(0, number - 3),
        )[0]
        for number, kind in enumerate(kinds, start=1)
    ]
    return of_sums(np.array(sums), -np.log10(reflectance))


def of_sums(sums: Array, soils: Array) -> Workload:
    """Return the workload of counts summed over the averages, `(2 + spectra, pixels)`.

    The first two scans are the dark and the white one; `soils` is as in `Workload`.
    """
    # What the instrument is does not depend on its soils.
    info = SimulatedSpectrometer(np.ones((1, sums.shape[1])), pace=0.0).info
    kinds = [ScanKind.DARK, ScanKind.WHITE, *[ScanKind.SAMPLE] * (len(sums) - 2)]
    dark, white, *scans = [
        Scan(number, kind, one / _SETTINGS.averages, _SETTINGS, False, 25.0)
        for number, (kind, one) in enumerate(zip(kinds, sums, strict=True), start=1)
    ]
    references = References(dark, white, PANEL_REFLECTANCE)
    return Workload(info, references, scans, [_on_the_wire(scan) for scan in scans], soils)


def sums_of(work: Workload) -> Array:
    """Return what `of_sums` takes."""
    scans = [work.references.dark, work.references.white, *work.scans]
    return np.array([scan.counts * scan.settings.averages for scan in scans])


def _on_the_wire(scan: Scan) -> bytes:
    # The link carries the sum of the averages, as whole numbers.
    data = np.rint(scan.counts * scan.settings.averages).astype("<u4").tobytes()
    return b"".join(map(encode, frames_of(data)))
