"""Predict the spectra of files: CSV tables (a sample_id column and a column for each wavelength,
named by its nm) and what spectrometers save (ASD .asd, Spectral Evolution .sed, Spectra Vista .sig,
Bruker OPUS, SPC, JCAMP-DX).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ccnvr.edge.atomic_files import is_same_file, write_atomically
from ccnvr.edge.chemometrics.grid import naming_source
from ccnvr.edge.chemometrics.preprocess import SpectrumError, absorbance
from ccnvr.edge.chemometrics.targets import Estimate, Target
from ccnvr.edge.commands.arguments import add_model_choice
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.spectrum_files.read import read_tables
from ccnvr.edge.spectrum_files.spectra_table import QUANTITIES, SpectraTable
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError

Row = tuple[str, dict[str, Estimate], list[str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr predict`."""
    parser.add_argument("bundle", help="a .ccnvr file, or 'default'")
    parser.add_argument("file", type=Path, nargs="+", help="files of spectra, or folders of them")
    parser.add_argument(
        "--quantity",
        choices=QUANTITIES,
        help="what the files hold, where they do not say (reflectance, 0 to 1)",
    )
    add_model_choice(parser)
    parser.add_argument("--json", action="store_true", help="a JSON object a line instead of CSV")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write here instead of standard output"
    )


def run(arguments: argparse.Namespace) -> int:
    """Predict every spectrum of the file, or none if one cannot be used."""
    for path in (Path(arguments.bundle), *arguments.file):
        _check_kept(path, arguments.out)
    model = ProvedModel(arguments.bundle, arguments.engine, arguments.profile)
    passed_over: list[Path] = []
    blocks = _kept(read_tables(arguments.file, passed_over.append), arguments.out)
    rows = predict_blocks(model, blocks, arguments.quantity)
    if passed_over:
        names = ", ".join(path.name for path in passed_over[:5]) + (
            " ..." if len(passed_over) > 5 else ""
        )
        print(f"ccnvr: passed over, since they hold no spectra: {names}", file=sys.stderr)
    text = _json_lines(rows) if arguments.json else _csv(rows, model.bundle.manifest.targets)
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        with write_atomically(arguments.out) as stream:
            stream.write(text.encode())
    return 0


def _kept(blocks: Iterable[SpectraTable], out: Path | None) -> Iterator[SpectraTable]:
    """The blocks, as long as `out` is none of their files: those inside folders are known
    only now.
    """
    for table in blocks:
        _check_kept(table.path, out)
        yield table


def _check_kept(path: Path, out: Path | None) -> None:
    if out is not None and is_same_file(out, path):
        raise UsageError(f"--out {out} is a file that is read, {path}; name another")


def predict_blocks(
    model: ProvedModel, blocks: Iterable[SpectraTable], quantity: str | None
) -> list[Row]:
    """Sample id, estimates and flags of each spectrum.

    `quantity` holds for files that do not say what they hold, None means reflectance.

    Raises:
        UsageError: a spectrum cannot be used; names its file and its sample.
        WavelengthError: the wavelengths of a file do not cover the model's grid; names the file.
    """
    rows: list[Row] = []
    predictor: Predictor | None = None
    wavelengths_nm = np.empty(0)
    for table in blocks:
        if predictor is None or not np.array_equal(table.wavelengths_nm, wavelengths_nm):
            wavelengths_nm = table.wavelengths_nm
            with naming_source(table.path):
                predictor = model.bind(wavelengths_nm)
        reflectance = _reflectance(table, predictor.bands, quantity)
        for number, sample_id, spectrum in zip(
            table.rows, table.sample_ids, reflectance, strict=True
        ):
            try:
                prediction = predictor(absorbance(spectrum))
            except SpectrumError as error:
                raise UsageError(
                    f"{table.path} {table.unit} {number}: sample {sample_id!r}: {error}"
                ) from error
            rows.append((sample_id, prediction.estimates, list(prediction.flags)))
    return rows


def _reflectance(table: SpectraTable, bands: slice, quantity: str | None) -> Array:
    """A table's reflectance in the model's bands, by what it says it holds, or else
    by `quantity`.
    """
    if table.quantity is not None and quantity not in (None, table.quantity):
        raise UsageError(
            f"{table.path} says that it holds {table.quantity}; leave out --quantity {quantity}"
        )
    return table.reflectance(table.quantity or quantity or "reflectance", bands)


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
    header = [
        f"{target.name} ({target.unit}){bound}"
        for target in targets
        for bound in ("", " low", " high")
    ]
    writer.writerow(["sample_id", *header, "flags"])
    for sample_id, estimates, flags in rows:
        numbers = [number for target in targets for number in _numbers(estimates[target.name])]
        writer.writerow([sample_id, *numbers, " ".join(flags)])
    return text.getvalue()


def _numbers(estimate: Estimate) -> list[str]:
    return [
        "" if value is None else f"{value:.4g}"
        for value in (estimate.value, estimate.low, estimate.high)
    ]
