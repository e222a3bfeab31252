"""The options of `ccnvr experiment` and of the experiments below it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ccnvr.edge.commands.arguments import some_of, whole_number
from ccnvr.train.experiments import transfer
from ccnvr.train.experiments.comparison import REFERENCE
from ccnvr.train.libraries.properties import PROPERTIES
from ccnvr.train.studies import places, scale


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a parser for each experiment."""
    experiments = parser.add_subparsers(dest="experiment", required=True, metavar="EXPERIMENT")
    for name, (summary, add) in _EXPERIMENTS.items():
        add(experiments.add_parser(name, help=summary))


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        default="nirsoil",
        metavar="LIBRARY",
        help="nirsoil, a LimeSoDa set, open for all of them together, or icraf, icraf:countries, "
        "icraf:chance or icraf:organic (default: nirsoil)",
    )
    parser.add_argument(
        "--properties",
        type=some_of(PROPERTIES),
        default=(),
        metavar="A,B",
        help="properties to predict (default: all that were measured)",
    )
    _add_choices(parser)
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="OUT",
        help="--out of an experiment by another recipe, whose results of rivals are taken over",
    )
    parser.add_argument(
        "--splits", type=whole_number(1, 100), help="splits to use, the first ones (default: all)"
    )
    parser.add_argument(
        "--against",
        default=REFERENCE,
        metavar="METHOD",
        help=f"method that the others are tested against (default: {REFERENCE})",
    )
    # The budget of docs/study.md.
    _add_methods(parser, trials=30, seeds=5)


def _add_transfer(parser: argparse.ArgumentParser) -> None:
    known = transfer.LIBRARIES
    parser.add_argument(
        "--targets",
        type=_names,
        default=known,
        metavar="A,B",
        help="libraries that are the target in turn",
    )
    parser.add_argument(
        "--sources",
        type=_names,
        default=known,
        metavar="A,B",
        help="libraries to train on, the target left out",
    )
    parser.add_argument(
        "--property",
        choices=PROPERTIES,
        default="OC",
        help="property to predict, measured in all of them (default: OC)",
    )
    parser.add_argument(
        "--repeats", type=whole_number(1, 100), default=5, help="draws of local samples (5)"
    )
    # Fewer than for `accuracy`, because every method is tuned anew for each of six libraries.
    _add_methods(parser, trials=10, seeds=1)


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--countries",
        type=_names,
        default=places.COUNTRIES,
        metavar="A,B",
        help="countries that are the target in turn",
    )
    parser.add_argument(
        "--local",
        type=_names,
        default=("PLSR", "members"),
        metavar="A,B",
        help="methods that are calibrated on the local soils alone too (default: PLSR,members)",
    )
    parser.add_argument(
        "--finetune", action="store_true", help="fine-tune CCNVR on the local soils too"
    )
    parser.add_argument(
        "--seed", type=whole_number(0, 2**31 - 1), default=0, help="seed of the draw (0)"
    )
    _add_choices(parser)
    _add_methods(parser, trials=10, seeds=1)


def _add_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--choices",
        type=Path,
        metavar="RESULT",
        help="result of an earlier accuracy experiment, whose choices its rivals keep",
    )


def _add_methods(parser: argparse.ArgumentParser, trials: int, seeds: int) -> None:
    _add_out(parser, "folder for results and figures")
    parser.add_argument(
        "--methods",
        type=_names,
        default=(),
        metavar="A,B",
        help="methods to compare (default: all)",
    )
    parser.add_argument(
        "--recipe",
        type=Path,
        help="recipe of CCNVR (default: that of the study, or that of ICRAF for ICRAF)",
    )
    parser.add_argument(
        "--trials",
        type=whole_number(1, 10_000),
        default=trials,
        help=f"configurations tried per property ({trials})",
    )
    parser.add_argument(
        "--seconds",
        type=whole_number(1, 10**6),
        default=240,
        help="seconds of trials after which no trial is begun (240)",
    )
    _add_folds(parser)
    parser.add_argument(
        "--seeds", type=whole_number(1, 100), default=seeds, help=f"repetitions ({seeds})"
    )


def _add_search(parser: argparse.ArgumentParser) -> None:
    _add_out(parser, "folder for results; processes may share its tuning.db")
    parser.add_argument(
        "--trials", type=whole_number(1, 10_000), default=30, help="configurations tried (30)"
    )
    _add_folds(parser)


def _add_folds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--folds", type=whole_number(2, 20), default=3, help="folds in which they are tried (3)"
    )


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=whole_number(0, 2**31 - 1), default=0, help="seed (0)")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished ccnvr train")
    _add_out(parser)


def _add_out(parser: argparse.ArgumentParser, what: str = "folder for results") -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help=what)


def _add_scale(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--soils",
        type=whole_number(64, 10**6),
        default=scale.SOILS,
        help=f"soils to simulate ({scale.SOILS})",
    )
    parser.add_argument(
        "--bands",
        type=whole_number(300, 4200),
        default=scale.BANDS,
        help=f"bands of their spectra ({scale.BANDS})",
    )
    parser.add_argument(
        "--epochs", type=whole_number(1, 1000), default=3, help="epochs of training (3)"
    )
    parser.add_argument(
        "--threads", type=whole_number(1, 256), default=1, help="threads of torch (1)"
    )
    _add_out(parser)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


_EXPERIMENTS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "accuracy": ("compare the accuracy of the methods on one library", _add_comparison),
    "noise": ("measure what noise in the spectra costs each method", _add_comparison),
    "transfer": (
        "train on some libraries, predict another, and adapt with a few of its soils",
        _add_transfer,
    ),
    "places": (
        "calibrate on ICRAF, predict a country of it, and adapt with a few of its soils",
        _add_places,
    ),
    "search": ("search CCNVR's own configuration inside nirsoil's training part", _add_search),
    "check": (
        "train the study's single network once and print its R2 on nirsoil's test part",
        _add_check,
    ),
    "intervals": (
        "measure coverage and width of a run's intervals and of MC-dropout's",
        _add_run,
    ),
    "domain": (
        "measure the share of soils, wet soils and other materials that a run's domain flags",
        _add_run,
    ),
    "moisture": ("predict wet soils by air-dry models, without EPO and with it", _add_out),
    "scale": (
        "measure memory and time of a run as large as LUCAS, beside plain torch's",
        _add_scale,
    ),
}
