"""Seconds an epoch and peak memory of a training beside a plain torch loop.

`python -m benchmarks.training` takes the soils and the network of a recipe, by default ICRAF's, and
trains it twice: by `ccnvr.train`, with its augmentation, and by the loop that a user
would write with `DataLoader`, without them. Each runs in a process of its own, in turns.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ccnvr.edge.network.shape import NetworkConfig
from ccnvr.train.calibration.fit import varied_inputs
from ccnvr.train.network.ccnvr import CCNVR
from ccnvr.train.network.epochs import train
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.network.lesson import Lesson
from ccnvr.train.network.scales import make_targets, standardise
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs.run_data import load_data

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "train" / "recipes" / "icraf_recipe.toml"


class PlainNetwork(nn.Module):
    """The layers of a recipe's network in torch's own modules."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels, layers = config.in_channels, list[nn.Module]()
        for layer in config.convolutions:
            layers += [
                nn.Conv1d(channels, layer.filters, layer.kernel, padding=layer.kernel // 2),
                nn.ReLU(),
                nn.MaxPool1d(layer.pool),
            ]
            channels = layer.filters
        cell = nn.LSTM if config.cell == "lstm" else nn.GRU
        self.convolutions = nn.Sequential(*layers)
        self.recurrent = cell(channels, config.hidden, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(2 * config.hidden, config.dense),
            nn.ReLU(),
            nn.Linear(config.dense, config.outputs),
        )
        self.linear = nn.Linear(config.inputs, config.outputs) if config.linear else None

    def forward(self, spectra: torch.Tensor) -> torch.Tensor:
        """Compute the outputs `(n, targets)` of `(n, channels, bands)`."""
        states, _ = self.recurrent(self.convolutions(spectra).transpose(1, 2))
        outputs: torch.Tensor = self.head(states.mean(dim=1))
        return outputs if self.linear is None else outputs + self.linear(spectra.flatten(1))


def ours(recipe: TrainingRecipe, spectra: np.ndarray, values: np.ndarray) -> list[float]:
    """Return the time of each epoch of our training, in CPU seconds."""
    ends = [time.process_time()]
    fitting = Fitting(recipe, 1, on_epoch=lambda loss: ends.append(time.process_time()))
    inputs = varied_inputs(fitting, spectra, None)
    lesson = Lesson.of(standardise(make_targets(recipe, values), values))
    ends[0] = time.process_time()
    train(fitting, inputs, lesson, lambda: CCNVR(recipe.network_config()))
    return [end - start for start, end in pairwise(ends)]


def plain(recipe: TrainingRecipe, spectra: np.ndarray, values: np.ndarray) -> list[float]:
    """Return the time of each epoch of a plain loop on the same inputs, in CPU seconds."""
    inputs = varied_inputs(Fitting(recipe, 1), spectra, None).unvaried()
    standardised = standardise(make_targets(recipe, values), values)
    known = torch.tensor(~np.isnan(standardised), dtype=torch.float32)
    targets = torch.tensor(np.nan_to_num(standardised), dtype=torch.float32)
    data = TensorDataset(torch.from_numpy(inputs), targets, known)
    loader = DataLoader(data, batch_size=recipe.fit.batch_size, shuffle=True)
    network = PlainNetwork(recipe.network_config())
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.fit.learning_rate)
    times = []
    for _ in range(recipe.fit.epochs):
        started = time.process_time()
        for soils, expected, weights in loader:
            loss = ((network(soils) - expected) ** 2 * weights).sum() / weights.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        times.append(time.process_time() - started)
    return times


WAYS: dict[str, Callable[[TrainingRecipe, np.ndarray, np.ndarray], list[float]]] = {
    "ours": ours,
    "plain torch": plain,
}


def _run_one(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    recipe = recipe_file.load(arguments.recipe)
    if arguments.library:
        recipe = replace(recipe, libraries=(arguments.library,), tests=())
    soils = load_data(recipe).soils
    # Without teachers, and so without what they would say of displaced spectra.
    fit = replace(recipe.fit, epochs=arguments.epochs, steps=0, displacement=0.0)
    recipe = replace(recipe, fit=fit).for_soils(len(soils.spectra))
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    times = WAYS[arguments.only](recipe, soils.spectra, soils.values)
    print(
        json.dumps(
            {
                "soils": len(soils.spectra),
                # The first epoch also plans torch's kernels.
                "epoch_s": float(np.median(times[1:])),
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
                "before_mb": before_mb,
            }
        )
    )


def main() -> int:
    """Train both ways in turns, and print medians and ratios as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--library", help="learn this library as a whole, such as icraf")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of each, the first aside (4)")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each (3)")
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        _run_one(arguments)
        return 0
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(arguments.repeats):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.training", "--only", way]
            command += ["--library", arguments.library] if arguments.library else []
            command += ["--recipe", str(arguments.recipe), "--epochs", str(arguments.epochs)]
            result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
            rows[way].append(json.loads(result.stdout.splitlines()[-1]))
    found = {
        way: {key: float(np.median([row[key] for row in some])) for key in some[0]}
        for way, some in rows.items()
    }
    ratios = {
        key: round(found["ours"][key] / found["plain torch"][key], 3)
        for key in ("epoch_s", "peak_mb")
    }
    print(json.dumps({**found, "ratios": ratios}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
