"""How time grows with bands and with stored scans: `python -m benchmarks.growth`.

`--plot` draws docs/figures/growth.svg from what was measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import take_turns
from benchmarks.workload import PANEL_REFLECTANCE
from ccnvr.edge.commands.arguments import whole_number
from ccnvr.edge.inference.pipeline import Pipeline, References
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.edge.store.store import Store
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings
from tools import large_store
from tools.exit_code import explained

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "figures" / "growth.svg"

BANDS = (100, 300, 1_000, 3_000, 10_000)
SCANS = (100, 1_000, 10_000, 100_000, 1_000_000)

_BUNDLE, _RANGE_NM = "default:vis", (420.0, 1_000.0)
_SETTINGS = Settings(10_000, 16)
_SCANS_A_START = 500
_Rows = list[dict[str, float]]


def by_bands(sizes: Sequence[int], rounds: int) -> _Rows:
    """Return the time of a prediction and of binding the model, for instruments of more bands."""
    soils = limesoda.load("SSP.460")
    model = ProvedModel(_BUNDLE)
    subjects, binding = {}, {}
    for size in sizes:
        wavelengths = np.linspace(*_RANGE_NM, size)
        started = time.process_time()
        predictor = model.bind(wavelengths)
        binding[size] = time.process_time() - started
        scans = _scans(wavelengths, soils)
        info = InstrumentInfo("growth", "1", "1", 1, wavelengths, 65_535, 1, 1_000_000, 16)
        pipeline = Pipeline(predictor, info, References(scans[0], scans[1], PANEL_REFLECTANCE))
        samples = scans[2:]
        subjects[str(size)] = lambda number, run=pipeline, some=samples: run(
            some[number % len(some)]
        )
    times = take_turns(subjects, rounds)
    return [
        {
            "bands": size,
            "prediction_us": round(times.median(str(size)).median * 1e6, 1),
            "bind_ms": round(binding[size] * 1e3, 1),
        }
        for size in sizes
    ]


def _scans(wavelengths_nm: np.ndarray, soils: limesoda.LimeSoDaSet) -> list[Scan]:
    """Return a dark scan, a white one, and those of some soils, by a quiet instrument."""
    dark, white = np.full(wavelengths_nm.size, 1_000.0), np.full(wavelengths_nm.size, 50_000.0)
    seen = [
        dark + (white - dark) * np.interp(wavelengths_nm, soils.wavelengths_nm, row)
        for row in soils.reflectance[:: len(soils.reflectance) // 16]
    ]
    kinds = [ScanKind.DARK, ScanKind.WHITE, *[ScanKind.SAMPLE] * len(seen)]
    return [
        Scan(number, kind, counts, _SETTINGS, False, 25.0)
        for number, (kind, counts) in enumerate(zip(kinds, [dark, white, *seen], strict=True), 1)
    ]


def by_scans(sizes: Sequence[int], rounds: int, folder: Path) -> _Rows:
    """Return the times of stores that hold more scans: to open, to commit, and to read the newest.

    The stores take turns, so that their commits wait for the same disk.
    """
    source = np.random.default_rng(1)
    spectra = [large_store.made_up_counts(source) for _ in range(64)]
    stores, opening, bytes_of = {}, {}, {}
    for size in sizes:
        path = folder / f"{size}.sqlite"
        large_store.fill(path, spectra, size, _SCANS_A_START)
        bytes_of[size] = path.stat().st_size
        started = time.perf_counter()
        stores[size] = Store(path, owner=True)
        opening[size] = time.perf_counter() - started
    numbers = {size: iter(range(size, 2 * size + 10**6)) for size in sizes}

    def commit(size: int) -> None:
        large_store.add(stores[size], spectra, next(numbers[size]), _SCANS_A_START)

    def subjects(wanted: str) -> dict[str, Any]:
        if wanted == "commit":
            return {str(size): lambda number, of=size: commit(of) for size in sizes}
        return {
            str(size): lambda number, of=size: list(stores[of].records_after(of - 10, 10))
            for size in sizes
        }

    cpu = take_turns(subjects("commit"), rounds, most_calls=2)
    wall = take_turns(subjects("commit"), rounds, most_calls=2, clock=time.perf_counter)
    read = take_turns(subjects("read"), rounds, most_calls=8)
    for store in stores.values():
        store.close()
    return [
        {
            "scans": size,
            "commit_cpu_us": round(cpu.median(str(size)).median * 1e6),
            "commit_ms": round(wall.median(str(size)).median * 1e3, 2),
            "read_10_us": round(read.median(str(size)).median * 1e6),
            "open_ms": round(opening[size] * 1e3, 1),
            "megabytes": round(bytes_of[size] / 1e6, 1),
        }
        for size in sizes
    ]


def draw(bands: _Rows, scans: _Rows, path: Path) -> None:
    """Draw both as a picture with logarithmic axes."""
    import matplotlib as mpl

    mpl.use("Agg")
    # So that equal figures give equal files.
    mpl.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.4), layout="constrained")
    for axes, rows, key, columns in (
        (left, bands, "bands", {"prediction_us": "counts to prediction, µs"}),
        (
            right,
            scans,
            "scans",
            {"commit_cpu_us": "commit, CPU µs", "read_10_us": "read the newest ten, CPU µs"},
        ),
    ):
        x = [row[key] for row in rows]
        for column, label in columns.items():
            axes.loglog(x, [row[column] for row in rows], "o-", label=label)
        axes.set_xlabel(f"{key} of the instrument" if key == "bands" else "stored scans")
        axes.set_ylim(bottom=10.0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    first = bands[0]
    left.loglog(
        [row["bands"] for row in bands],
        [first["prediction_us"] * row["bands"] / first["bands"] for row in bands],
        "--",
        color="grey",
        label="in proportion to bands",
    )
    left.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> int:
    """Measure, print one JSON object, and draw if asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=whole_number(1, 100_000), default=40, help="turns of each function (40)"
    )
    parser.add_argument(
        "--most-scans",
        type=whole_number(SCANS[0], SCANS[-1]),
        default=SCANS[-1],
        help=f"the scans of the largest store, {SCANS[0]} to {SCANS[-1]} ({SCANS[-1]})",
    )
    parser.add_argument("--plot", action="store_true", help=f"draw {PICTURE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    return explained(lambda: _measure(arguments))


def _measure(arguments: argparse.Namespace) -> None:
    bands = by_bands(BANDS, arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        sizes = [size for size in SCANS if size <= arguments.most_scans]
        scans = by_scans(sizes, arguments.rounds, Path(folder))
    print(json.dumps({"by_bands": bands, "by_stored_scans": scans}, indent=1))
    if arguments.plot:
        draw(bands, scans, PICTURE)


if __name__ == "__main__":
    sys.exit(main())
