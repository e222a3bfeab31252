"""The memory and time of a training run as large as the LUCAS library, beside those of plain torch.

The soils are simulated.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.preprocess import Channel, Preprocessor
from ccnvr.edge.network.shape import Convolution, NetworkShape
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.network import scales
from ccnvr.train.network.ccnvr import CCNVR
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.rounds import Fit
from ccnvr.train.recipe.settings import Augmentation

# LUCAS 2009 has about 18,000 mineral soils and 4,200 bands, 400 to 2499.5 nm by 0.5 nm.
SOILS, BANDS = 18_000, 4_200
_COMPONENTS = 30
_PROPERTIES = ("OC", "N", "CEC", "pH", "clay")


def simulate(soils: int, bands: int, seed: int) -> tuple[Array, Array]:
    """Return absorbance `(soils, bands)` of overlapping Gaussian bands, and five properties.

    The properties are made of the heights of the bands.
    """
    rng = np.random.default_rng(seed)
    position = np.linspace(0.0, 1.0, bands)
    centres, widths = rng.uniform(size=(_COMPONENTS, 1)), rng.uniform(0.01, 0.2, (_COMPONENTS, 1))
    shapes = np.exp(-0.5 * ((position - centres) / widths) ** 2)
    # Positive and skewed, as the contents of soils are.
    amounts = rng.gamma(2.0, 0.05, (soils, _COMPONENTS))
    spectra = rng.normal(0.3, 5e-4, (soils, bands))
    spectra += amounts @ shapes
    values = 10.0 * np.exp(amounts @ rng.normal(0.0, 2.0, (_COMPONENTS, len(_PROPERTIES))))
    return spectra, values


def recipe_for(bands: int, epochs: int) -> TrainingRecipe:
    """Return a recipe of the study's network on LUCAS's bands, from 400 nm by 0.5 nm."""
    return TrainingRecipe(
        name="scale",
        libraries=("simulated",),
        tests=(),
        folds=2,
        grid=Grid(400.0, 0.5, bands),
        channels=(Channel(), Channel(61, 2, 1), Channel(81, 3, 2), Channel(snv=False)),
        network=NetworkShape(
            convolutions=(Convolution(48, 11, 16), Convolution(96, 7, 8)), cell="lstm", dropout=0.3
        ),
        fit=Fit(
            epochs=epochs,
            batch_size=32,
            augmentation=Augmentation(slope=0.1, noise=3e-4, input_shift=0.1),
        ),
        transforms=dict.fromkeys(_PROPERTIES, "log1p"),
    )


def run(soils: int, bands: int, epochs: int, on_step: Callable[[str], None]) -> dict[str, Any]:
    """Time epochs of `fit` and of plain torch in turn.

    Plain torch gets the same network, optimiser and batches. Its inputs are prepared beforehand and
    never varied.

    Returns:
        The seconds of the median epoch of each, and the peak memory of `fit` in MB.
    """
    recipe = recipe_for(bands, epochs)
    on_step(f"simulating {soils} soils of {bands} bands")
    spectra, values = simulate(soils, bands, seed=1)
    ours: list[float] = []
    theirs: list[float] = []
    # Made after our first epoch, so that the peak of memory is ours alone.
    plain: list[_PlainTorch] = []
    peak = 0.0
    started = time.perf_counter()

    def on_epoch(loss: float) -> None:
        nonlocal peak, started
        ours.append(time.perf_counter() - started)
        # The peak is read before plain torch takes memory of its own.
        peak = peak or _peak_mb()
        if not plain:
            plain.append(_PlainTorch(recipe, spectra, values))
        on_step(f"epoch {len(ours)}: {ours[-1]:.0f} s; now plain torch")
        started = time.perf_counter()
        plain[0].epoch()
        theirs.append(time.perf_counter() - started)
        on_step(f"epoch {len(theirs)} of plain torch: {theirs[-1]:.0f} s")
        started = time.perf_counter()

    fitting.fit(Fitting(recipe, 1, on_epoch=on_epoch), spectra, values)
    # The first epoch includes the preparation of the inputs, which a run pays for once.
    later = slice(1, None) if epochs > 1 else slice(None)
    return {
        "experiment": "scale",
        "soils": f"{soils} simulated",
        "bands": bands,
        "threads": torch.get_num_threads(),
        "peak_mb": round(peak),
        "first_epoch_s": round(ours[0], 1),
        "epoch_s": round(float(np.median(ours[later])), 1),
        "plain_torch_epoch_s": round(float(np.median(theirs[later])), 1),
        "ratio": round(float(np.median(np.array(ours[later]) / np.array(theirs[later]))), 3),
    }


def _peak_mb() -> float:
    """Return the peak memory of this process in MB; the system counts in bytes or in kB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


class _PlainTorch:
    """A training loop as one would write it without this package."""

    def __init__(self, recipe: TrainingRecipe, spectra: Array, values: Array) -> None:
        preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths())
        # In blocks, so that no second copy of all spectra is held in float64.
        blocks = [
            preprocess.batch(block)
            for block in np.array_split(spectra, max(1, len(spectra) // 500))
        ]
        self._inputs: Tensor = torch.from_numpy(np.concatenate(blocks))
        standardised = scales.standardise(scales.make_targets(recipe, values), values)
        self._answers = torch.tensor(standardised, dtype=torch.float32)
        self._network = CCNVR(recipe.network_config()).train()
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(), recipe.fit.learning_rate, fused=True
        )
        self._batch = recipe.fit.batch_size

    def epoch(self) -> None:
        for rows in torch.split(torch.randperm(len(self._inputs)), self._batch):
            loss = torch.nn.functional.mse_loss(
                self._network(self._inputs[rows]), self._answers[rows]
            )
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
            self._optimizer.step()
