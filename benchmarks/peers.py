"""Others' ways of doing the same job on the same spectra, as their users would write them.

Each way runs on one thread. The ways that predict from counts give estimates without intervals,
domain, noise or flags, since none of these libraries has them.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import chemotools.derivative
import chemotools.scatter
import numpy as np
import onnxruntime
import torch
from scipy.signal import savgol_filter
from sklearn.cross_decomposition import PLSRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from benchmarks.ours import Bound
from benchmarks.timing import Subject
from benchmarks.workload import PANEL_REFLECTANCE, Workload
from ccnvr.edge.chemometrics.preprocess import Channel
from ccnvr.edge.network.file import unpack
from ccnvr.firmware_bridge.arrays import Array, Float32
from ccnvr.train.network.convert import as_torch
from ccnvr.train.network.folded_model import FoldedModel

TORCH, COMPILED, EXPORTED = "torch eager", "torch.compile", "torch.onnx.export, onnxruntime"
BY_HAND, CHEMOTOOLS = "scipy and onnxruntime by hand", "chemotools and onnxruntime"
PLSR, SVR_MODELS = "scikit-learn PLSR", "scikit-learn SVR"

NETWORK_ALONE = (TORCH, COMPILED, EXPORTED)
FROM_COUNTS = (BY_HAND, CHEMOTOOLS, PLSR, SVR_MODELS)

_COMPONENTS = 15
_SOILS = 600
"""The soils that PLSR and SVR are fitted on, as many as the default model compares with."""


def network_alone(bound: Bound, *, compiled: bool) -> dict[str, Subject]:
    """Return the ways to run the network alone.

    Args:
        bound: our model, whose weights all of them have.
        compiled: whether torch.compile is among them, which takes a C++ compiler and a minute.
    """
    module, inputs = _module(bound), bound.inputs
    tensors = [torch.from_numpy(one) for one in inputs]
    session, name = _exported(module, tensors[0])
    found: dict[str, Subject] = {
        TORCH: lambda number: _run(module, tensors[number % len(tensors)]),
        EXPORTED: lambda number: session.run(None, {name: inputs[number % len(inputs)]}),
    }
    if compiled and shutil.which("g++") is not None:
        fast: Callable[[torch.Tensor], torch.Tensor] = torch.compile(module)
        found[COMPILED] = lambda number: _run(fast, tensors[number % len(tensors)])
    return found


def from_counts(bound: Bound, work: Workload) -> dict[str, Subject]:
    """Return the ways from a scan's counts to estimates."""
    by_hand, with_chemotools = ByHand.of(bound, work), WithChemotools.of(bound, work)
    counts, size = [scan.counts for scan in work.scans], len(work.scans)

    def by_models(models: list[Pipeline]) -> Subject:
        def run(number: int) -> list[float]:
            spectrum = by_hand.absorbance(counts[number % size])[None]
            return [float(model.predict(spectrum)[0]) for model in models]

        return run

    return {
        BY_HAND: lambda number: by_hand(counts[number % size]),
        CHEMOTOOLS: lambda number: with_chemotools(counts[number % size]),
        PLSR: by_models(_fitted(bound, work, lambda: PLSRegression(_COMPONENTS))),
        SVR_MODELS: by_models(_fitted(bound, work, lambda: SVR(C=10.0))),
    }


@dataclass(frozen=True)
class ByHand:
    """Counts to estimates with numpy, scipy and onnxruntime, as a script would have it."""

    session: onnxruntime.InferenceSession
    name: str
    dark: Array
    white: Array
    wavelengths_nm: Array
    grid_nm: Array
    step_nm: float
    segments: tuple[slice, ...]
    channels: tuple[Channel, ...]
    means: Array
    deviations: Array
    logarithmic: Array

    @classmethod
    def of(cls, bound: Bound, work: Workload) -> ByHand:
        """Return the same for a model of ours."""
        manifest, module = bound.model.bundle.manifest, _module(bound)
        grid, targets = manifest.preprocessing.grid, manifest.targets
        session, name = _exported(module, torch.from_numpy(bound.inputs[0]))
        return cls(
            session,
            name,
            work.references.dark.counts,
            work.references.white.counts,
            work.info.wavelengths_nm,
            grid.wavelengths(),
            grid.step_nm,
            tuple(grid.segments()),
            manifest.preprocessing.channels,
            np.array([target.mean for target in targets]),
            np.array([target.sd for target in targets]),
            np.array([target.transform == "log1p" for target in targets]),
        )

    def absorbance(self, counts: Array) -> Array:
        """Return the absorbance of a scan at the instrument's bands."""
        reflectance = (counts - self.dark) / (self.white - self.dark) * PANEL_REFLECTANCE
        found: Array = -np.log10(reflectance)
        return found

    def __call__(self, counts: Array) -> Array:
        """Return the estimates of a scan."""
        spectrum = np.interp(self.grid_nm, self.wavelengths_nm, self.absorbance(counts))
        channels = [self.channel(spectrum, channel) for channel in self.channels]
        return self.estimates(np.stack(channels)[None].astype(np.float32))

    def channel(self, spectrum: Array, channel: Channel) -> Array:
        """Return a spectrum filtered, and scaled if the channel says so."""
        if channel.window > 1:
            filtered = [
                savgol_filter(
                    spectrum[segment],
                    channel.window,
                    channel.polyorder,
                    channel.deriv,
                    delta=self.step_nm,
                )
                for segment in self.segments
            ]
            spectrum = np.concatenate(filtered)
        return (spectrum - spectrum.mean()) / spectrum.std() if channel.snv else spectrum

    def estimates(self, inputs: Float32) -> Array:
        """Return the estimates from the network's input."""
        outputs = self.session.run(None, {self.name: inputs})[0][0]
        values = outputs * self.deviations + self.means
        found: Array = np.where(self.logarithmic, np.expm1(values), values)
        return found


@dataclass(frozen=True)
class WithChemotools:
    """The same with chemotools' transformers for the channels, in scikit-learn pipelines."""

    by_hand: ByHand
    pipelines: tuple[tuple[Pipeline, ...], ...]
    scalers: tuple[chemotools.scatter.StandardNormalVariate | None, ...]

    @classmethod
    def of(cls, bound: Bound, work: Workload) -> WithChemotools:
        """Return the same for a model of ours, fitted as scikit-learn asks."""
        by_hand = ByHand.of(bound, work)
        some = np.array([np.interp(by_hand.grid_nm, by_hand.wavelengths_nm, work.soils[0])] * 2)
        some[1] += np.linspace(0.0, 0.1, some.shape[1])
        pipelines = tuple(
            tuple(
                make_pipeline(
                    chemotools.derivative.SavitzkyGolay(
                        window_length=channel.window,
                        polyorder=channel.polyorder,
                        deriv=channel.deriv,
                        mode="interp",
                    )
                ).fit(some[:, segment])
                for segment in by_hand.segments
            )
            if channel.window > 1
            else ()
            for channel in by_hand.channels
        )
        scalers = tuple(
            chemotools.scatter.StandardNormalVariate().fit(some) if channel.snv else None
            for channel in by_hand.channels
        )
        return cls(by_hand, pipelines, scalers)

    def __call__(self, counts: Array) -> Array:
        """Return the estimates of a scan."""
        own = self.by_hand
        spectrum = np.interp(own.grid_nm, own.wavelengths_nm, own.absorbance(counts))[None]
        channels = []
        for pipelines, scaler in zip(self.pipelines, self.scalers, strict=True):
            one = spectrum
            if pipelines:
                filtered = [
                    pipeline.transform(spectrum[:, segment])
                    for pipeline, segment in zip(pipelines, own.segments, strict=True)
                ]
                one = np.concatenate(filtered, axis=1)
            channels.append(one if scaler is None else scaler.transform(one))
        return own.estimates(np.stack(channels, axis=1).astype(np.float32))


def _module(bound: Bound) -> torch.nn.Module:
    """Return our network in torch, in the form that costs torch least."""
    network = unpack(bound.model.bundle.parts["model.fp32.network"])
    return (FoldedModel(network) if network.config.members_only else as_torch(network)).eval()


def _run(module: Callable[[torch.Tensor], torch.Tensor], one: torch.Tensor) -> Array:
    with torch.inference_mode():
        found: Array = module(one).numpy()
    return found


def _exported(
    module: torch.nn.Module, example: torch.Tensor
) -> tuple[onnxruntime.InferenceSession, str]:
    """Return a network as torch's own export gives it, on onnxruntime."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The exporter that needs no further package says that it is not the default any more.
        warnings.simplefilter("ignore")
        file = Path(folder) / "model.onnx"
        torch.onnx.export(module, (example,), file, dynamo=False)
        content = file.read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session, session.get_inputs()[0].name


def _fitted(bound: Bound, work: Workload, method: Callable[[], object]) -> list[Pipeline]:
    """Return a fitted pipeline for each property; the properties are what our model estimates.

    Their values matter little: PLSR costs the same for any, and SVR by how many soils it keeps.
    """
    rows = np.linspace(0, len(work.soils) - 1, _SOILS).astype(int)
    rng = np.random.default_rng(1)
    predictor = bound.model.bind(work.info.wavelengths_nm)
    spectra = work.soils[rows]
    estimates = [list(one.estimates.values()) for one in predictor.batch(spectra)]
    values = np.array([[estimate.value for estimate in one] for one in estimates])
    # Laboratory values are not a function of spectra alone.
    values += 0.5 * values.std(axis=0) * rng.standard_normal(values.shape)
    return [
        make_pipeline(
            chemotools.derivative.SavitzkyGolay(window_length=11, polyorder=2, deriv=1),
            chemotools.scatter.StandardNormalVariate(),
            StandardScaler(),
            method(),
        ).fit(spectra, column)
        for column in values.T
    ]
