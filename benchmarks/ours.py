"""The stages of our pipeline, and each engine and profile, as functions to time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.timing import Subject
from benchmarks.workload import PANEL_REFLECTANCE, Workload
from ccnvr.edge.chemometrics.domain_distances import DomainDistances, Position
from ccnvr.edge.chemometrics.preprocess import Preprocessor, absorbance
from ccnvr.edge.engines.registry import AUTO, ENGINES, Choice
from ccnvr.edge.inference.estimator import Estimator
from ccnvr.edge.inference.pipeline import Pipeline, reflectance
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.inference.uncertainty import NoiseUncertainty
from ccnvr.edge.network.layout import PROFILES
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from ccnvr.firmware_bridge.arrays import Array, Float32
from ccnvr.firmware_bridge.instrument import Scan
from ccnvr.firmware_bridge.link.frames import Decoder

INFERENCE = "inference"
TO_PREDICTION = "counts to prediction"
OF_NOISY = "counts to prediction, noisy spectrum"
TO_COMMITTED = "frames to committed prediction"


@dataclass(frozen=True)
class Bound:
    """A model with its pipeline for the workload's instrument.

    Attributes:
        model: the model.
        predictor: absorbance to prediction.
        preprocess: absorbance to the channels of model and domain.
        pipeline: counts to prediction.
        spectra: absorbance at the bands that the model reads, `(n, bands)`.
        inputs: model input of each spectrum, `(1, channels, grid bands)` each.
    """

    model: ProvedModel
    predictor: Predictor
    preprocess: Preprocessor
    pipeline: Pipeline
    spectra: Array
    inputs: list[Float32]


def bind(bundle: str, work: Workload, engine: str = AUTO) -> Bound:
    """Open a bundle on an engine and bind it to the workload's instrument."""
    model = ProvedModel(bundle, engine)
    predictor = model.bind(work.info.wavelengths_nm)
    spectra = work.absorbance()[:, predictor.bands]
    preprocess = predictor.preprocess
    return Bound(
        model,
        predictor,
        preprocess,
        Pipeline(predictor, work.info, work.references),
        spectra,
        [preprocess(spectrum)[None] for spectrum in spectra],
    )


def stages(bound: Bound, work: Workload) -> dict[str, Subject]:
    """Return the stages from bytes to a prediction; their sum is less than the whole, which also
    builds the objects that a prediction consists of.
    """
    model, spectra, inputs = bound.model, bound.spectra, bound.inputs
    bands, preprocess, size = bound.predictor.bands, bound.preprocess, len(bound.spectra)
    used_nm = work.info.wavelengths_nm[bands]
    dark, white = (
        one.counts[bands].copy() for one in (work.references.dark, work.references.white)
    )

    def to_absorbance(number: int) -> Array:
        counts = work.scans[number % size].counts[bands]
        return absorbance(reflectance(counts, dark, white, PANEL_REFLECTANCE))

    found: dict[str, Subject] = {
        "decode frames": lambda number: Decoder().feed(work.wires[number % size]),
        "counts to absorbance": to_absorbance,
        "preprocessing": lambda number: preprocess.with_beside(spectra[number % size][None]),
        INFERENCE: lambda number: model.session(inputs[number % size]),
        **_checks(bound, used_nm),
        **_predictions(bound, work),
    }
    return found


def _predictions(bound: Bound, work: Workload) -> dict[str, Subject]:
    """Return the way from counts to a prediction, of quiet spectra and of noisy ones.

    Where noise may widen an interval, the network also runs on copies with more noise.
    """
    model, runs = bound.model, list[int]()
    session = model.session

    def counting(inputs: Float32) -> Float32:
        runs[-1] += 1
        return session(inputs)

    counting.name = session.name  # type: ignore[attr-defined]
    model.session = counting  # type: ignore[assignment]
    for scan in work.scans:
        runs.append(0)
        bound.pipeline(scan)
    model.session = session
    quiet = [scan for scan, count in zip(work.scans, runs, strict=True) if count == 1]
    noisy = [scan for scan, count in zip(work.scans, runs, strict=True) if count > 1]
    found: dict[str, Subject] = {
        TO_PREDICTION: lambda number: bound.pipeline(quiet[number % len(quiet)])
    }
    if noisy:
        found[f"{OF_NOISY} ({len(noisy)} of {len(work.scans)})"] = lambda number: bound.pipeline(
            noisy[number % len(noisy)]
        )
    return found


def _checks(bound: Bound, used_nm: Array) -> dict[str, Subject]:
    """Return the stages that judge a spectrum: its domain, its interval, and its noise."""
    model, spectra, size = bound.model, bound.spectra, len(bound.spectra)
    grid = model.bundle.manifest.preprocessing.grid
    found: dict[str, Subject] = {}
    positions: list[Position | None] = [None] * size
    if model.domain is not None:
        locate, smoothed = DomainDistances(model.domain), bound.preprocess.with_beside(spectra)[1]
        found["domain"] = lambda number: locate(smoothed[number % size][None])
        positions = list(locate(smoothed))

    def outputs(absorbance: Array) -> Array:
        return model.outputs(bound.preprocess.batch(absorbance)).astype(np.float64)

    typical = [
        np.interp(used_nm, grid.wavelengths(), soil)
        for soil in model.bundle.self_test().absorbance[:3]
    ]
    meter = NoiseUncertainty(outputs, used_nm, grid, typical)
    of_each = outputs(spectra).tolist()
    estimator = Estimator(model.bundle.manifest.targets)

    def widths(number: int) -> list[float]:
        which = number % size
        return estimator.half_widths(of_each[which], positions[which])

    of_model = [widths(number) for number in range(size)]

    def noise(number: int) -> list[float]:
        which = number % size
        (measured,) = meter.measure(spectra[which][None])
        return meter.half_widths(measured, of_each[which], of_model[which])

    return {**found, "interval": widths, "noise": noise}


class Committing:
    """The commit of a scan, and the whole way from frames to a committed prediction, on a store.

    Attributes:
        scans: how many scans were committed so far.
        store: the store, to be closed by the caller.
    """

    def __init__(self, bound: Bound, work: Workload, folder: Path) -> None:
        self.scans, self.store = 0, Store(folder / "bench.sqlite", owner=True)
        self._bound, self._work = bound, work
        references = (work.references.dark, work.references.white)
        dark, white = (self.store.references.add(work.info, one).id for one in references)
        self._references = (dark, white)
        self._predictions = [bound.pipeline(scan) for scan in work.scans]

    def commit(self, number: int) -> None:
        """Commit a scan whose prediction is known."""
        self._add(number, self._predictions[number % len(self._predictions)])

    def whole(self, number: int) -> None:
        """Decode the frames of a scan, predict, and commit."""
        which = number % len(self._work.scans)
        Decoder().feed(self._work.wires[which])
        self._add(number, self._bound.pipeline(self._work.scans[which]))

    def _add(self, number: int, prediction: Prediction) -> None:
        self.scans += 1
        # The store keeps a scan once, so each commit needs a scan number of its own.
        seen = self._work.scans[number % len(self._work.scans)]
        scan = Scan(
            10 + self.scans,
            seen.kind,
            seen.counts,
            seen.settings,
            seen.saturated,
            seen.temperature_c,
        )
        digest = self._bound.model.bundle.digest
        new = NewScan(self._work.info, scan, prediction, self._references, digest, 0.0)
        self.store.add(new)


def engines(bound: Bound) -> dict[str, Subject]:
    """Return the inference of each engine and profile that can run here, in this process."""
    parts, inputs = bound.model.bundle.parts, bound.inputs

    def run(choice: Choice) -> Callable[[int], Float32]:
        session = choice.engine.load()(parts[choice.model_file])
        return lambda number: session(inputs[number % len(inputs)])

    return {
        f"{engine.name} {profile}": run(choice)
        for engine in ENGINES.values()
        if engine.obstacle is None and engine.in_process
        for profile in PROFILES
        if (choice := Choice(engine, profile)).model_file in parts
    }


def backlog(bound: Bound, count: int) -> tuple[Subject, Subject]:
    """Return predictions of `count` spectra as a backlog, and of one spectrum alone."""
    predictor, spectra = bound.predictor, bound.spectra
    many = np.concatenate([spectra] * (count // len(spectra) + 1))[:count]
    return (
        lambda number: predictor.batch(many),
        lambda number: predictor(spectra[number % len(spectra)]),
    )
