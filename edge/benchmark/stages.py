"""The time of each stage from serial bytes to a committed prediction, on a simulated scan."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from ccnvr.edge.benchmark.interleaved import median_seconds
from ccnvr.edge.benchmark.link import frames_of
from ccnvr.edge.chemometrics.preprocess import Preprocessor, absorbance
from ccnvr.edge.inference.pipeline import Pipeline, References, reflectance
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from ccnvr.firmware_bridge.connect.registry import open_instrument
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings
from ccnvr.firmware_bridge.link.frames import Decoder, encode

_PANEL_REFLECTANCE = 0.99


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
    info, dark, white, sample = _simulated_scans()
    references = References(dark, white, _PANEL_REFLECTANCE)
    pipeline = Pipeline(model.bind(info.wavelengths_nm), info, references)
    # Before the timing starts, so that what is compiled at the first call is not counted.
    prediction = pipeline(sample)
    spectrum = absorbance(reflectance(sample.counts, dark.counts, white.counts, _PANEL_REFLECTANCE))
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
        "preprocessing, compiled": lambda: preprocess(spectrum),
        "preprocessing, as for many": lambda: preprocess.batch(spectrum[None]),
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


def _simulated_scans() -> tuple[InstrumentInfo, Scan, Scan, Scan]:
    """Return a simulated instrument with its dark, white and first sample."""
    instrument = open_instrument("sim://?pace=0")
    try:
        info = instrument.identify()
        instrument.configure(Settings(10_000, 16))
        dark, white, sample = (instrument.scan(kind) for kind in ScanKind)
    finally:
        instrument.close()
    return info, dark, white, sample


def _on_the_wire(scan: Scan) -> bytes:
    """Return the bytes of the frames that carry a scan's data."""
    # The link carries the sum of the averages, as whole numbers.
    data = np.rint(scan.counts * scan.settings.averages).astype("<u4").tobytes()
    return b"".join(map(encode, frames_of(data)))
