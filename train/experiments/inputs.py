"""The inputs of an experiment: CCNVR's recipe, the folder's ledger, and earlier choices."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ccnvr.edge.typed import build, to_data
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.experiments.ledger import FILE, Ledger
from ccnvr.train.libraries.own.files import ENDINGS
from ccnvr.train.recipe import recipe_file as recipes
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.rivals.scikit import METHODS


def comparable_recipe(path: Path) -> TrainingRecipe:
    """Read CCNVR's recipe for a comparison with rivals.

    Raises:
        UsageError: the recipe would give CCNVR other spectra than its rivals get.
    """
    recipe = recipes.load(path)
    for table, change in (("instrument", recipe.sensor), ("epo", recipe.epo)):
        if change is not None:
            raise UsageError(
                f"{path} has [{table}], which would change CCNVR's spectra and no rival's; give "
                "another --recipe"
            )
    return recipe


def ledger(folder: Path, recipe: TrainingRecipe, path: Path) -> Ledger:
    """Open the ledger of a folder, which holds the results of one recipe only.

    Args:
        folder: the folder.
        recipe: the recipe of the experiment.
        path: the file of the recipe, for messages.

    Raises:
        UsageError: the ledger holds results of another recipe, or of other files of soils in the
            recipe's pretraining.
    """
    found = Ledger(folder)
    # Built from its JSON, so that the defaults of newer recipe fields do not make it another one.
    try:
        kept = build(TrainingRecipe, found.get("recipe", lambda: to_data(recipe)))
    except ValueError:
        kept = None
    if kept != recipe:
        raise UsageError(
            f"{folder} holds results of another recipe than {path}; give another --out"
        )
    files = _files_learnt_first(recipe)
    if files and found.get("files", lambda: files) != files:
        raise UsageError(
            f"{folder} holds results of other soils in [pretraining]'s files; give another --out"
        )
    return found


def take_over_rivals(into: Ledger, beside: Path | None) -> None:
    """Use the choices and predictions of rivals in another folder; they need no recipe of CCNVR.

    Raises:
        UsageError: the folder holds no ledger.
    """
    if beside is None:
        return
    if not (beside / FILE).exists():
        raise UsageError(f"{beside} holds no {FILE}; give the --out of an earlier experiment")

    def of_rival(key: str) -> bool:
        # Such as "predicted | icraf | profiles=1/5/0 | PLSR | ...".
        parts = key.split(" | ")
        return len(parts) > 3 and parts[3] in METHODS

    into.take_over(Ledger(beside), of_rival)


def _files_learnt_first(recipe: TrainingRecipe) -> dict[str, str]:
    """Return the sha256 of each file of soils that the network is pretrained on."""
    digests = {}
    for name in recipe.pretraining.libraries if recipe.pretraining else ():
        if name.endswith(ENDINGS):
            try:
                with Path(name).open("rb") as stream:
                    digests[name] = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                raise UsageError(
                    f"{name} cannot be read ({error.strerror}); correct [pretraining] in the recipe"
                ) from error
    return digests


def earlier_choices(path: Path | None, properties: tuple[str, ...]) -> dict[str, Any]:
    """Read the choices of rivals, by property, in the first split of an earlier experiment.

    Args:
        path: the result of `ccnvr experiment accuracy`; None gives no choices.
        properties: the properties that need a choice.

    Raises:
        UsageError: the file is not such a result, or lacks one of the properties.
    """
    if path is None:
        return {}
    try:
        choices = json.loads(path.read_text())["choices"]
        # Of the first split: an experiment takes one configuration for each property.
        chosen = {
            name: dict(next(iter(choices[name].values()))) for name in METHODS if name in choices
        }
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise UsageError(
            f"{path} is not a result of ccnvr experiment accuracy "
            f"({type(error).__name__}: {error}); give one that is"
        ) from error
    # Before anything is computed: a missing choice would end the experiment after hours.
    for method, choice in chosen.items():
        if unknown := [name for name in properties if name not in choice]:
            raise UsageError(
                f"{path} has no choice of {method}'s for {unknown[0]}, only for "
                f"{', '.join(choice)}; name these with --properties"
            )
    return chosen
