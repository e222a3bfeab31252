"""The experiments that compare methods, from their options to their printed tables."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ccnvr.edge.atomic_files import is_same_file
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import splits
from ccnvr.train.experiments import accuracy, inputs, noise, single_network, transfer
from ccnvr.train.experiments.comparison import REFERENCE, Comparison
from ccnvr.train.experiments.contenders import (
    NO_TERMS,
    RECIPE,
    WORLD_RECIPE,
    WORLD_TERMS,
    Terms,
    contenders,
)
from ccnvr.train.experiments.output import (
    print_accuracy,
    print_losses,
    print_transfer,
    progress,
    write_result,
)
from ccnvr.train.libraries.catalogue import library_and_part
from ccnvr.train.libraries.load import WITH_WORLD, check
from ccnvr.train.rivals.tuning import Budget


def run_accuracy(arguments: argparse.Namespace) -> int:
    """Compare the accuracy of methods on one library."""
    result, path = _compare(arguments, accuracy.run)
    print_accuracy(result)
    return write_result(result, path, drawn=True)


def run_noise(arguments: argparse.Namespace) -> int:
    """Compare what noise costs methods on one library."""
    result, path = _compare(arguments, noise.run)
    print_losses(result)
    return write_result(result, path, drawn=True)


def run_transfer(arguments: argparse.Namespace) -> int:
    """Compare methods trained on other libraries, and adapt CCNVR with local samples."""
    # Names are checked before anything is read or fitted, which takes hours.
    for name in (*arguments.targets, *arguments.sources):
        check(name)
    recipe_path = arguments.recipe or RECIPE
    recipe = inputs.comparable_recipe(recipe_path)
    if recipe.pretraining:
        raise UsageError(
            f"{recipe_path} has [pretraining], but --sources say what is trained on; give "
            "another --recipe"
        )
    of_world = any(
        library_and_part(name)[0] == splits.ICRAF
        for name in (*arguments.targets, *arguments.sources)
    )
    terms = Terms(grid=WITH_WORLD, stacked=True) if of_world else NO_TERMS
    with progress() as on_step:
        experiment = transfer.Transfer(
            targets=arguments.targets,
            sources=arguments.sources,
            contenders=contenders(arguments.methods, recipe_path, terms=terms),
            network=single_network.single_network(recipe_path, terms),
            budget=budget_of(arguments),
            seeds=arguments.seeds,
            repeats=arguments.repeats,
            sizes=transfer.SIZES,
            ledger=inputs.ledger(arguments.out, recipe, recipe_path),
            prop=arguments.property,
            of_world=of_world,
            on_step=on_step,
        )
        result = transfer.run(experiment, arguments.out)
    print_transfer(result)
    return write_result(result, arguments.out / "transfer.json", drawn=True)


def run_check(arguments: argparse.Namespace) -> int:
    """Train the study's single network from nothing, its teachers included, and print its R2."""
    network = single_network.single_network(RECIPE)
    # In a log file, a line a minute.
    pause = 0.1 if sys.stderr.isatty() else 60.0
    epochs = network.recipe.all_epochs
    with tqdm(total=epochs, unit="epoch", file=sys.stderr, mininterval=pause) as bar:

        def on_epoch(loss: float) -> None:
            bar.update()

        scores = single_network.run(network, arguments.seed, on_epoch)
    print(json.dumps(scores))
    return 0


def _compare(
    arguments: argparse.Namespace, run: Callable[[Comparison, Path], dict[str, Any]]
) -> tuple[dict[str, Any], Path]:
    """Return the result of a comparison on one library, and the file that it belongs in."""
    library = arguments.data
    path = arguments.out / f"{arguments.experiment}-{library.replace(':', '-')}.json"
    if arguments.choices is not None and is_same_file(path, arguments.choices):
        raise UsageError(
            f"the result would be written over {arguments.choices}, which --choices reads; give "
            "another --out"
        )
    of_world = library in splits.WORLD
    recipe_path = arguments.recipe or (WORLD_RECIPE if of_world else RECIPE)
    recipe = inputs.comparable_recipe(recipe_path)
    if arguments.experiment == "noise" and recipe.pretraining:
        raise UsageError(
            f"{recipe_path} has [pretraining], whose soils would stay without noise; give "
            "another --recipe"
        )
    first, *repeated = splits.splits_of(library, arguments.properties, arguments.seeds)
    first, repeated = first[: arguments.splits], [others[: arguments.splits] for others in repeated]
    predicted = {origin for split in first for origin in split.test.origin}
    chosen = inputs.earlier_choices(arguments.choices, first[0].train.properties)
    terms = WORLD_TERMS if of_world else NO_TERMS
    compared = contenders(arguments.methods, recipe_path, predicted, terms)
    # Without CCNVR among the methods nothing is tested, unless a method is named for it.
    if arguments.against != REFERENCE and arguments.against not in compared:
        raise UsageError(
            f"--against {arguments.against!r} is not among the methods compared, "
            f"{', '.join(compared)}; name one of them"
        )
    ledger = inputs.ledger(arguments.out, recipe, recipe_path)
    inputs.take_over_rivals(ledger, arguments.beside)
    with progress() as on_step:
        comparison = Comparison(
            library=library,
            splits=first,
            repeated=tuple(repeated),
            contenders=compared,
            budget=budget_of(arguments),
            seeds=arguments.seeds,
            ledger=ledger,
            chosen=chosen,
            choose_once=of_world,
            scales=terms.scales,
            reference=arguments.against,
            on_step=on_step,
        )
        return run(comparison, arguments.out), path


def budget_of(arguments: argparse.Namespace) -> Budget:
    """Return the budget that the options give each method."""
    return Budget(arguments.trials, arguments.folds, float(arguments.seconds))
