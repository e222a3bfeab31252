"""Score the bundles that are kept on soils that they never saw, beside the figures on record.

    python -m tools.rescore                # print the figures on record, those of now, differences
    python -m tools.rescore --page         # and write them into docs/accuracy-check.md
    python -m tools.rescore --record       # take the figures of now for the record
    python -m tools.rescore nir --record   # the same for one bundle; the record keeps the others

It needs the libraries' files, in the folder that CCNVR_DATA names, and the environment that `make
rescore` sets up. The bundles are the default models and those of tests/data. Spectra go through the
edge as a user's do: `ProvedModel(...).bind(...)`. `tools.same_predictions` compares the single
predictions.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ccnvr.edge.bundle.archive import model_file_name, read
from ccnvr.edge.chemometrics.metrics import accuracy
from ccnvr.edge.chemometrics.targets import NEW
from ccnvr.edge.engines.registry import ENGINES
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.network.layout import PROFILES
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries.published.r_packages import moisture_at_hand
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.runs.base import read_base
from ccnvr.train.runs.report import accuracy_by_library
from ccnvr.train.runs.run import HELD_OUT
from tools.exit_code import explained

ROOT = Path(__file__).parents[1]
RECORD, PAGE = Path(__file__).with_suffix(".json"), ROOT / "docs" / "accuracy-check.md"
BEGIN, END = "<!-- made by tools/rescore.py: {} -->", "<!-- end -->"
BUNDLES = {
    path.stem: path
    for folder in ("edge/models", "tests/data")
    for path in sorted((ROOT / folder).glob("*.ccnvr"))
}
STATES = ("air-dry", "drying", "wet")

_IN_CARDS = {"onnx": "onnxruntime", "tflite": "tflite-runtime"}
"""What cards call the engines that they do not call by their names."""

Table = dict[str, Any]


def figures(path: Path) -> Table:
    """Return what a bundle's predictions of the soils held out from its training are worth."""
    recipe, card = read_base(str(path)).recipe, read(path).manifest.card
    soils, nm = load_soils(recipe.tests, recipe), recipe.grid.wavelengths()
    predictor = ProvedModel(path).bind(nm)
    predictions = [predictor(spectrum) for spectrum in soils.spectra]
    numbers, together = as_numbers(predictions), as_numbers(predictor.batch(soils.spectra))
    # The moisture set is read onto a grid alone, not as the bands of a sensor would see its soils.
    moist = moisture_at_hand(recipe.grid) if recipe.sensor is None else None
    return {
        "soils": len(soils),
        "properties": {
            name: worth(soils.column(name), numbers[:, column])
            for column, name in enumerate(soils.properties)
            if not np.isnan(soils.column(name)).all()
        },
        "flagged": flagged(predictions),
        "sure": round(1.0 - float(numbers[..., 3].any(axis=1).mean()), 4),
        "moisture": {
            state: flagged(predictor.batch(spectra)) for state, spectra in (moist or {}).items()
        },
        "card": beside_card(card.accuracy[HELD_OUT], soils, numbers[..., 0]),
        "batch": largest(numbers, together)[0],
        "parity": parity(path, soils),
    }


def as_numbers(predictions: Sequence[Prediction]) -> Array:
    """Return value, low, high, and 1 for an interval for new places: `(n, properties, 4)`."""
    return np.array(
        [
            [(one.value, one.low, one.high, one.places == NEW) for one in prediction.values()]
            for prediction in predictions
        ],
        dtype=np.float64,
    )


def largest(earlier: Array, now: Array) -> tuple[float, float]:
    """Return the largest difference of a value, and of an interval's end, in earlier widths.

    Of estimates that were moved to a possible value, the value alone is compared: their intervals
    are defined in another way since decision 0097.
    """
    width = (earlier[..., 2] - earlier[..., 1])[..., None]
    # An interval that lay below 0 as a whole was shown as 0 to 0.
    apart = np.abs(now[..., :3] - earlier[..., :3]) / np.where(width > 0.0, width, 1.0)
    ends = apart[..., 1:][~moved(earlier)]
    return float(apart[..., 0].max()), float(ends.max(initial=0.0))


def moved(numbers: Array) -> NDArray[np.bool_]:
    """Return which estimates of `as_numbers` were moved to the nearest possible value, 0 or 100."""
    at_limit: NDArray[np.bool_] = (numbers[..., 0] == 0.0) | (numbers[..., 0] == 100.0)
    return at_limit


def flagged(predictions: Sequence[Prediction]) -> float:
    """Return the share of predictions that are flagged as out of the model's domain."""
    found = [any(flag.startswith("out_of_domain") for flag in one.flags) for one in predictions]
    return round(float(np.mean(found)), 4)


def worth(measured: Array, numbers: Array) -> Table:
    """Return accuracy, coverage and width of one property, from `(n, 4)` of `as_numbers`."""
    known = ~np.isnan(measured)
    found = accuracy(measured[known], numbers[known, 0])
    low, high = numbers[known, 1], numbers[known, 2]
    inside = (low <= measured[known]) & (measured[known] <= high)
    return {
        "n": found.n,
        "r2": found.r2,
        "rmse": found.rmse,
        "covered": float(inside.mean()),
        "width": float((high - low).mean()),
    }


def beside_card(stated: Table, soils: Soils, predicted: Array) -> float:
    """Return the largest relative difference of an RMSE from the one in the card, of torch."""
    return max(
        abs((figure["rmse"] or 0.0) / float(stated[library][name]["rmse"]) - 1.0)
        for library, properties in accuracy_by_library(soils, predicted).items()
        for name, figure in properties.items()
    )


def parity(path: Path, soils: Soils) -> dict[str, Table]:
    """Return the parity of each profile on each engine that is installed.

    `test` is the largest difference from the outputs that the self-test expects, in sd. `rmse` is
    the largest difference from what, by the card, the profile adds to the RMSE, as a share of it.
    """
    bundle, exact, found = read(path), Table(), dict[str, Table]()
    for profile in PROFILES:
        # NumPy first: its RMSE in fp32 stands for that of torch.
        for engine in sorted(ENGINES.values(), key=lambda engine: engine.name != "numpy"):
            if engine.obstacle or model_file_name(profile, engine.model_format) not in bundle.parts:
                continue
            model = ProvedModel(path, engine.name, profile)
            predicted = as_numbers(model.bind(soils.grid.wavelengths()).batch(soils.spectra))
            rmse = {
                name: accuracy(soils.column(name), predicted[:, column, 0]).rmse or 0.0
                for column, name in enumerate(soils.properties)
            }
            exact = exact or rmse
            title = f"{profile} on {_IN_CARDS.get(engine.name, engine.name)},"
            (stated,) = (
                each["rmse_inflation"]
                for key, each in bundle.manifest.card.parity.items()
                if key.startswith(title)
            )
            found.setdefault(profile, {})[engine.name] = {
                "test": model.self_test_difference,
                "rmse": max(abs(rmse[name] / exact[name] - 1.0 - stated[name]) for name in stated),
            }
    return found


def accuracy_lines(record: Table, now: Table) -> Iterator[str]:
    """Yield the table of accuracy and intervals: on record, now, and the difference."""
    pairs = " | ".join(f"{name} | now" for name in ("R²", "RMSE", "covered", "width"))
    yield f"| model | property | soils | {pairs} | moved |"
    yield "|---" * 12 + "|"
    for name, found in now.items():
        for prop, one in found["properties"].items():
            before = record[name]["properties"][prop]
            pairs = " | ".join(
                f"{before[key]:.{digits}f} | {one[key]:.{digits}f}"
                for key, digits in (("r2", 4), ("rmse", 3), ("covered", 3), ("width", 3))
            )
            moved = max(abs(one[key] / before[key] - 1.0) for key in ("rmse", "width"))
            yield f"| `{name}` | {prop} | {one['n']} | {pairs} | {moved:.0e} |"


def domain_lines(record: Table, now: Table) -> Iterator[str]:
    """Yield the table of flags and of known places, and of how two ways to predict agree."""
    moist = " | ".join(f"{state} | now" for state in STATES)
    yield f"| model | flagged | now | known place | now | {moist} | RMSE from card's | batch |"
    yield "|---" * 13 + "|"
    for name, one in now.items():
        pairs = [(record[name][key], one[key]) for key in ("flagged", "sure")]
        pairs += [
            (record[name]["moisture"].get(state), one["moisture"].get(state)) for state in STATES
        ]
        cells = ["-" if share is None else f"{share:.1%}" for pair in pairs for share in pair]
        yield f"| `{name}` | {' | '.join(cells)} | {one['card']:.0e} | {one['batch']:.0e} |"


def parity_lines(record: Table, now: Table) -> Iterator[str]:
    """Yield the table of parity by profile, with the engines side by side in a cell."""
    yield "| model | profile | from self-test, sd | now | RMSE from card's | now |"
    yield "|---" * 6 + "|"
    for name, found in now.items():
        for profile, engines in found["parity"].items():
            both = (record[name]["parity"][profile], engines)
            tests = [", ".join(f"{key} {one[key]['test']:.0e}" for key in one) for one in both]
            apart = [f"{max(each['rmse'] for each in one.values()):.0e}" for one in both]
            yield f"| `{name}` | {profile} | {' | '.join([*tests, *apart])} |"


TABLES = {"accuracy": accuracy_lines, "domain": domain_lines, "parity": parity_lines}


def written(text: str, title: str, lines: Sequence[str]) -> str:
    """Return a page with one of its tables made anew."""
    begin = BEGIN.format(title)
    head, rest = text.split(begin)
    return f"{head}{begin}\n{chr(10).join(lines)}\n{END}{rest.split(END, 1)[1]}"


def merged(record: Table, now: Table) -> Table:
    """Return the record with the figures of now, of the bundles that are kept, in their order."""
    both = record | now
    return {name: both[name] for name in BUNDLES if name in both}


def main() -> None:
    """Score, and print and write what the options say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="bundles, such as nir (all)")
    parser.add_argument("--record", action="store_true", help="take the figures for the record")
    parser.add_argument("--page", action="store_true", help=f"write the tables of {PAGE.name}")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in BUNDLES:
            parser.error(f"there is no bundle {name!r}; name some of {', '.join(BUNDLES)}")
    if arguments.page and arguments.names:
        parser.error("--page writes the tables of all bundles; name no bundle with it")
    with tqdm(arguments.names or BUNDLES, unit="bundle") as names:
        now = {name: figures(BUNDLES[name]) for name in names}
    if arguments.record:
        RECORD.write_text(json.dumps(merged(json.loads(RECORD.read_text()), now), indent=1) + "\n")
    record = json.loads(RECORD.read_text())
    for title, lines in TABLES.items():
        table = list(lines(record, now))
        print("\n".join(table), end="\n\n")
        if arguments.page:
            PAGE.write_text(written(PAGE.read_text(), title, table))


if __name__ == "__main__":
    sys.exit(explained(main))
