"""What a network is taught, and what its answers are worth."""

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
    """What a network is taught: standardised properties `(n, targets)`, zero where not `known`, and
    its teachers.

    A soil teaches only the properties that were measured, and what the teachers say of the others.
    """

    answers: Tensor
    known: Tensor
    teachers: tuple[nn.Module, ...] = ()

    @classmethod
    def of(cls, standardised: Array) -> Lesson:
        """The laboratory's values; NaN where not measured."""
        known = torch.tensor(~np.isnan(standardised), dtype=torch.float32)
        return cls(torch.tensor(np.nan_to_num(standardised), dtype=torch.float32), known)

    def measured(self) -> Array:
        """The laboratory's values, standardised, with NaN where not measured."""
        return torch.where(self.known > 0.0, self.answers, torch.nan).double().numpy()

    def to(self, device: torch.device) -> Lesson:
        """The same on another device."""
        return Lesson(
            self.answers.to(device),
            self.known.to(device),
            tuple(teacher.to(device) for teacher in self.teachers),
        )

    def loss(
        self, outputs: Tensor, inputs: Tensor, soils: Mixture, settings: Fit, team: Team = ALONE
    ) -> Tensor:
        """Of this process's share of `soils`: its `inputs` and the network's `outputs` for them.

        The team's mean of it is the mean squared error over what is known of all the soils.
        """
        answers, known = self._measured(soils)
        # Where the laboratory measured nothing there is the teachers' word alone, at less weight.
        weights = known + (1.0 - known) * settings.unmeasured_weight if self.teachers else known
        total = weights.sum().clamp(min=1.0) / team.size
        answers, known, weights = answers[team.share], known[team.share], weights[team.share]
        if self.teachers:
            with torch.no_grad():
                taught = torch.stack([teacher(inputs) for teacher in self.teachers]).mean(dim=0)
            share = settings.teacher_share
            answers = known * ((1.0 - share) * answers + share * taught) + (1.0 - known) * taught
        return torch.sum((outputs - answers) ** 2 * weights) / total

    def _measured(self, soils: Mixture) -> tuple[Tensor, Tensor]:
        """The laboratory's values of some soils and where there are any; of a mixture it has them
        where it has both's.
        """
        answers, known = self.answers[soils.rows], self.known[soils.rows]
        if soils.partners is None or soils.weights is None:
            return answers, known
        weights = torch.from_numpy(soils.weights).to(answers)[:, None]
        mixed = weights * answers + (1.0 - weights) * self.answers[soils.partners]
        return mixed, known * self.known[soils.partners]
