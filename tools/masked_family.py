"""Compare one model with masked bands with a model for each range: `python -m tools.masked_family`.

Soils are those of ICRAF-ISRIC; a fifth of the profiles is held out. In the one model, the inputs of
each range stand at their places among those of the whole range, and bands that an instrument lacks
are 0, with a channel that says which are present. It learns every soil in each of the ranges.
"""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np
import torch

from ccnvr.edge.chemometrics.metrics import accuracy
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.network.shape import Convolution, NetworkConfig
from ccnvr.firmware_bridge.arrays import Array, Float32, Integers
from ccnvr.train.calibration.folds import soil_of
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.members.members import fit_members
from ccnvr.train.members.soils import MemberSoils
from ccnvr.train.network.ccnvr import CCNVR, network_outputs
from ccnvr.train.network.scales import make_targets, standardise
from ccnvr.train.recipe.settings import MemberSettings
from tools.family import recipe_of

RANGES = ("asd", "nir1700", "vis", "nirone25")
WHOLE = "asd"
TRAIN, TEST = "icraf:profiles!=1/5", "icraf:profiles=1/5"
SOILS = 600
EPOCHS, BATCH = 40, 64


def inputs_of(name: str, part: str) -> tuple[Float32, Float32, Array, Integers]:
    """Return the inputs of a range alone and among the whole range, values and soils of a part."""
    recipe = dataclasses.replace(recipe_of(name), sensor=None)
    soils = load_soils((part,), recipe)
    grid = recipe.grid
    alone = Preprocessor(recipe.preprocessing, grid.wavelengths()).batch(soils.spectra)
    whole = recipe_of(WHOLE).grid.wavelengths()
    at = np.searchsorted(whole, grid.wavelengths())
    masked = np.zeros((len(soils), alone.shape[1] + 1, whole.size), np.float32)
    masked[:, :-1, at] = alone
    masked[:, -1, at] = 1.0
    return alone, masked, soils.values, soil_of(soils)


def process(inputs: Float32, values: Array, groups: Integers, test: Float32, soils: int) -> Array:
    """Return a process's standardised predictions `(n, targets)` of `test`."""
    flat = inputs.reshape(len(inputs), -1).astype(np.float64)
    # Without spread, the channel of the mask would be a constant of a single range.
    bands = np.arange(inputs.shape[2], dtype=np.float64)
    first = np.ones(len(flat), dtype=bool)
    learnt = MemberSoils(flat, values, groups, inputs.shape[1], bands, first)
    return fit_members(MemberSettings(("matern",), most_soils=soils), learnt).outputs(test)[
        "matern"
    ]


def network(inputs: Float32, values: Array, test: Float32, epochs: int) -> Array:
    """Return a network's standardised predictions `(n, targets)` of `test`."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    small = inputs.shape[2] < 80
    convolutions = (Convolution(48, 11, 2 if small else 4), Convolution(96, 7, 2 if small else 4))
    config = NetworkConfig(
        in_channels=inputs.shape[1], bands=inputs.shape[2], outputs=values.shape[1],
        convolutions=convolutions, cell="lstm", hidden=64, dense=64, dropout=0.2, linear=True,
    )  # fmt: skip
    model = CCNVR(config)
    steps = epochs * (len(inputs) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    for _ in range(steps):
        rows = rng.integers(len(inputs), size=BATCH)
        wanted = torch.from_numpy(values[rows].astype(np.float32))
        known = ~torch.isnan(wanted)
        error = model(torch.from_numpy(inputs[rows])) - torch.nan_to_num(wanted)
        loss = (error[known] ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    model.eval()
    return network_outputs(model, test).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", action="store_true", help="compare networks too")
    networks = parser.parse_args().networks
    torch.set_num_threads(1)
    learnt = [inputs_of(name, TRAIN) for name in RANGES]
    tests = [inputs_of(name, TEST) for name in RANGES]
    recipe = recipe_of(WHOLE)
    targets = make_targets(recipe, learnt[0][2])
    values, measured = standardise(targets, learnt[0][2]), standardise(targets, tests[0][2])
    groups = learnt[0][3]
    together = np.concatenate([masked for _, masked, _, _ in learnt])
    of_all = np.concatenate([values] * len(RANGES)), np.concatenate([groups] * len(RANGES))

    def show(name: str, how: str, predicted: Array) -> None:
        r2 = [accuracy(*pair).r2 or 0.0 for pair in zip(measured.T, predicted.T, strict=True)]
        cells = "".join(f"{value:>7.3f}" for value in (*r2, float(np.mean(r2))))
        print(f"{name:<10}{how:<34}{cells}", flush=True)

    print(f"{'range':<44}" + "".join(f"{name:>7}" for name in (*recipe.properties, "mean")))
    all_tests = np.concatenate([masked for _, masked, _, _ in tests])
    for soils in (SOILS, SOILS * len(RANGES)):
        found = np.split(process(together, *of_all, all_tests, soils), len(RANGES))
        for name, predicted in zip(RANGES, found, strict=True):
            show(name, f"one process, {soils} soils", predicted)
    if networks:
        # As many steps as all the networks of one range together.
        found = np.split(network(together, of_all[0], all_tests, EPOCHS), len(RANGES))
        for name, predicted in zip(RANGES, found, strict=True):
            show(name, "one network", predicted)
    for name, (alone, _, _, _), (test, _, _, _) in zip(RANGES, learnt, tests, strict=True):
        show(name, f"own process, {SOILS} soils", process(alone, values, groups, test, SOILS))
        if networks:
            show(name, "own network", network(alone, values, test, EPOCHS))


if __name__ == "__main__":
    main()
