"""An instrument of one's own: a folder into which a spectrometer's program saves its scans.

    python examples/own_instrument.py FOLDER

A class with these six methods and `statistics` is an `Instrument`; it derives from nothing.
docs/adding-an-instrument.md tells how a driver joins ccnvr, so that a URL can name it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from ccnvr.edge import FileSpectra, Pipeline, load_bundle, read_spectra
from ccnvr.firmware_bridge import (
    Instrument,
    InstrumentInfo,
    LinkStatistics,
    Quantity,
    Scan,
    ScanKind,
    Settings,
)


class WatchedFolder:
    """A spectrometer whose own program saves one file of reflectance for each scan."""

    def __init__(self, folder: Path) -> None:
        self.statistics = LinkStatistics()
        self._files = sorted(folder.iterdir())
        self._taken = 0

    def identify(self) -> InstrumentInfo:
        """Take the wavelengths from the first file; nothing has to be set or acknowledged."""
        return InstrumentInfo(
            model="watched folder",
            serial=self._files[0].parent.name,
            firmware="",
            boot=1,
            wavelengths_nm=self._read(0).wavelengths_nm,
            saturation_counts=0,  # absorbance does not saturate
            shortest_integration_us=1,  # shortest = longest: the spectrometer's program decides
            longest_integration_us=1,
            most_averages=1,
            quantity=Quantity.ABSORBANCE,  # so no dark and white references are needed
        )

    def configure(self, settings: Settings) -> Settings:
        """Return the settings in force, which the spectrometer's program chose."""
        return Settings(integration_us=1, averages=1)

    def scan(self, kind: ScanKind) -> Scan:
        """Return the next file as a scan."""
        absorbance = self._read(self._taken).absorbance[0]
        self._taken += 1
        return Scan(self._taken, kind, absorbance, Settings(1, 1), False, float("nan"))

    def unacknowledged(self) -> Iterator[Scan]:
        """Return no scan: files stay where they are."""
        return iter(())

    def acknowledge(self, scan: Scan) -> None:
        """Do nothing: files stay where they are."""

    def close(self) -> None:
        """Do nothing: no port is open."""

    def _read(self, number: int) -> FileSpectra:
        return next(read_spectra(self._files[number]))


def predict_folder(folder: Path) -> None:
    """Print the organic carbon of each scan in the folder."""
    instrument: Instrument = WatchedFolder(folder)  # mypy checks that the class fits
    info = instrument.identify()
    predict = Pipeline(load_bundle("default").bind(info.wavelengths_nm), info)
    for path in sorted(folder.iterdir()):
        prediction = predict(instrument.scan(ScanKind.SAMPLE))
        print(path.name, prediction.get("OC", "scan again"), *prediction.flags)


if __name__ == "__main__":
    predict_folder(Path(sys.argv[1]))
