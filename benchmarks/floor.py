"""The least that each stage has to do, beside what it takes: `python -m benchmarks.floor`.

Counts the multiply-accumulates of a stage and the bytes of its constants, measures what a core does
of each in a second, and prints the time that the stage would take if it did nothing else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks import ours, workload
from benchmarks.run import BUNDLES
from benchmarks.timing import take_turns
from ccnvr.edge.chemometrics.domain import DomainShape
from ccnvr.edge.chemometrics.grid import Grid, resampling_matrix
from ccnvr.edge.chemometrics.preprocess import Preprocessing, filter_matrix
from ccnvr.edge.network.file import unpack
from ccnvr.edge.network.layout import GATES, direction_names
from ccnvr.edge.network.shape import NetworkConfig
from ccnvr.firmware_bridge.arrays import Array

_NOISE_WINDOW = 7
_FLOAT32, _FLOAT64 = 4, 8


@dataclass(frozen=True)
class Work:
    """The least work of a stage: multiply-accumulates, exponentials, and bytes that it reads."""

    products: int
    bytes: int
    exponentials: int = 0


@dataclass(frozen=True)
class Core:
    """What one core does in a second, on arrays of the size of ours, with NumPy's own loops.

    Attributes:
        products: multiply-accumulates of float32 in a product of matrix and vector.
        bytes: bytes that this product reads.
        exponentials: exponentials of float32.
        call_s: the time of a NumPy call on one number, which each call takes at least.
    """

    products: float
    bytes: float
    exponentials: float
    call_s: float

    def seconds(self, work: Work) -> float:
        """Return the time that the work takes at least."""
        arithmetic = work.products / self.products + work.exponentials / self.exponentials
        return max(arithmetic, work.bytes / self.bytes)


def of_network(config: NetworkConfig) -> Work:
    """Return the work of a network for one spectrum in float32; a weight is read once."""
    products, weights, bands, channels = 0, 0, config.bands, config.in_channels
    for layer in config.convolutions:
        size = layer.filters * channels * layer.kernel
        products, weights = products + size * bands, weights + size
        bands, channels = bands // layer.pool, layer.filters
    rows = GATES[config.cell] * config.hidden
    size = len(direction_names(config)) * rows * (channels * config.patch + config.hidden)
    products, weights = products + size * config.steps, weights + size
    dense = 0 if config.members_only else config.dense * (config.features + config.outputs)
    linear = config.outputs * config.inputs if config.linear else 0
    members = sum(
        kernel.components * config.inputs + kernel.soils * (kernel.components + config.outputs)
        for kernel in config.kernels
    )
    once = dense + linear + members
    exponentials = sum(kernel.soils for kernel in config.kernels)
    return Work(products + once, _FLOAT32 * (weights + once), exponentials)


def of_preprocessing(preprocessing: Preprocessing, wavelengths_nm: Array) -> Work:
    """Return the work of the banded products and of the SNV of each channel."""
    resample = resampling_matrix(wavelengths_nm, preprocessing.grid)
    banded = sum(
        np.count_nonzero(filter_matrix(channel, preprocessing.grid) @ resample)
        for channel in preprocessing.channels
    )
    # Sum, sum of squares and scaling.
    scaled = 3 * preprocessing.grid.bands * sum(one.snv for one in preprocessing.channels)
    return Work(int(banded) + scaled, _FLOAT64 * int(banded))


def of_domain(shape: DomainShape, grid: Grid, wavelengths_nm: Array) -> Work:
    """Return the work of smoothing, and of a product with the components of all libraries."""
    smoothing = of_preprocessing(shape.preprocessing(grid), wavelengths_nm)
    products = 0
    for one in (shape, shape.strict):
        if one is not None:
            bands = -(-grid.bands // one.every)
            products += one.view_count * bands * len(one.libraries) * (one.components + 1)
    return Work(smoothing.products + products, smoothing.bytes + _FLOAT64 * products)


def of_noise(bands: int) -> Work:
    """Return the work of a residual at each band; that of the medians is left out."""
    return Work(_NOISE_WINDOW * bands, _FLOAT64 * _NOISE_WINDOW * bands)


def floors(bound: ours.Bound, work: workload.Workload) -> dict[str, Work]:
    """Return the least work of each stage that has a name in `ours.stages`."""
    manifest = bound.model.bundle.manifest
    used_nm = work.info.wavelengths_nm[bound.predictor.bands]
    network = unpack(bound.model.bundle.parts["model.fp32.network"])
    found = {
        "counts to absorbance": Work(2 * used_nm.size, 0, used_nm.size),
        "preprocessing": of_preprocessing(manifest.preprocessing, used_nm),
        ours.INFERENCE: of_network(network.config),
        "noise": of_noise(used_nm.size),
    }
    if manifest.domain is not None:
        found["domain"] = of_domain(manifest.domain, manifest.preprocessing.grid, used_nm)
    parts = list(found.values())
    found[ours.TO_PREDICTION] = Work(
        sum(part.products for part in parts),
        sum(part.bytes for part in parts),
        sum(part.exponentials for part in parts),
    )
    return found


def core(rounds: int) -> Core:
    """Measure what a core does on arrays that stay in its second cache, as ours do."""
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((256, 512), dtype=np.float32)
    vector, out = rng.standard_normal(512, dtype=np.float32), np.empty(256, np.float32)
    many = rng.uniform(-5.0, 0.0, 16_384).astype(np.float32)
    spare, one, other = np.empty_like(many), np.ones(1, np.float32), np.ones(1, np.float32)
    times = take_turns(
        {
            "product": lambda number: np.matmul(matrix, vector, out=out),
            "exponential": lambda number: np.exp(many, out=spare),
            "call": lambda number: np.add(one, one, out=other),
        },
        rounds,
    )
    call = times.median("call").median
    product = times.median("product").median - call
    return Core(
        matrix.size / product,
        matrix.nbytes / product,
        many.size / (times.median("exponential").median - call),
        call,
    )


def table(able: Core, found: Mapping[str, Work], measured: Mapping[str, float]) -> Iterator[str]:
    """Yield the lines of the report; `measured` is in s."""
    yield (
        f"one core: {able.products / 1e9:.1f}e9 products/s, {able.bytes / 1e9:.0f} GB/s, "
        f"{able.exponentials / 1e6:.0f}e6 exponentials/s, {able.call_s * 1e6:.2f} us a NumPy call"
    )
    yield "| stage | products | bytes of constants | least us | takes us | x |"
    yield "|---|---|---|---|---|---|"
    for name, work in found.items():
        least, taken = able.seconds(work) * 1e6, measured[name] * 1e6
        yield (
            f"| {name} | {work.products:,} | {work.bytes:,} | {least:.1f} | {taken:.1f} | "
            f"{taken / least:.1f} |"
        )


def main() -> int:
    """Print the floor of each bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="turns of each function (100)")
    arguments = parser.parse_args()
    work, able = workload.make(), core(arguments.rounds)
    for name, bundle in BUNDLES.items():
        bound = ours.bind(bundle, work)
        times = take_turns(ours.stages(bound, work), arguments.rounds)
        print(f"\n{name}, {bound.model.choice}")
        measured = {stage: times.median(stage).median for stage in times.steady}
        for line in table(able, floors(bound, work), measured):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
