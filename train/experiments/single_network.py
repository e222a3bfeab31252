"""The accuracy of the study's single network on the test part of nirsoil, trained from nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ccnvr.train.experiments.comparison import official_splits
from ccnvr.train.experiments.contenders import BEST, Network, contenders
from ccnvr.train.experiments.statistics import figures


def single_network(recipe: Path) -> Network:
    """Return the contender that is one network, taught as the recipe says."""
    network = contenders((BEST,), recipe)[BEST]
    if not isinstance(network, Network):
        raise TypeError(f"{BEST} is a {type(network).__name__}")
    return network


def run(network: Network, seed: int, on_epoch: Callable[[float], None]) -> dict[str, float]:
    """Train the network and its teachers, and return R2 by property.

    `on_epoch` is called with the loss after each epoch of every network,
    `network.recipe.all_epochs` times in all.
    """
    (split,) = official_splits("nirsoil")
    predict = network.fit({}, split.train, seed, on_epoch)
    predicted = predict(split.test.spectra)
    scores = zip(split.train.properties, split.test.values.T, predicted.T, strict=True)
    return {name: figures(measured, column[None])["r2"] for name, measured, column in scores}
