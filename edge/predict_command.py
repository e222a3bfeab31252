"""Predict the spectra of a CSV file: a sample_id column and a column for each wavelength, named by its nm."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.arguments import add_model_choice
from ccnvr.edge.files import write_atomically
from ccnvr.edge.predictor import Model, Predictor
from ccnvr.edge.preprocess import SpectrumError, absorbance
from ccnvr.edge.targets import Estimate, Target
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.spectra_csv import QUANTITIES, SpectraTable, read_blocks

Array = NDArray[np.float64]
Row = tuple[str, dict[str, Estimate], list[str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr predict`."""
    parser.add_argument("bundle", help="a .ccnvr file, or 'default'")
    parser.add_argument("file", type=Path, help="CSV file of spectra")
    parser.add_argument(
        "--quantity", choices=QUANTITIES, default="reflectance", help="what the file holds (reflectance, 0 to 1)"
    )
    add_model_choice(parser)
    parser.add_argument("--json", action="store_true", help="a JSON object a line instead of CSV")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write here instead of standard output")


def run(arguments: argparse.Namespace) -> int:
    """Predict every spectrum of the file, or none if one cannot be used."""
    if arguments.out is not None and arguments.out.resolve() == arguments.file.resolve():
        raise UsageError(f"--out {arguments.out} is the file of the spectra itself; name another")
    model = Model(arguments.bundle, arguments.backend, arguments.profile)
    rows = predict_blocks(model, read_blocks(arguments.file), arguments.quantity)
    text = _json_lines(rows) if arguments.json else _csv(rows, model.bundle.manifest.targets)
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        with write_atomically(arguments.out) as stream:
            stream.write(text.encode())
    return 0


def predict_blocks(model: Model, blocks: Iterable[SpectraTable], quantity: str) -> list[Row]:
    """Sample id, estimates and flags of each spectrum of a file. Whether the file holds `quantity` shows in its first block.

    Raises:
        UsageError: a spectrum cannot be used; names its sample.
        WavelengthError: the wavelengths do not cover the model's grid.
    """
    rows: list[Row] = []
    predictor: Predictor | None = None
    for table in blocks:
        first = predictor is None
        predictor = predictor or model.bind(table.wavelengths_nm)
        reflectance = table.reflectance(quantity, predictor.bands, check_scale=first)
        if first and _upside_down(table.wavelengths_nm[predictor.bands], reflectance):
            raise UsageError(
                f"the spectra, read as {quantity}, rise at 1,917 nm where the water in every soil absorbs; name what the file "
                "holds with --quantity"
            )
        for number, sample_id, spectrum in zip(table.rows, table.sample_ids, reflectance, strict=True):
            try:
                estimates, flags = predictor.answer(absorbance(spectrum))
            except SpectrumError as error:
                raise UsageError(f"{table.path} row {number}: sample {sample_id!r}: {error}") from error
            rows.append((sample_id, estimates, flags))
    return rows


def _upside_down(wavelengths_nm: Array, reflectance: Array) -> bool:
    """Whether no spectrum dips at water's band, against the line through its shoulders; False where the bands are not there."""

    def level(low: float, high: float) -> Array:
        inside = (wavelengths_nm >= low) & (wavelengths_nm <= high)
        return reflectance[:, inside].mean(axis=1) if np.any(inside) else np.full(len(reflectance), np.nan)

    left, band, right = level(1830.0, 1860.0), level(1905.0, 1930.0), level(2070.0, 2110.0)
    line = left + (right - left) * (1917.0 - 1845.0) / (2090.0 - 1845.0)
    return bool(np.all(line < band))


def _json_lines(rows: list[Row]) -> str:
    return "".join(
        json.dumps(
            {
                "sample_id": sample_id,
                "predictions": {name: vars(value) for name, value in estimates.items()},
                "flags": flags,
            }
        )
        + "\n"
        for sample_id, estimates, flags in rows
    )


def _csv(rows: list[Row], targets: tuple[Target, ...]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = [f"{target.name} ({target.unit}){bound}" for target in targets for bound in ("", " low", " high")]
    writer.writerow(["sample_id", *header, "flags"])
    for sample_id, estimates, flags in rows:
        numbers = [number for target in targets for number in _numbers(estimates[target.name])]
        writer.writerow([sample_id, *numbers, " ".join(flags)])
    return text.getvalue()


def _numbers(estimate: Estimate) -> list[str]:
    return ["" if value is None else f"{value:.4g}" for value in (estimate.value, estimate.low, estimate.high)]
