"""The lesson of a network: target values, its teachers, and the loss of its outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.network.augment import Mixture
from ccnvr.train.network.team import ALONE, Team
from ccnvr.train.recipe.rounds import Fit


@dataclass(frozen=True)
class Lesson:
    """The target values of training soils, and the teachers that supplement them.

    Of each soil the network learns the properties that were measured, and what the teachers predict
    of the others.
    """

    values: Tensor
    """Standardised properties `(n, targets)`, 0 where not measured."""

    known: Tensor
    """1 where a property was measured, else 0, `(n, targets)`."""

    teachers: tuple[nn.Module, ...] = ()
    """Networks and Gaussian processes; their mean is taught."""

    @classmethod
    def of(cls, standardised: Array) -> Lesson:
        """Return the lesson of standardised values `(n, targets)`, NaN where not measured."""
        known = torch.tensor(~np.isnan(standardised), dtype=torch.float32)
        return cls(torch.tensor(np.nan_to_num(standardised), dtype=torch.float32), known)

    def measured(self) -> Array:
        """Return the standardised values `(n, targets)`, NaN where not measured."""
        return torch.where(self.known > 0.0, self.values, torch.nan).double().numpy()

    def to(self, device: torch.device) -> Lesson:
        """Return the same lesson on another device."""
        return Lesson(
            self.values.to(device),
            self.known.to(device),
            tuple(teacher.to(device) for teacher in self.teachers),
        )

    def loss(
        self, outputs: Tensor, inputs: Tensor, soils: Mixture, settings: Fit, team: Team = ALONE
    ) -> Tensor:
        """Return the loss of the network's `outputs` for the `inputs` of this process's share.

        Its mean over the team is the mean squared error over all known values of the batch.
        """
        values, known = self._measured(soils)
        # Where nothing was measured, only the teachers' prediction counts, at a lower weight.
        weights = known + (1.0 - known) * settings.unmeasured_weight if self.teachers else known
        # At least 1, because a batch may hold no known value. Before the share is taken:
        # DistributedDataParallel averages the gradients of shares, and this divisor makes their
        # mean that of the whole batch, whatever each share holds.
        total = weights.sum().clamp(min=1.0) / team.size
        values, known, weights = values[team.share], known[team.share], weights[team.share]
        if self.teachers:
            with torch.no_grad():
                # Teachers read the varied inputs as well, so the network learns their response to
                # the variation.
                taught = torch.stack([teacher(inputs) for teacher in self.teachers]).mean(dim=0)
            share = settings.teacher_share
            values = known * ((1.0 - share) * values + share * taught) + (1.0 - known) * taught
        return torch.sum((outputs - values) ** 2 * weights) / total

    def _measured(self, soils: Mixture) -> tuple[Tensor, Tensor]:
        """Return the values of a batch, and where they are known.

        A mixture's value is known where both of its soils were measured, and that of a soil that
        was displaced by other soils nowhere.
        """
        values, known = self.values[soils.rows], self.known[soils.rows]
        if soils.displacement is not None:
            return values, torch.zeros_like(known)
        if soils.partners is None or soils.weights is None:
            return values, known
        weights = torch.from_numpy(soils.weights).to(values)[:, None]
        mixed = weights * values + (1.0 - weights) * self.values[soils.partners]
        return mixed, known * self.known[soils.partners]
