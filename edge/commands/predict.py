"""Predict the spectra of files: tables (CSV, text, Excel), and what spectrometers save (ASD .asd,
Spectral Evolution .sed, Spectra Vista .sig, Bruker OPUS, SPC, JCAMP-DX).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ccnvr.edge.atomic_files import check_writable, is_same_file, write_atomically
from ccnvr.edge.batch.explanation import explained
from ccnvr.edge.batch.options import add_table_options, table_options
from ccnvr.edge.batch.pictures import Pictures
from ccnvr.edge.batch.predict_files import FilePredictions, Outcome
from ccnvr.edge.batch.rows import as_csv, as_json_lines
from ccnvr.edge.bundle.archive import names_default
from ccnvr.edge.commands.arguments import BUNDLE_HELP, add_model_choice, add_tolerances
from ccnvr.edge.inference.models import load_bundle, properties_of
from ccnvr.edge.quality.verdict import check_tolerances
from ccnvr.edge.spectrum_files.messages import NoSpectra, cleaned
from ccnvr.edge.spectrum_files.read import files_in, may_hold_spectra, read_file
from ccnvr.edge.standard_error import tell
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError

_MOST_LISTED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr predict`."""
    parser.add_argument("bundle", help=f"{BUNDLE_HELP}; not needed with --explain")
    # argparse must not require files: with --explain the first one takes the bundle's place.
    parser.add_argument("file", type=Path, nargs="*", help="files of spectra, or folders of them")
    add_table_options(parser)
    add_model_choice(parser)
    add_tolerances(parser)
    parser.add_argument(
        "--json", action="store_true", help="write one JSON object per line instead of CSV"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write here instead of standard output"
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="say how the files are understood, and predict nothing",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="DIR",
        help="draw each spectrum with its predictions into this folder (needs the extra plot)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Predict every spectrum of the files; return 1 if a file of a folder was left out."""
    # Before a model is opened, which --explain does not need.
    if arguments.explain:
        return _explain(arguments)
    _check_order(arguments.bundle, arguments.file)

    def refuse(path: Path) -> None:
        if arguments.out is not None and is_same_file(arguments.out, path):
            raise UsageError(f"--out {arguments.out} is a file that is read, {path}; name another")

    # Before anything is predicted, since minutes of work could be lost.
    for path in (Path(arguments.bundle), *arguments.file):
        refuse(path)
    if arguments.out is not None:
        check_writable(arguments.out)
    pictures = None if arguments.plot is None else Pictures(arguments.plot)
    chosen: list[str] = []
    model = load_bundle(arguments.bundle, arguments.engine, arguments.profile, chosen.append)
    tolerances = dict(arguments.accept or ())
    check_tolerances(tolerances, properties_of(model), f"bundle {arguments.bundle}")
    watch = None if pictures is None else pictures.watch
    options = table_options(arguments)
    predictions = FilePredictions(model, arguments.quantity, options, watch, tolerances)
    outcome = predictions.predict(arguments.file, refuse)
    _report(outcome)
    targets = list(outcome.targets.values())
    text = as_json_lines(outcome.rows) if arguments.json else as_csv(outcome.rows, targets)
    # Written after all files are read, so that an error leaves no partial table.
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        with write_atomically(arguments.out) as stream:
            stream.write(text.encode())
    if pictures is not None:
        tell(pictures.draw())
    # After all that may fail, so that an error is the only line on standard error.
    for words in chosen:
        tell(words)
    return 1 if outcome.failures else 0


def _check_order(bundle: str, files: list[Path]) -> None:
    """Refuse files without a bundle before them.

    Raises:
        UsageError: there are no files, or one of them is the bundle.
    """
    if not files:
        raise UsageError(
            "name a bundle, and after it files of spectra, as in: ccnvr predict default soils.csv"
        )
    for path in files:
        if _names_bundle(str(path)) and not _names_bundle(bundle):
            raise UsageError(
                f"{path} is a bundle and stands after {bundle}; name the bundle first: "
                f"ccnvr predict {path} {bundle}"
            )


def _names_bundle(text: str) -> bool:
    return names_default(text) or text.endswith(".ccnvr")


def _explain(arguments: argparse.Namespace) -> int:
    """Print how each file is understood; return 1 if a file of a folder cannot be read."""
    options = table_options(arguments)
    code = 0
    paths = arguments.file or [Path(arguments.bundle)]
    for path in paths:
        if not os.path.isdir(path):
            sys.stdout.write(explained(read_file(path, options), arguments.quantity))
            continue
        for inside in files_in(path):
            if not may_hold_spectra(inside):
                sys.stdout.write(f"{inside}: passed over, since it holds no spectra\n")
                continue
            try:
                sys.stdout.write(explained(read_file(inside, options), arguments.quantity))
            except NoSpectra:
                sys.stdout.write(f"{inside}: passed over, since it holds no spectra\n")
            except CcnvrError as error:
                code = 1
                sys.stdout.write(f"{inside}: not read: {cleaned(str(error))}\n")
    return code


def _report(outcome: Outcome) -> None:
    """Say on standard error what was passed over, left out and chosen."""
    for note, paths in outcome.notes.items():
        others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        tell(cleaned(f"{paths[0]}{others}: {note}"))
    if passed_over := outcome.passed_over:
        names = ", ".join(path.name for path in passed_over[:5])
        more = " ..." if len(passed_over) > 5 else ""
        message = f"passed over, since they hold no spectra: {names}{more}"
        tell(cleaned(message))
    if failures := outcome.failures:
        for failure in failures[:_MOST_LISTED]:
            tell(f"left out: {failure}")
        tell(
            f"{len(failures)} of {len(failures) + outcome.files} files were left out; the "
            "predictions of the others are complete"
        )
