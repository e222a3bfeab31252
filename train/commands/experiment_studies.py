"""The experiments that are studies beyond the paper, from their options to their printed tables."""

from __future__ import annotations

import argparse
import dataclasses

import torch

from ccnvr.train.calibration import splits
from ccnvr.train.commands.experiment_comparisons import budget_of
from ccnvr.train.experiments import inputs, search, single_network
from ccnvr.train.experiments.contenders import WORLD_RECIPE, WORLD_TERMS, contenders
from ccnvr.train.experiments.output import progress, write_result
from ccnvr.train.studies import domain, intervals, moisture, places, scale


def run_intervals(arguments: argparse.Namespace) -> int:
    """Measure the intervals of a run."""
    result = intervals.coverage_table(arguments.run)
    print(intervals.coverage_text(result))
    return write_result(result, arguments.out / "intervals.json")


def run_domain(arguments: argparse.Namespace) -> int:
    """Measure the domain of a run."""
    result = domain.domain_table(arguments.run)
    print(domain.domain_text(result))
    return write_result(result, arguments.out / "domain.json")


def run_moisture(arguments: argparse.Namespace) -> int:
    """Carry out the moisture study."""
    with progress() as on_step:
        outcomes = moisture.run(on_step)
    print(moisture.table(outcomes))
    result = {method: dataclasses.asdict(outcome) for method, outcome in outcomes.items()}
    return write_result(result, arguments.out / "moisture.json")


def run_scale(arguments: argparse.Namespace) -> int:
    """Measure memory and time of a large run."""
    # The only study whose result is a time, so that its user may choose.
    torch.set_num_threads(arguments.threads)
    with progress() as on_step:
        result = scale.run(arguments.soils, arguments.bands, arguments.epochs, on_step)
    for name, value in result.items():
        print(f"{name:<22}{value}")
    return write_result(result, arguments.out / "scale.json")


def run_places(arguments: argparse.Namespace) -> int:
    """Calibrate methods on the world, predict a country, and adapt with a few of its soils."""
    recipe_path = arguments.recipe or WORLD_RECIPE
    recipe = inputs.comparable_recipe(recipe_path)
    compared = contenders(arguments.methods, recipe_path, terms=WORLD_TERMS)
    # Those of the default need not be compared; a name that no method has is a mistake.
    contenders(arguments.local, recipe_path, terms=WORLD_TERMS)
    chosen = inputs.earlier_choices(arguments.choices, splits.WORLD_PROPERTIES)
    with progress() as on_step:
        experiment = places.Places(
            countries=arguments.countries,
            sizes=places.SIZES,
            contenders=compared,
            local=tuple(name for name in arguments.local if name in compared),
            network=(
                single_network.single_network(recipe_path, WORLD_TERMS)
                if arguments.finetune
                else None
            ),
            chosen=chosen,
            budget=budget_of(arguments),
            ledger=inputs.ledger(arguments.out, recipe, recipe_path),
            seed=arguments.seed,
            on_step=on_step,
        )
        result = places.run(experiment)
    print(places.table(result))
    return write_result(result, arguments.out / "places.json")


def run_search(arguments: argparse.Namespace) -> int:
    """Search CCNVR's own configuration."""
    with progress() as on_step:
        result = search.run(arguments.out, arguments.trials, arguments.folds, on_step)
    print(
        f"mean R2 in cross-validation {result['r2']:.3f} after {result['trials']} trials: "
        f"{result['configuration']}"
    )
    return write_result(result, arguments.out / "search.json")
