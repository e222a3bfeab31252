"""Score the predictions of exported bundles on ICRAF-ISRIC, beside those of other methods.

    python -m tools.icraf_bundles --seeds 3
    python -m tools.icraf_bundles --data icraf:countries

For each fold of `ccnvr experiment accuracy --data icraf`, it trains the recipe without the fold's
places, exports the run through the parity gate, opens the bundle as a user would, and predicts the
soils of the fold. The folder of `--beside`, made by that command, has the predictions of the
methods that `--methods` names; with `--seeds 1`, each is tested against the bundles on the same
soils.

Cross-validation inside a fold makes intervals alone, so it has two folds instead of five.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ccnvr.edge import load_bundle
from ccnvr.export.exporting import export_run
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.calibration import splits
from ccnvr.train.experiments import accuracy, inputs
from ccnvr.train.experiments.comparison import Comparison
from ccnvr.train.experiments.contenders import WORLD_RECIPE, WORLD_TERMS, contenders
from ccnvr.train.experiments.output import print_accuracy, progress, write_result
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.rivals.contender import Choice, Contender, PredictAll
from ccnvr.train.rivals.tuning import Budget
from ccnvr.train.runs.run import train

NAME = "bundle"


@dataclass(frozen=True)
class ExportedBundle:
    """A recipe as a contender that answers through the bundle that was exported of it.

    Attributes:
        recipe: the training recipe.
        folder: where runs and bundles are kept.
        parts: the part of ICRAF that is held out, by the soils that are trained on.
    """

    recipe: TrainingRecipe
    folder: Path
    parts: dict[tuple[str, ...], str]

    @property
    def name(self) -> str:
        """The name in tables."""
        return NAME

    def choose(self, soils: Soils, budget: Budget) -> Choice:
        """Return an empty choice, because the recipe leaves nothing to choose."""
        return {}

    def fit(self, choice: Choice, soils: Soils, seed: int) -> PredictAll:
        """Train and export without the soils that are held out, and open the bundle."""
        part = self.parts[tuple(soils.sample_ids)]
        stem = f"{part.replace('/', '-')} {seed}"
        recipe = replace(
            self.recipe,
            libraries=(f"{splits.ICRAF}:{part.replace('=', '!=')}",),
            tests=(f"{splits.ICRAF}:{part}",),
            fit=replace(self.recipe.fit, seed=seed + 1),
        )
        run, path = self.folder / "runs" / stem, self.folder / f"{stem}.ccnvr"
        train(recipe, run)
        export_run(run, path, profiles=("fp32",))
        predict = load_bundle(path).bind(soils.grid.wavelengths())

        def predict_all(spectra: Array) -> Array:
            answers = [predict(spectrum) for spectrum in spectra]
            return np.array(
                [[answer[name].value for name in soils.properties] for answer in answers]
            )

        return predict_all


def main() -> None:
    """Compute what the ledger of the folder lacks, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", choices=(splits.ICRAF, splits.BY_COUNTRY), default=splits.ICRAF)
    parser.add_argument("--recipe", type=Path, default=WORLD_RECIPE)
    parser.add_argument("--seeds", type=int, default=1, help="repetitions, each with its folds (1)")
    parser.add_argument("--splits", type=int, help="the first N folds alone")
    parser.add_argument("--methods", default="", help="methods of --beside to compare with")
    parser.add_argument("--beside", type=Path, help="--out of ccnvr experiment accuracy")
    parser.add_argument("--trials", type=int, default=10, help="their budget (10)")
    parser.add_argument("--seconds", type=float, default=150.0, help="their budget (150)")
    parser.add_argument("--out", type=Path, default=Path("runs/icraf-bundles"))
    arguments = parser.parse_args()
    repetitions = [
        part[: arguments.splits] for part in splits.splits_of(arguments.data, (), arguments.seeds)
    ]
    recipe = recipe_file.load(arguments.recipe)
    assert recipe.members is not None
    recipe = replace(recipe, folds=2, members=replace(recipe.members, repeats=1))
    parts = {
        tuple(split.train.sample_ids): split.name for splits in repetitions for split in splits
    }
    compared: dict[str, Contender] = {NAME: ExportedBundle(recipe, arguments.out, parts)}
    if arguments.methods:
        names = tuple(arguments.methods.split(","))
        compared |= contenders(names, arguments.recipe, terms=WORLD_TERMS)
    ledger = inputs.ledger(arguments.out, recipe, arguments.recipe)
    inputs.take_over_rivals(ledger, arguments.beside)
    with progress() as on_step:
        comparison = Comparison(
            library=arguments.data,
            splits=repetitions[0],
            repeated=tuple(repetitions[1:]),
            contenders=compared,
            budget=Budget(arguments.trials, 3, arguments.seconds),
            seeds=arguments.seeds,
            ledger=ledger,
            chosen={},
            choose_once=True,
            scales=splits.WORLD_SCALES,
            reference=NAME,
            on_step=on_step,
        )
        result = accuracy.run(comparison, arguments.out)
    print_accuracy(result)
    stem = arguments.data.replace(":", "-")
    write_result(result, arguments.out / f"accuracy-{stem}.json", drawn=True)


if __name__ == "__main__":
    main()
