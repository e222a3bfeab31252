"""Predictions of each training soil by the network that was trained without its fold.

The networks of the cross-validation lie in the run's folder, so nothing is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array, Float32, Integers
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import folds
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network import scales
from ccnvr.train.network.ccnvr import CCNVR, network_outputs
from ccnvr.train.network.epochs import read_network
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs import folder as run_folder

PASSES = 50
"""The passes of MC-dropout (Gal & Ghahramani 2016, ICML, PMLR 48:1050-1059)."""


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Out-of-fold outputs `(n, targets)` in the standardised units of `targets`.

    Attributes:
        targets: the targets of the final network.
        fold_of: the fold of each soil.
        measured: the laboratory's values, NaN where not measured.
        outputs: the outputs of the network trained without the soil's fold.
        mean: the mean of `PASSES` passes through it with dropout.
        sd: their standard deviation.
    """

    targets: tuple[Target, ...]
    fold_of: Integers
    measured: Array
    outputs: Array
    mean: Array
    sd: Array


def out_of_fold(
    folder: Path,
    recipe: TrainingRecipe,
    soils: Soils,
    targets: tuple[Target, ...],
    correction: Correction | None = None,
) -> OutOfFold:
    """Predict each training soil of a run by the network that was trained without its fold.

    Raises:
        UsageError: a network is missing.
    """
    fold_of = folds.fold_of(soils, recipe.folds, recipe.fit.seed)
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), correction)
    inputs = preprocess.batch(soils.spectra)
    outputs, mean, sd = (np.empty_like(soils.values) for _ in range(3))
    for fold in range(recipe.folds):
        held_out = fold_of == fold
        # Made again as the training made them, from the fold's training soils alone.
        own_targets = scales.make_targets(recipe, soils.values[~held_out])
        network = _network(folder / f"fold-{fold}" / run_folder.CHECKPOINT.name, recipe)
        point, draws = with_dropout(network, inputs[held_out], seed=fold)
        # From the standardised units of this fold's network to the final network's: both are
        # linear in the transformed property.
        pairs = list(zip(own_targets, targets, strict=True))
        scale = np.array([own.sd / target.sd for own, target in pairs])
        shift = np.array([(own.mean - target.mean) / target.sd for own, target in pairs])
        outputs[held_out] = point * scale + shift
        mean[held_out] = draws.mean(axis=0) * scale + shift
        # A shift moves no deviation, so only the scale is applied.
        sd[held_out] = draws.std(axis=0, ddof=1) * scale
    measured = scales.standardise(targets, soils.values)
    return OutOfFold(targets, fold_of, measured, outputs, mean, sd)


def with_dropout(network: CCNVR, inputs: Float32, seed: int) -> tuple[Array, Array]:
    """Return a network's outputs `(n, targets)`, and those of passes with dropout.

    The passes are `(PASSES, n, targets)`. Dropout is in the head alone, so only the head is run
    again.
    """
    entering: list[Tensor] = []
    assert network.dense is not None  # networks of the folds have no members
    hook = network.dense.register_forward_pre_hook(
        lambda module, arguments: entering.append(arguments[0])
    )
    point = network_outputs(network, inputs)
    hook.remove()
    pooled = torch.cat(entering)
    with torch.inference_mode():
        # What the linear path adds, which has no dropout.
        linear = torch.from_numpy(point) - network.head(pooled)
        torch.manual_seed(seed)
        # Only these: in training mode a standardising layer would change its statistics.
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.train()
        draws = torch.stack([network.head(pooled) + linear for _ in range(PASSES)])
    return point.astype(np.float64), draws.double().numpy()


def _network(checkpoint: Path, recipe: TrainingRecipe) -> CCNVR:
    if not checkpoint.exists():
        raise UsageError(
            f"{checkpoint} is missing; run the same ccnvr train again, which makes what is missing"
        )
    return read_network(checkpoint, recipe)
