"""The paper's third experiment: a model of some libraries on another, as it is and adapted.

Each library is the target in turn and the others are the source. A table compares all methods
trained on the source alone. Learning curves show R2 by the number of local samples, for CCNVR
pretrained on the source, with nothing, its head or all of its layers adapted to these samples, and
for PLSR calibrated on these samples alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import finetuning
from ccnvr.train.calibration.splits import split
from ccnvr.train.experiments import figures
from ccnvr.train.experiments.comparison import Comparison, within_reach
from ccnvr.train.experiments.ledger import Ledger
from ccnvr.train.experiments.single_network import Pretrained
from ccnvr.train.experiments.statistics import figures as merits
from ccnvr.train.experiments.statistics import paired_p_value
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.soils import Soils, Split
from ccnvr.train.rivals.contender import Contender, Network, PredictAll, Rival
from ccnvr.train.rivals.scikit import METHODS
from ccnvr.train.rivals.tuning import Budget

LIBRARIES = ("nirsoil", "CV.98", "SC.93", "SL.125", "SSP.460", "UL.120")
# Within the 10 to 100 soils that fine-tuning is for (decision 0046).
SIZES = (10, 20, 30, 50)
LOCAL_TRIALS = 20
ADAPTED = {"CCNVR as it is": "", "CCNVR head": "head", "CCNVR all layers": "all"}
LOCAL = "PLSR local"


@dataclass(frozen=True)
class Transfer:
    """A transfer experiment.

    Attributes:
        targets: the libraries that are the target in turn.
        sources: the libraries to train on; the target is left out.
        contenders: the methods that are trained on the source, by name.
        network: the CCNVR that is adapted.
        budget: the budget of each rival's choice.
        seeds: the repetitions of training on the source.
        repeats: the draws of local samples.
        sizes: the numbers of local samples.
        ledger: where choices and predictions are kept.
        prop: the property.
        of_world: whether ICRAF is among them, which lacks bands of the others.
        on_step: called with a description of the next computation.
    """

    targets: tuple[str, ...]
    sources: tuple[str, ...]
    contenders: dict[str, Contender]
    network: Network
    budget: Budget
    seeds: int
    repeats: int
    sizes: tuple[int, ...]
    ledger: Ledger
    prop: str = "OC"
    of_world: bool = False
    on_step: Callable[[str], None] = lambda what: None

    def load(self, name: str) -> Soils:
        """Return a library on the wavelengths that all of them share."""
        grid = libraries.WITH_WORLD if self.of_world else libraries.NEAR_INFRARED
        return libraries.load_library(name, grid)


def run(transfer: Transfer, folder: Path) -> dict[str, Any]:
    """Return the tables of each target; the learning curves are drawn as `transfer.svg`.

    Raises:
        UsageError: a target is left without another library to train on, or a library has no value
            of the property.
    """
    # All libraries at first, because training on one takes long.
    _check(transfer)
    across, curves = {}, {}
    for target in transfer.targets:
        parted = _split(transfer, target)
        pretrained = Pretrained(transfer.network, parted.train)
        across[target] = _source_alone(transfer, target, parted, pretrained)
        curves[target] = _learning_curves(transfer, target, parted, pretrained)
    panels = {
        target: {
            method: ([float(size) for size in by_size], [merit["r2"] for merit in by_size.values()])
            for method, by_size in curve.items()
        }
        for target, curve in curves.items()
    }
    figures.curves(
        folder / "transfer.svg", panels, "local samples", f"R² of {transfer.prop}", (-0.5, 1.0)
    )
    return {
        "experiment": "transfer",
        "property": transfer.prop,
        "sources": list(transfer.sources),
        "seeds": transfer.seeds,
        "repeats": transfer.repeats,
        "budget": vars(transfer.budget),
        "trained on the source alone": across,
        "learning curves": curves,
    }


def _sources(transfer: Transfer, target: str) -> tuple[str, ...]:
    return tuple(name for name in dict.fromkeys(transfer.sources) if name != target)


def _check(transfer: Transfer) -> None:
    """Check that each target, and what is left to train on, has a value of the property.

    Each library is read once.
    """
    for target in transfer.targets:
        if not _sources(transfer, target):
            raise UsageError(
                f"the sources hold no library but the target {target}; name others with --sources"
            )
    every = dict.fromkeys((*transfer.targets, *transfer.sources))
    measured = {
        name: not np.isnan(transfer.load(name).column(transfer.prop)).all() for name in every
    }
    for target in transfer.targets:
        for names in ((target,), _sources(transfer, target)):
            if not any(measured[name] for name in names):
                raise UsageError(
                    f"{', '.join(names)} has no {transfer.prop}; name another --property, or "
                    "other libraries"
                )


def _split(transfer: Transfer, target: str) -> Split:
    """Return the split into the soils of the sources to train on and those of the target."""
    loaded = [transfer.load(name) for name in (*_sources(transfer, target), target)]
    of_target = np.repeat([False, True], [sum(map(len, loaded[:-1])), len(loaded[-1])])
    soils = libraries.join(loaded)
    rows = np.flatnonzero(~np.isnan(soils.column(transfer.prop)))
    return split(f"to {target}", soils.rows(rows), of_target[rows], (transfer.prop,))


def _source_alone(
    transfer: Transfer, target: str, parted: Split, pretrained: Pretrained
) -> dict[str, Any]:
    """Return {method: figures} on all of the target's soils."""
    contenders = {
        name: pretrained if name == pretrained.name else contender
        for name, contender in transfer.contenders.items()
    }
    comparison = Comparison(
        library=f"all but {target}",
        splits=[parted],
        contenders=contenders,
        budget=transfer.budget,
        seeds=transfer.seeds,
        ledger=transfer.ledger,
        chosen={},
        on_step=transfer.on_step,
    )
    predicted = {
        name: comparison.predictions(contender)[""] for name, contender in contenders.items()
    }
    return {method: found[transfer.prop] for method, found in comparison.table(predicted).items()}


def _learning_curves(
    transfer: Transfer, target: str, parted: Split, pretrained: Pretrained
) -> dict[str, dict[str, Any]]:
    """Return {method: {number of local samples: figures}} on the soils that were not drawn."""
    curves: dict[str, dict[str, Any]] = {}
    # At least half of a library is left to predict.
    for size in (size for size in transfer.sizes if size <= len(parted.test.values) // 2):
        rounds = [
            _round(transfer, target, parted, size, repeat, pretrained)
            for repeat in range(transfer.repeats)
        ]
        for method in (LOCAL, *ADAPTED):
            scores = [merits(measured, predicted[method][None]) for measured, predicted in rounds]
            merit: dict[str, Any] = {
                name: _mean(scores, name) for name in ("r2", "rmse", "mae", "bias", "rpiq", "rpd")
            }
            merit["r2_repeats"] = [score["r2"] for score in scores]
            if method != LOCAL:
                p_values = [
                    paired_p_value(measured, found[method][None], found[LOCAL][None])
                    for measured, found in rounds
                ]
                merit["p_value_median"] = round(float(np.median(p_values)), 4)
            curves.setdefault(method, {})[str(size)] = merit
    return curves


def _mean(scores: list[dict[str, Any]], name: str) -> float:
    return round(float(np.mean([score[name] for score in scores])), 4)


def _round(
    transfer: Transfer, target: str, parted: Split, size: int, repeat: int, pretrained: Pretrained
) -> tuple[Array, dict[str, Array]]:
    """Return the values of the soils that were not drawn, and each method's predictions of them."""
    drawn = np.zeros(len(parted.test.values), dtype=bool)
    # The same draw for every method, and another for each size and repeat.
    drawn[np.random.default_rng((size, repeat)).choice(len(drawn), size, replace=False)] = True
    # Each sample that was drawn counts as a soil of its own in the choice of a rival.
    local = replace(parted.test.rows(drawn), groups=np.arange(size))

    def compute() -> dict[str, list[float]]:
        transfer.on_step(f"{size} samples of {target}, draw {repeat}")
        rest = parted.test.spectra[~drawn]
        answers = {LOCAL: _local(local)(rest)}
        for name, layers in ADAPTED.items():
            answers[name] = pretrained.adapted(local, layers, repeat)(rest)
        return {name: np.round(values[:, 0], 6).tolist() for name, values in answers.items()}

    # The settings of fine-tuning are part of the key: other settings are computed again.
    how = {**finetuning.FINETUNING, **vars(finetuning.FINETUNING_KERNEL)}
    key = (
        f"adapted | {how} | {target} | {transfer.sources} | {transfer.prop} | "
        f"{transfer.network.name} | {size} | {repeat}"
    )
    found = transfer.ledger.get(key, compute)
    # Each method's reach is the range of the soils that it was given.
    reach = {LOCAL: local.values, "CCNVR as it is": parted.train.values}
    both = np.concatenate([parted.train.values, local.values])
    predicted = {
        name: within_reach(np.array(values)[:, None], reach.get(name, both))[:, 0]
        for name, values in found.items()
    }
    return parted.test.values[~drawn, 0], predicted


def _local(local: Soils) -> PredictAll:
    """Fit PLSR to local samples, with its configuration chosen by cross-validation in them."""
    plsr = Rival(METHODS["PLSR"])
    choice = plsr.choose(local, Budget(LOCAL_TRIALS, folds=5))
    return plsr.fit(choice, local, seed=0)
