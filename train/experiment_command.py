"""The paper's experiments: calibration methods compared with the same soils, folds and budget. Interrupt them whenever you
like; the same command goes on where it was. Results go to RUN/EXPERIMENT-LIBRARY.json and figures beside them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ccnvr.edge.arguments import whole_number
from ccnvr.edge.files import write_atomically
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.train import accuracy_experiment, noise_experiment
from ccnvr.train.comparison import Comparison, official_splits
from ccnvr.train.contenders import RECIPE, Budget, contenders
from ccnvr.train.ledger import Ledger

_COLUMNS = ("n", "r2", "r2_low", "r2_high", "rmse", "mae", "bias", "rpiq", "rpd", "p_value")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr experiment`."""
    parser.add_argument("experiment", choices=("accuracy", "noise"), help="what to compare")
    parser.add_argument("--data", default="nirsoil", metavar="LIBRARY", help="nirsoil or a LimeSoDa set (default nirsoil)")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for results and figures")
    parser.add_argument("--methods", default="", metavar="A,B", help="methods to compare (default: all)")
    parser.add_argument("--properties", default="", metavar="A,B", help="properties (default: all that were measured)")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="recipe of CCNVR")
    parser.add_argument("--trials", type=whole_number(1, 10_000), default=30, help="configurations tried, a rival and property")
    parser.add_argument("--folds", type=whole_number(2, 20), default=5, help="folds in which they are tried")
    parser.add_argument("--seeds", type=whole_number(1, 100), default=5, help="repetitions")
    parser.add_argument(
        "--choices",
        type=Path,
        metavar="RESULT",
        help="an earlier accuracy result: CNN, RNN and networks keep its choices instead of searching on these soils",
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out one experiment and print its tables."""
    torch.set_num_threads(1)
    chosen = contenders(_names(arguments.methods), arguments.recipe)
    ledger = Ledger(arguments.out)
    splits = official_splits(arguments.data, properties=_names(arguments.properties))
    with tqdm(unit="step", file=sys.stderr, mininterval=1.0 if sys.stderr.isatty() else 60.0) as bar:

        def on_step(what: str) -> None:
            bar.set_description(what, refresh=False)
            bar.update()

        comparison = Comparison(
            library=arguments.data,
            splits=splits,
            contenders=chosen,
            budget=Budget(arguments.trials, arguments.folds),
            seeds=arguments.seeds,
            ledger=ledger,
            chosen=_earlier_choices(arguments.choices),
            on_step=on_step,
        )
        try:
            module = {"accuracy": accuracy_experiment, "noise": noise_experiment}[arguments.experiment]
            result = module.run(comparison, arguments.out)
        except KeyboardInterrupt:
            raise CcnvrError("interrupted; the same command goes on where it was") from None
    path = arguments.out / f"{arguments.experiment}-{arguments.data}.json"
    with write_atomically(path) as stream:
        stream.write(json.dumps(result, indent=1).encode())
    _print(result)
    print(f"\nwrote {path} and figures beside it")
    return 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _earlier_choices(path: Path | None) -> dict[str, Any]:
    """What CNN and RNN, slow to tune, used in an earlier experiment's only split."""
    if path is None:
        return {}
    try:
        choices = json.loads(path.read_text())["choices"]
        return {name: next(iter(choices[name].values())) for name in ("CNN", "RNN") if name in choices}
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise UsageError(f"{path} is no result of ccnvr experiment accuracy ({type(error).__name__}: {error})") from error


def _print(result: dict[str, Any]) -> None:
    if "table" in result:
        print_table(result["table"])
        return
    for part in ("calibration", "test"):
        for level, losses in result[f"{part}_loss"].items():
            print(f"\nR2 lost with noise of {level} on the {part} spectra")
            for method, loss in losses.items():
                print(f"{method:<16}" + "".join(f"{name:>6} {value:7.3f}" for name, value in loss.items()))


def print_table(table: dict[str, dict[str, dict[str, Any]]]) -> None:
    """{method: {property: figures}} as aligned text."""
    print(f"{'method':<16}{'property':<9}" + "".join(f"{column:>9}" for column in _COLUMNS))
    for method, properties in table.items():
        for name, merit in properties.items():
            cells = ("-" if merit.get(column) is None else f"{merit[column]:.4g}" for column in _COLUMNS)
            print(f"{method:<16}{name:<9}" + "".join(f"{cell:>9}" for cell in cells))
