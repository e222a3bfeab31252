"""Adapt a bundle to another instrument by standards that were measured on both, without training it
again.

pds makes the other instrument's spectra look like the reference's; it needs the same samples in two
files. slope-bias corrects the answers; it needs one file of spectra with columns of laboratory
values (OC, N, ...). Against moisture, train a model with [epo] in its recipe.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle.manifest import Manifest
from ccnvr.edge.chemometrics import correction as corrections
from ccnvr.edge.chemometrics.correction import WIDEST_WINDOW, Correction
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.edge.commands.arguments import whole_number
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.spectrum_files.spectra_table import QUANTITIES
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries import standards

Figures = dict[str, dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr standardise`."""
    parser.add_argument("bundle", help="a .ccnvr file, or 'default'")
    parser.add_argument(
        "--field",
        type=Path,
        required=True,
        metavar="FILE",
        help="standards on the instrument to adapt to (CSV)",
    )
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help="the same on the reference instrument (CSV; pds)",
    )
    parser.add_argument(
        "--method", choices=("pds", "slope-bias"), default="pds", help="what to fit (pds)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the bundle to write (.ccnvr)"
    )
    parser.add_argument(
        "--quantity",
        choices=QUANTITIES,
        default="reflectance",
        help="what the files hold (reflectance, 0 to 1)",
    )
    parser.add_argument(
        "--window",
        type=whole_number(3, WIDEST_WINDOW),
        default=11,
        help="pds: bands of the model's grid, odd (11)",
    )
    parser.add_argument(
        "--components",
        type=whole_number(1, 10),
        default=2,
        help="pds: of each band's regression (2)",
    )
    parser.add_argument("--json", action="store_true", help="the figures as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Fit, print what it does to standards that were left out, write the adapted bundle."""
    if (arguments.method == "pds") != (arguments.reference is not None):
        raise UsageError(
            "--reference is for pds, which needs it; slope-bias takes laboratory values from the "
            "--field file"
        )
    bundles.check_destination(arguments.out, arguments.bundle)
    model = ProvedModel(arguments.bundle)
    if arguments.method == "pds":
        correction, figures = _standardise(model, arguments)
        adapted = _with_correction(model, correction)
    else:
        targets, figures = _correct_answers(model, arguments)
        adapted = dataclasses.replace(model.bundle.manifest, targets=targets), model.bundle.parts
    manifest, parts = adapted
    bundles.write(arguments.out, _recorded(manifest, arguments.method, figures), parts)
    print(
        json.dumps({"method": arguments.method, **figures})
        if arguments.json
        else _table(figures, arguments.out)
    )
    return 0


def _standardise(model: ProvedModel, arguments: argparse.Namespace) -> tuple[Correction, Figures]:
    """The bundle's correction with a PDS before it, and what that does to spectra and answers."""
    recipe = model.bundle.manifest.preprocessing
    pairs = standards.read_pairs(
        arguments.reference, arguments.field, recipe.grid, arguments.quantity
    )
    fit = partial(standards.fit_pds, window=arguments.window, components=arguments.components)
    correction = fit(pairs)
    if model.correction is not None:
        correction = standards.after(model.correction, correction)
    corrected = standards.left_out(pairs, fit)
    figures: Figures = {
        "absorbance": {
            "standards": len(set(pairs.sample_ids)),
            "before": _rms(pairs.field - pairs.reference),
            "after": _rms(corrected - pairs.reference),
        }
    }
    wanted, before, after = (
        _outputs(model, spectra) for spectra in (pairs.reference, pairs.field, corrected)
    )
    for column, target in enumerate(model.bundle.manifest.targets):
        answers = [target.restore(outputs[:, column]) for outputs in (wanted, before, after)]
        figures[f"{target.name} ({target.unit})"] = {
            "standards": len(set(pairs.sample_ids)),
            "before": _rms(answers[1] - answers[0]),
            "after": _rms(answers[2] - answers[0]),
        }
    return correction, figures


def _correct_answers(
    model: ProvedModel, arguments: argparse.Namespace
) -> tuple[tuple[Target, ...], Figures]:
    """Targets with a slope and a bias for each property that the field's file has values of."""
    manifest = model.bundle.manifest
    soils = libraries.load_library(
        str(arguments.field), manifest.preprocessing.grid, quantity=arguments.quantity
    )
    outputs = _outputs(model, soils.spectra)
    targets, figures = [], {}
    for column, target in enumerate(manifest.targets):
        measured = soils.column(target.name)
        if not np.all(np.isnan(measured)):
            target, line = standards.fit_line(target, outputs[:, column], measured)
            figures[f"{target.name} ({target.unit})"] = dataclasses.asdict(line)
        targets.append(target)
    if not figures:
        known = ", ".join(target.name for target in manifest.targets)
        raise UsageError(
            f"{arguments.field} has no values of {known}, which the bundle predicts; add the "
            "laboratory's"
        )
    return tuple(targets), figures


def _outputs(model: ProvedModel, spectra: Array) -> Array:
    """Standardised answers `(n, targets)` to absorbance on the grid, with the correction that the
    bundle had.
    """
    recipe = model.bundle.manifest.preprocessing
    inputs = Preprocessor(recipe, recipe.grid.wavelengths(), model.correction).batch(spectra)
    return np.concatenate(
        [model.session(inputs[row : row + 1]) for row in range(len(inputs))]
    ).astype(np.float64)


def _with_correction(
    model: ProvedModel, correction: Correction
) -> tuple[Manifest, dict[str, bytes]]:
    """The bundle with another correction; its self-test expects what the proved engine answers to
    corrected spectra.
    """
    manifest, test = model.bundle.manifest, model.bundle.self_test()
    inputs = Preprocessor(
        manifest.preprocessing, manifest.preprocessing.grid.wavelengths(), correction
    ).batch(np.array(test.absorbance))
    expected = tuple(map(tuple, model.session(inputs).astype(np.float64).tolist()))
    parts = {
        **model.bundle.parts,
        bundles.SELF_TEST: json.dumps(
            dataclasses.asdict(dataclasses.replace(test, expected=expected))
        ).encode(),
        corrections.PART: corrections.pack(correction),
    }
    described = {name: bundles.part_of(content) for name, content in parts.items()}
    return dataclasses.replace(manifest, parts=described), parts


def _recorded(manifest: Manifest, method: str, figures: Figures) -> Manifest:
    """The card says what was done; its accuracy remains that of the reference instrument."""
    record = [
        *manifest.card.training.get("standardised", []),
        {"method": method, "figures": figures},
    ]
    card = dataclasses.replace(
        manifest.card, training={**manifest.card.training, "standardised": record}
    )
    return dataclasses.replace(manifest, card=card)


def _rms(difference: Array) -> float:
    return float(np.sqrt(np.mean(difference**2)))


def _table(figures: Figures, out: Path) -> str:
    lines = [f"{'RMS difference':<18}{'standards':>10}{'before':>11}{'after, left out':>17}"]
    for name, row in figures.items():
        lines.append(f"{name:<18}{row['standards']:>10}{row['before']:>11.4g}{row['after']:>17.4g}")
    if worse := [name for name, row in figures.items() if row["after"] >= row["before"]]:
        lines.append(
            f"no better than before for {', '.join(worse)}; if that matters, keep the bundle as "
            "it was"
        )
    return "\n".join([*lines, f"wrote {out}"])
