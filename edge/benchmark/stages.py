"""The time of each stage from serial bytes to a committed prediction, on a simulated scan."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from math import ceil
from pathlib import Path

import numpy as np

from ccnvr.edge.benchmark.interleaved import median_seconds
from ccnvr.edge.benchmark.link import frames_of
from ccnvr.edge.chemometrics.grid import (
    WIDEST_GAP_NM,
    Grid,
    WavelengthError,
    check_wavelengths,
)
from ccnvr.edge.chemometrics.preprocess import Preprocessor, absorbance
from ccnvr.edge.inference.pipeline import Pipeline, References, reflectance
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings
from ccnvr.firmware_bridge.link.frames import Decoder, encode
from ccnvr.firmware_bridge.simulators.bench import WHITE_PANEL_REFLECTANCE, Bench, Detector
from ccnvr.firmware_bridge.simulators.handheld import PIXELS, pixel_wavelengths

_SETTINGS = Settings(10_000, 16)


def stage_milliseconds(model: ProvedModel, rounds: int) -> dict[str, float]:
    """Return the median time of each stage, in ms, in the order of the flow."""
    with tempfile.TemporaryDirectory(prefix="ccnvr-bench-") as folder:
        store = Store(Path(folder) / "bench.sqlite", owner=True)
        try:
            seconds = median_seconds(_stages(model, store), rounds)
        finally:
            store.close()
    return {name: taken * 1e3 for name, taken in seconds.items()}


def _stages(model: ProvedModel, store: Store) -> dict[str, Callable[[], object]]:
    info, (dark, white, sample) = _simulated_scans(model.bundle.manifest.preprocessing.grid)
    references = References(dark, white, WHITE_PANEL_REFLECTANCE)
    pipeline = Pipeline(model.bind(info.wavelengths_nm), info, references)
    # Before the timing starts, so that what is compiled at the first call is not counted.
    prediction = pipeline(sample)
    spectrum = absorbance(
        reflectance(sample.counts, dark.counts, white.counts, WHITE_PANEL_REFLECTANCE)
    )
    preprocess = Preprocessor(
        model.bundle.manifest.preprocessing, info.wavelengths_nm, model.correction
    )
    inputs = preprocess(spectrum)[None]
    wire = _on_the_wire(sample)
    reference_ids = (store.references.add(info, dark).id, store.references.add(info, white).id)
    # The store keeps a scan once, so each commit needs a scan number of its own.
    numbers = count(sample.number)
    return {
        "decode frames": lambda: Decoder().feed(wire),
        "preprocessing": lambda: preprocess(spectrum),
        "inference": lambda: model.session(inputs),
        "counts to prediction": lambda: pipeline(sample),
        "commit to the store": lambda: store.add(
            NewScan(
                info,
                replace(sample, number=next(numbers)),
                prediction,
                reference_ids,
                model.bundle.digest,
                0.0,
            )
        ),
    }


def simulated_bands(grid: Grid) -> Array:
    """Return the bands, in nm, of a simulated instrument that suits a model.

    They are those of the simulated handheld, if they cover the model's grid. Otherwise they are as
    many over the grid's range, or the grid's separate bands.
    """
    handheld = pixel_wavelengths()
    try:
        check_wavelengths(handheld, grid)
    except WavelengthError:
        if grid.wavelengths_nm:
            return grid.wavelengths()
        # One more than needed, so that rounding makes no gap too wide.
        least = ceil((grid.stop_nm - grid.start_nm) / WIDEST_GAP_NM) + 2
        return np.linspace(grid.start_nm, grid.stop_nm, max(PIXELS, least))
    return handheld


def _simulated_scans(grid: Grid) -> tuple[InstrumentInfo, list[Scan]]:
    """Return a simulated instrument that suits a grid, with its dark, white and first sample."""
    wavelengths = simulated_bands(grid)
    # A detector that fades inside the range would measure noise alone beyond.
    detector = Detector(fades_nm=max(Detector.fades_nm, float(wavelengths[-1])))
    bench = Bench(wavelengths, detector)
    info = InstrumentInfo(
        model="ccnvr simulated instrument",
        serial="SIM",
        firmware="simulator 1",
        boot=1,
        wavelengths_nm=wavelengths,
        saturation_counts=detector.saturation,
        shortest_integration_us=100,
        longest_integration_us=500_000,
        most_averages=1_000,
    )
    return info, [_scan(bench, kind, number) for number, kind in enumerate(ScanKind, 1)]


def _scan(bench: Bench, kind: ScanKind, number: int) -> Scan:
    averages = _SETTINGS.averages
    sums, saturated = bench.sums(kind, _SETTINGS.integration_us, averages, number=number)
    return Scan(number, kind, sums / averages, _SETTINGS, saturated, bench.temperature_c)


def _on_the_wire(scan: Scan) -> bytes:
    """Return the bytes of the frames that carry a scan's data."""
    # The link carries the sum of the averages, as whole numbers.
    data = np.rint(scan.counts * scan.settings.averages).astype("<u4").tobytes()
    return b"".join(map(encode, frames_of(data)))
