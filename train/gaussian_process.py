"""Gaussian processes on a network's inputs: teachers that soils of a few hundred determine at once, without training.

Of the spectra of few soils a kernel method makes more than a network does that is trained from nothing (docs/study.md). A
network that answers as it does, on mixtures of those soils as well, needs none of them on the edge.
Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, MIT Press: equations 2.25 (mean), 4.17 (Matérn) and 5.12
(what a soil would be predicted as without itself).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float64]
Float32 = NDArray[np.float32]

MOST_SOILS = 4000
"""That one is fitted to, drawn at random of more: its time grows with their third power."""

_SEED = 1


@dataclass(frozen=True)
class Kernel:
    """Matérn's with nu = 5/2. `length` is in units of the median distance between the soils, `noise` a variance in units of
    the kernel's own."""

    length: float
    noise: float

    def __post_init__(self) -> None:
        if not 0.01 <= self.length <= 100.0 or not 1e-6 <= self.noise <= 10.0:
            raise ValueError(f"length {self.length} is not from 0.01 to 100, or noise {self.noise} not from 1e-6 to 10")


class GaussianProcess(nn.Module):
    """Model input `(n, channels, bands)` -> the mean of standardised targets `(n, outputs)` that the soils it knows suggest.

    Each channel counts alike in the distance between two spectra. Far from all soils a target is its mean over them. With a
    `prior` it may be what that says instead, or what that says everywhere: of the three, for each target, the one by which the
    soils are predicted best when each is left out in turn.

    Args:
        kernel: what soils tell of one another.
        inputs: of the soils, `(n, channels, bands)`, n >= 2.
        targets: standardised, `(n, outputs)`, NaN where not measured; a column without any is 0 everywhere.
        prior: a network ready to predict, of which the soils tell where it errs.
    """

    centre: Tensor
    unit: Tensor
    soils: Tensor
    weights: Tensor
    means: Tensor
    trust: Tensor
    """1 for the targets that start from the prior, 0 for the others."""

    def __init__(self, kernel: Kernel, inputs: Float32, targets: Array, prior: nn.Module | None = None) -> None:
        super().__init__()
        self.prior = prior
        if len(inputs) > MOST_SOILS:
            drawn = np.random.default_rng(_SEED).permutation(len(inputs))[:MOST_SOILS]
            inputs, targets = inputs[drawn], targets[drawn]
        known = torch.from_numpy(inputs)
        self.register_buffer("centre", known.mean(dim=0))
        self.register_buffer("unit", (known - self.centre).square().mean(dim=(0, 2)).sqrt().clamp(min=1e-12)[:, None])
        self.register_buffer("soils", self._scaled(known))
        squares = _squared_distances(self.soils.double(), self.soils.double())
        median = squares[np.triu_indices(len(inputs), 1)].median().sqrt().item()
        self._length = kernel.length * max(median, 1e-12)
        covariance = self._covariance(squares)
        expected = None if prior is None else _answers(prior, known)
        solved = [
            _solve(covariance, column, kernel.noise, None if expected is None else expected[:, number])
            for number, column in enumerate(targets.T)
        ]
        weights, means, trust = zip(*solved, strict=True)
        self.register_buffer("weights", torch.stack(weights, dim=1).float())
        self.register_buffer("means", torch.tensor(means, dtype=torch.float32))
        self.register_buffer("trust", torch.tensor(trust, dtype=torch.float32))

    def forward(self, spectra: Tensor) -> Tensor:
        """One pass; see the class for shapes."""
        squares = _squared_distances(self._scaled(spectra), self.soils)
        answer: Tensor = self._covariance(squares) @ self.weights + self.means
        return answer if self.prior is None else answer + self.trust * self.prior(spectra)

    def _scaled(self, spectra: Tensor) -> Tensor:
        scaled: Tensor = ((spectra - self.centre) / self.unit).flatten(1)
        return scaled

    def _covariance(self, squares: Tensor) -> Tensor:
        distances = squares.sqrt() * (math.sqrt(5.0) / self._length)
        covariance: Tensor = (1.0 + distances + distances.square() / 3.0) * torch.exp(-distances)
        return covariance


def _squared_distances(left: Tensor, right: Tensor) -> Tensor:
    squares: Tensor = left.square().sum(dim=1)[:, None] + right.square().sum(dim=1) - 2.0 * left @ right.T
    return squares.clamp(min=0.0)


def _answers(network: nn.Module, inputs: Tensor) -> Tensor:
    with torch.inference_mode():
        answers: Tensor = network(inputs).double()
    return answers


def _solve(covariance: Tensor, values: Array, noise: float, prior: Tensor | None) -> tuple[Tensor, float, float]:
    """What each soil weighs in a target, `(n,)`, the target's mean, and how far the prior is trusted: 0 or 1."""
    weights = torch.zeros(len(values), dtype=torch.float64)
    rows = np.flatnonzero(~np.isnan(values))
    if not rows.size:
        return weights, 0.0, 0.0
    measured = torch.from_numpy(values[rows])
    inverse = torch.linalg.inv(covariance[np.ix_(rows, rows)] + noise * torch.eye(rows.size, dtype=torch.float64))
    mean = float(measured.mean())
    weights[rows] = from_mean = inverse @ (measured - mean)
    if prior is None:
        return weights, mean, 0.0
    errs = measured - prior[rows]
    corrected = inverse @ errs
    # How far each soil is off where it is left out; the prior alone has not seen any.
    alone = torch.diagonal(inverse)
    missed = [float((off**2).sum()) for off in (from_mean / alone, corrected / alone, errs)]
    best = int(np.argmin(missed))
    if best == 0:
        return weights, mean, 0.0
    weights[rows] = corrected if best == 1 else torch.zeros_like(corrected)
    return weights, 0.0, 1.0
