"""The paper's experiments, on the same soils, folds and budget for each method. Interrupt them
whenever you like; the same command goes on where it was. Results go to OUT/EXPERIMENT-WHAT.json and
figures beside them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import tqdm

from ccnvr.edge.atomic_files import is_same_file
from ccnvr.edge.commands.arguments import some_of, whole_number
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.train.calibration.folds import soil_of
from ccnvr.train.experiments import accuracy as accuracy_experiment
from ccnvr.train.experiments import inputs as experiment_inputs
from ccnvr.train.experiments import noise as noise_experiment
from ccnvr.train.experiments import transfer as transfer_experiment
from ccnvr.train.experiments.comparison import Comparison, official_splits
from ccnvr.train.experiments.contenders import BEST, RECIPE, Budget, Network, contenders
from ccnvr.train.experiments.output import print_losses, print_table, progress, write_result
from ccnvr.train.experiments.statistics import figures
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.properties import PROPERTIES
from ccnvr.train.rivals.ccnvr import StackedNetwork
from ccnvr.train.rivals.tuning import tune
from ccnvr.train.studies import domain as domain_study
from ccnvr.train.studies import intervals as interval_study
from ccnvr.train.studies import moisture as moisture_study
from ccnvr.train.studies import scale as scale_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr experiment`."""
    experiments = parser.add_subparsers(dest="experiment", required=True, metavar="EXPERIMENT")
    accuracy = experiments.add_parser("accuracy", help="every method at its best, on one library")
    noise = experiments.add_parser("noise", help="what noise in the spectra costs each method")
    for compared in (accuracy, noise):
        _comparison_arguments(compared)
    transfer = experiments.add_parser(
        "transfer", help="a model of some libraries on another, adapted with a few of its soils"
    )
    _transfer_arguments(transfer)
    search = experiments.add_parser(
        "search", help="search CCNVR's own configuration inside nirsoil's training part"
    )
    search.add_argument(
        "--out", type=Path, required=True, metavar="OUT", help="folder; its tuning.db may be shared"
    )
    search.add_argument(
        "--trials", type=whole_number(1, 10_000), default=30, help="configurations tried (30)"
    )
    search.add_argument(
        "--folds", type=whole_number(2, 20), default=3, help="folds in which they are tried (3)"
    )
    check = experiments.add_parser(
        "check", help="train the study's single network once, and its R2 on nirsoil's test part"
    )
    check.add_argument("--seed", type=whole_number(0, 2**31 - 1), default=0)
    for name, what in _OF_A_RUN.items():
        trained = experiments.add_parser(name, help=what)
        trained.add_argument(
            "run", type=Path, metavar="RUN", help="folder of a finished ccnvr train"
        )
        trained.add_argument(
            "--out", type=Path, required=True, metavar="OUT", help="folder for results"
        )
    moisture = experiments.add_parser(
        "moisture", help="air-dry models on wet soils, without EPO and with it"
    )
    moisture.add_argument(
        "--out", type=Path, required=True, metavar="OUT", help="folder for results"
    )
    scale = experiments.add_parser(
        "scale", help="a run as large as LUCAS on simulated soils: memory, time, and plain torch's"
    )
    scale.add_argument("--soils", type=whole_number(64, 10**6), default=scale_study.SOILS)
    scale.add_argument("--bands", type=whole_number(300, 4200), default=scale_study.BANDS)
    scale.add_argument("--epochs", type=whole_number(1, 1000), default=3)
    scale.add_argument("--threads", type=whole_number(1, 256), default=1, help="threads of torch")
    scale.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for results")


def _comparison_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        default="nirsoil",
        metavar="LIBRARY",
        help="nirsoil, a LimeSoDa set, or open: all of them (default nirsoil)",
    )
    parser.add_argument(
        "--properties",
        type=some_of(PROPERTIES),
        default=(),
        metavar="A,B",
        help="default: all that were measured",
    )
    parser.add_argument(
        "--choices",
        type=Path,
        metavar="RESULT",
        help="result of an earlier accuracy experiment: CNN and RNN, slow to tune, keep its "
        "choices",
    )
    _method_arguments(parser, trials=30, seeds=5)


def _transfer_arguments(parser: argparse.ArgumentParser) -> None:
    known = transfer_experiment.LIBRARIES
    parser.add_argument(
        "--targets",
        type=_names,
        default=known,
        metavar="A,B",
        help="each in turn is the new library",
    )
    parser.add_argument(
        "--sources",
        type=_names,
        default=known,
        metavar="A,B",
        help="the others of these are trained on",
    )
    parser.add_argument(
        "--property", choices=PROPERTIES, default="OC", help="measured in all of them (default OC)"
    )
    parser.add_argument(
        "--repeats", type=whole_number(1, 100), default=5, help="draws of local samples (5)"
    )
    _method_arguments(parser, trials=10, seeds=1)


def _method_arguments(parser: argparse.ArgumentParser, trials: int, seeds: int) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="OUT", help="folder for results and figures"
    )
    parser.add_argument(
        "--methods",
        type=_names,
        default=(),
        metavar="A,B",
        help="methods to compare (default: all)",
    )
    parser.add_argument(
        "--recipe", type=Path, default=RECIPE, help="recipe of CCNVR (default: that of the study)"
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
        help="after which no trial is begun (240)",
    )
    parser.add_argument(
        "--folds", type=whole_number(2, 20), default=3, help="folds in which they are tried (3)"
    )
    parser.add_argument(
        "--seeds", type=whole_number(1, 100), default=seeds, help=f"repetitions ({seeds})"
    )


_OF_A_RUN = {
    "intervals": "coverage and width of a run's intervals, and of MC-dropout's",
    "domain": "what share of soils, wet soils and other materials a run's domain flags",
}


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def run(arguments: argparse.Namespace) -> int:
    """Carry out one experiment and print its tables."""
    torch.set_num_threads(1)
    try:
        return _EXPERIMENTS[arguments.experiment](arguments)
    except KeyboardInterrupt:
        raise CcnvrError("interrupted; the same command goes on where it was") from None


def _compare(arguments: argparse.Namespace) -> int:
    module = accuracy_experiment if arguments.experiment == "accuracy" else noise_experiment
    to = arguments.out / f"{arguments.experiment}-{arguments.data}.json"
    if arguments.choices is not None and is_same_file(to, arguments.choices):
        raise UsageError(
            f"the result would be written over {arguments.choices}, which --choices reads; give "
            "another --out"
        )
    recipe = experiment_inputs.comparable_recipe(arguments.recipe)
    if arguments.experiment == "noise" and recipe.pretraining:
        raise UsageError(
            f"{arguments.recipe} has [pretraining], whose soils would stay without noise; give "
            "another --recipe"
        )
    splits = official_splits(arguments.data, properties=arguments.properties)
    predicted = {library for split in splits for library in split.test.origin}
    chosen = experiment_inputs.earlier_choices(arguments.choices, splits[0].train.properties)
    with progress() as on_step:
        comparison = Comparison(
            library=arguments.data,
            splits=splits,
            contenders=contenders(arguments.methods, arguments.recipe, predicted),
            budget=_budget(arguments),
            seeds=arguments.seeds,
            ledger=experiment_inputs.ledger(arguments.out, recipe, arguments.recipe),
            chosen=chosen,
            on_step=on_step,
        )
        result = module.run(comparison, arguments.out)
    if arguments.experiment == "accuracy":
        print_table(result["table"])
        if len(result["by library"]) > 1:
            for library, table in result["by library"].items():
                print(f"\n{library}")
                print_table(table)
    else:
        print_losses(result)
    return write_result(result, to, drawn=True)


def _transfer(arguments: argparse.Namespace) -> int:
    for name in (*arguments.targets, *arguments.sources):
        libraries.check(name)
    recipe = experiment_inputs.comparable_recipe(arguments.recipe)
    if recipe.pretraining:
        raise UsageError(
            f"{arguments.recipe} has [pretraining], where --sources say what is learnt; give "
            "another --recipe"
        )
    with progress() as on_step:
        transfer = transfer_experiment.Transfer(
            targets=arguments.targets,
            sources=arguments.sources,
            contenders=contenders(arguments.methods, arguments.recipe),
            network=_network(arguments.recipe),
            budget=_budget(arguments),
            seeds=arguments.seeds,
            repeats=arguments.repeats,
            sizes=transfer_experiment.SIZES,
            ledger=experiment_inputs.ledger(arguments.out, recipe, arguments.recipe),
            prop=arguments.property,
            on_step=on_step,
        )
        result = transfer_experiment.run(transfer, arguments.out)
    for target, table in result["trained on the source alone"].items():
        print(f"\ntrained without {target}, all of which is predicted")
        print_table({method: {arguments.property: merit} for method, merit in table.items()})
    print("\nR2 with so many local samples")
    for target, curves in result["learning curves"].items():
        for method, by_size in curves.items():
            print(
                f"{target:<10}{method:<18}"
                + "".join(f"{size:>5}: {merit['r2']:6.3f}" for size, merit in by_size.items())
            )
    return write_result(result, arguments.out / "transfer.json", drawn=True)


def _search(arguments: argparse.Namespace) -> int:
    """As rivals are tuned, in a storage that several processes may share."""
    (split,) = official_splits("nirsoil")
    soils = split.train
    arguments.out.mkdir(parents=True, exist_ok=True)
    method = StackedNetwork(dict.fromkeys(soils.properties, "identity"))
    with progress() as on_step:
        tuned = tune(
            method,
            soils.grid,
            soils.spectra,
            soils.values,
            soil_of(soils),
            trials=arguments.trials,
            folds=arguments.folds,
            seed=1,
            storage=f"sqlite:///{arguments.out / 'tuning.db'}",
            on_trial=lambda done, best: on_step(
                f"trial {done}, best mean R2 {best or float('nan'):.3f}"
            ),
        )
    recipe = method.recipe(tuned.configuration, soils.grid)
    result = {
        "experiment": "search",
        "library": "nirsoil",
        **dataclasses.asdict(tuned),
        "recipe": dataclasses.asdict(recipe),
    }
    print(
        f"mean R2 in cross-validation {tuned.r2:.3f} after {tuned.trials} trials: "
        f"{tuned.configuration}"
    )
    return write_result(result, arguments.out / "search.json")


def _check(arguments: argparse.Namespace) -> int:
    """The study's single network from nothing, its teachers included."""
    network = _network(RECIPE)
    (split,) = official_splits("nirsoil")
    pause = 0.1 if sys.stderr.isatty() else 60.0
    with tqdm(
        total=network.recipe.all_epochs, unit="epoch", file=sys.stderr, mininterval=pause
    ) as bar:

        def on_epoch(loss: float) -> None:
            bar.update()

        predict = network.fit({}, split.train, arguments.seed, on_epoch)
    scores = zip(
        split.train.properties, split.test.values.T, predict(split.test.spectra).T, strict=True
    )
    print(
        json.dumps(
            {name: figures(measured, predicted[None])["r2"] for name, measured, predicted in scores}
        )
    )
    return 0


def _network(recipe: Path) -> Network:
    """CCNVR at its best."""
    network = contenders((BEST,), recipe)[BEST]
    if not isinstance(network, Network):
        raise TypeError(f"{BEST} is a {type(network).__name__}")
    return network


def _of_a_run(arguments: argparse.Namespace) -> int:
    study = {
        "intervals": (interval_study.coverage_table, interval_study.coverage_text),
        "domain": (domain_study.domain_table, domain_study.domain_text),
    }
    table, text = study[arguments.experiment]
    result = table(arguments.run)
    print(text(result))
    return write_result(result, arguments.out / f"{arguments.experiment}.json")


def _moisture(arguments: argparse.Namespace) -> int:
    with progress() as on_step:
        outcomes = moisture_study.run(on_step)
    print(moisture_study.table(outcomes))
    result = {method: dataclasses.asdict(outcome) for method, outcome in outcomes.items()}
    return write_result(result, arguments.out / "moisture.json")


def _scale(arguments: argparse.Namespace) -> int:
    torch.set_num_threads(arguments.threads)
    with progress() as on_step:
        result = scale_study.run(arguments.soils, arguments.bands, arguments.epochs, on_step)
    for name, value in result.items():
        print(f"{name:<22}{value}")
    return write_result(result, arguments.out / "scale.json")


def _budget(arguments: argparse.Namespace) -> Budget:
    return Budget(arguments.trials, arguments.folds, float(arguments.seconds))


_EXPERIMENTS: dict[str, Callable[[argparse.Namespace], int]] = {
    "accuracy": _compare,
    "noise": _compare,
    "transfer": _transfer,
    "search": _search,
    "check": _check,
    "intervals": _of_a_run,
    "domain": _of_a_run,
    "moisture": _moisture,
    "scale": _scale,
}
