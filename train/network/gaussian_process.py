"""Gaussian processes on a network's inputs, as teachers that need no training.

From the spectra of a few hundred soils a kernel method learns more than a network that starts from
random weights (docs/study.md). A network that is taught to predict as the process does, also on
mixtures of those soils, needs none of them on the edge. Rasmussen and Williams 2006, Gaussian
Processes for Machine Learning, MIT Press: equations 2.25 (mean), 4.17 (Matérn) and 5.12
(leave-one-out prediction).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from ccnvr.firmware_bridge.arrays import Array, Float32, Integers
from ccnvr.train.network.ccnvr import network_outputs
from ccnvr.train.recipe.settings import Kernel

MOST_SOILS = 4000
"""The most soils that a process is fitted to, because its time grows with their third power.

If there are more, some are drawn at random, those with rarely measured properties first.
"""

FEWEST_SOILS = 3
"""The soils that a target must be measured in before its prior is tested."""

# Fixed, so that a process depends on its soils alone and not on the fit that it serves.
_SEED = 1


class GaussianProcess(nn.Module):
    """A process from model input `(n, channels, bands)` to standardised targets `(n, outputs)`.

    The output is the posterior mean given the soils. All channels have the same weight in the
    distance between two spectra. Far from all soils, the prediction of a target is its mean over
    the soils.

    With a `prior`, each target uses one of three models: the process about that mean, the process
    on the errors of the prior, or the prior alone. It is the one that predicts the soils best when
    each is left out in turn.

    It computes in double precision, because large weights of both signs cancel in its sums.

    Args:
        kernel: the covariance of two soils.
        inputs: model inputs of the soils, `(n, channels, bands)`, n >= 2.
        targets: standardised values `(n, outputs)`, NaN where not measured; for a column without
            any value the output is 0 everywhere, or the prior's.
        prior: a network ready to predict.
        groups: the number of each spectrum's soil, `(n,)`; without it each is a soil of its own.
    """

    centre: Tensor
    unit: Tensor
    soils: Tensor
    norms: Tensor
    weights: Tensor
    means: Tensor
    trust: Tensor
    """1 for the targets that start from the prior, 0 for the others."""

    def __init__(
        self,
        kernel: Kernel,
        inputs: Float32,
        targets: Array,
        prior: nn.Module | None = None,
        groups: Integers | None = None,
    ) -> None:
        super().__init__()
        self.prior = prior
        drawn = _drawn(targets)
        inputs, targets = inputs[drawn], targets[drawn]
        groups = np.arange(len(inputs)) if groups is None else groups[drawn]
        known = torch.from_numpy(inputs)
        self.register_buffer("centre", known.mean(dim=0).double())
        self.register_buffer(
            # One unit for each channel, not for each band: bands without signal would be blown up
            # to noise.
            "unit",
            (known - self.centre).square().mean(dim=(0, 2)).sqrt().clamp(min=1e-12)[:, None],
        )
        self.register_buffer("soils", self._scaled(known))
        self.register_buffer("norms", self.soils.square().sum(dim=1))
        squares = self._squared_distances(self.soils)
        # The median distance makes the kernel's length independent of the number of bands.
        median = squares[np.triu_indices(len(inputs), 1)].median().sqrt().item()
        self._length = kernel.length * max(median, 1e-12)
        covariance = self._covariance(squares)
        expected = (
            None if prior is None else torch.from_numpy(network_outputs(prior, inputs)).double()
        )
        solved = [
            _solve(
                covariance,
                column,
                kernel.noise,
                None if expected is None else expected[:, number],
                groups,
            )
            for number, column in enumerate(targets.T)
        ]
        weights, means, trust = zip(*solved, strict=True)
        self.register_buffer("weights", torch.stack(weights, dim=1))
        self.register_buffer("means", torch.tensor(means, dtype=torch.float64))
        self.register_buffer("trust", torch.tensor(trust, dtype=torch.float32))

    def forward(self, spectra: Tensor) -> Tensor:
        """One pass; see the class for shapes."""
        covariance = self._covariance(self._squared_distances(self._scaled(spectra)))
        outputs = (covariance @ self.weights + self.means).float()
        return outputs if self.prior is None else outputs + self.trust * self.prior(spectra)

    def _scaled(self, spectra: Tensor) -> Tensor:
        scaled: Tensor = ((spectra - self.centre) / self.unit).flatten(1)
        return scaled

    def _squared_distances(self, scaled: Tensor) -> Tensor:
        """Return the squared distance from each spectrum to each soil."""
        # |a - b|^2 = |a|^2 + |b|^2 - 2ab; rounding may leave it slightly below 0.
        squares: Tensor = (
            scaled.square().sum(dim=1)[:, None] + self.norms - 2.0 * scaled @ self.soils.T
        )
        return squares.clamp(min=0.0)

    def _covariance(self, squares: Tensor) -> Tensor:
        # The Matérn covariance with nu = 5/2 (equation 4.17).
        distances = squares.sqrt() * (math.sqrt(5.0) / self._length)
        covariance: Tensor = (1.0 + distances + distances.square() / 3.0) * torch.exp(-distances)
        return covariance


def _drawn(targets: Array) -> Integers:
    """Return the rows of at most `MOST_SOILS` soils."""
    if len(targets) <= MOST_SOILS:
        return np.arange(len(targets))
    known = ~np.isnan(targets)
    rarest = np.where(known, known.sum(axis=0), len(targets)).min(axis=1)
    # A stable sort keeps the random order among equally rare soils.
    order = np.random.default_rng(_SEED).permutation(len(targets))
    return np.sort(order[np.argsort(rarest[order], kind="stable")][:MOST_SOILS])


def _solve(
    covariance: Tensor, values: Array, noise: float, prior: Tensor | None, groups: Integers
) -> tuple[Tensor, float, float]:
    """Return the soils' weights in a target `(n,)`, its mean, and whether the prior is used (1)."""
    weights = torch.zeros(len(values), dtype=torch.float64)
    rows = np.flatnonzero(~np.isnan(values))
    if len(np.unique(groups[rows])) < (1 if prior is None else FEWEST_SOILS):
        return weights, 0.0, float(prior is not None)
    measured = torch.from_numpy(values[rows])
    # The noise keeps the matrix invertible where two soils have equal spectra.
    inverse = torch.linalg.inv(
        covariance[np.ix_(rows, rows)] + noise * torch.eye(rows.size, dtype=torch.float64)
    )
    mean = float(measured.mean())
    from_mean = inverse @ (measured - mean)
    weights[rows] = from_mean
    if prior is None:
        return weights, mean, 0.0
    errors = measured - prior[rows]
    from_prior = inverse @ errors
    # The prior has not seen the soils, so none needs to be left out for it.
    # Equation 5.12 gives the leave-one-out errors from the one inverse, without n fits.
    left_out = [
        missed(inverse, from_mean, groups[rows]),
        missed(inverse, from_prior, groups[rows]),
        float((errors**2).sum()),
    ]
    best = int(np.argmin(left_out))
    if best == 0:
        return weights, mean, 0.0
    weights[rows] = from_prior if best == 1 else 0.0
    return weights, 0.0, 1.0


def missed(inverse: Tensor, weights: Tensor, groups: Integers) -> float:
    """Return the sum of squared errors if each soil is predicted from the others.

    `inverse` `(n, n)` is that of the covariance with noise, and `weights` `(n,)` its product with
    the values. All spectra of a soil are left out together.
    """
    total = 0.0
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        total += float((torch.linalg.solve(inverse[np.ix_(own, own)], weights[own]) ** 2).sum())
    return total
