"""Adapt a bundle to another instrument by standards, without training it again.

pds makes the other instrument's spectra look like the reference instrument's; it needs the same
samples measured on both, in two files. slope-bias corrects the predictions; it needs one file of
spectra with columns of laboratory values (OC, N, ...). Against moisture, train a model with [epo]
in its recipe.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.chemometrics.correction import WIDEST_WINDOW
from ccnvr.edge.chemometrics.grid import naming_source
from ccnvr.edge.commands.arguments import BUNDLE_HELP, whole_number
from ccnvr.edge.inference.models import load_bundle
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.spectrum_files.spectra_table import QUANTITIES
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.own import files as own_files
from ccnvr.train.standardisation import Figures, PdsSettings, adapt_by_line, adapt_by_pds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr standardise`."""
    parser.add_argument("bundle", help=BUNDLE_HELP)
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
        help="the same standards on the reference instrument (CSV; pds)",
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
        default=PdsSettings.window,
        help=f"pds: bands of the model's grid in a window, odd ({PdsSettings.window})",
    )
    parser.add_argument(
        "--components",
        type=whole_number(1, 10),
        default=PdsSettings.components,
        help=f"pds: components of each band's regression ({PdsSettings.components})",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Adapt, write the bundle, and print what that does to standards that were left out."""
    # argparse cannot say that one option depends on another.
    if (arguments.method == "pds") != (arguments.reference is not None):
        raise UsageError(
            "--reference is for pds, which needs it; slope-bias takes laboratory values from the "
            "--field file"
        )
    # Before the work, and refused where it would overwrite the bundle that is adapted.
    bundles.check_destination(arguments.out, arguments.bundle)
    model = _opened(arguments.bundle, arguments.field)
    if arguments.method == "pds":
        settings = PdsSettings(arguments.window, arguments.components)
        adapted = adapt_by_pds(
            model, arguments.reference, arguments.field, arguments.quantity, settings
        )
    else:
        adapted = adapt_by_line(model, arguments.field, arguments.quantity)
    adapted.write(arguments.out)
    if arguments.json:
        print(json.dumps({"method": arguments.method, **adapted.figures}))
    else:
        print(_table(adapted.figures))
        print(f"wrote {arguments.out}")
    return 0


def _opened(bundle: str, field: Path) -> ProvedModel:
    model = load_bundle(bundle)
    if isinstance(model, ProvedModel):
        return model
    with naming_source(field):
        return model.for_wavelengths(own_files.wavelengths(field))


def _table(figures: Figures) -> str:
    lines = [f"{'RMS difference':<18}{'standards':>10}{'before':>11}{'after, left out':>17}"]
    for name, row in figures.items():
        lines.append(f"{name:<18}{row['standards']:>10}{row['before']:>11.4g}{row['after']:>17.4g}")
    if worse := [name for name, row in figures.items() if row["after"] >= row["before"]]:
        lines.append(
            f"no better than before for {', '.join(worse)}; if that matters, keep the bundle as "
            "it was"
        )
    return "\n".join(lines)
