"""A kernel member in torch: the reference that exported members are proved against."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ccnvr.edge.network.kernels import KERNEL_ARRAYS, KernelMember
from ccnvr.edge.network.shape import MATERN, KernelShape


class KernelModule(nn.Module):
    """A kernel member, from model input `(n, channels, bands)` to outputs `(n, outputs)`.

    It holds the arrays of `KernelMember` as buffers, which no training changes, and computes in
    float64 from the differences themselves, so that it is free of the rounding of the engines.

    Args:
        shape: the kind and the sizes.
        inputs: the numbers of a model input, channels times bands.
        outputs: the number of outputs.
    """

    centre: Tensor
    components: Tensor
    soils: Tensor
    weights: Tensor
    bias: Tensor

    def __init__(self, shape: KernelShape, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("components", torch.zeros(shape.components, inputs))
        self.register_buffer("soils", torch.zeros(shape.soils, shape.components))
        self.register_buffer("weights", torch.zeros(shape.soils, outputs))
        self.register_buffer("bias", torch.zeros(outputs))

    @classmethod
    def of(cls, member: KernelMember) -> KernelModule:
        """Return the module of a member as arrays."""
        made = cls(member.shape, len(member.centre), len(member.bias))
        made.load_state_dict(
            {name: torch.tensor(value) for name, value in member.tensors().items()}
        )
        return made.eval()

    def to_member(self) -> KernelMember:
        """Return the member as arrays."""
        arrays = {name: getattr(self, name).detach().cpu().numpy() for name in KERNEL_ARRAYS}
        return KernelMember(self.shape.kind, self.shape.length, **arrays)

    def forward(self, spectra: Tensor) -> Tensor:
        """Compute the outputs in float64; see the class for shapes."""
        return self.similarities(spectra) @ self.weights.double() + self.bias.double()

    def layers(self, spectra: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return components, similarities and outputs as `NumpySession.layers` names them.

        The components are scaled, and the outputs without the part of `kernels.total_bias`.
        """
        member, similarities = self.to_member(), self.similarities(spectra)
        outputs = (similarities - torch.tensor(member.usual)) @ self.weights.double()
        return self.project(spectra) * member.scale, similarities[:, member.order], outputs

    def project(self, spectra: Tensor) -> Tensor:
        """Return the components `(n, d)` of a model input."""
        centred = spectra.flatten(1).double() - self.centre.double()
        return centred @ self.components.double().T

    def similarities(self, spectra: Tensor) -> Tensor:
        """Return the similarity of each spectrum to each soil, `(n, soils)`."""
        # The expanded form would lose half of the digits of small distances.
        distances: Tensor = torch.cdist(
            self.project(spectra), self.soils.double(), compute_mode="donot_use_mm_for_euclid_dist"
        )
        scaled = distances / self.shape.length
        if self.shape.kind == MATERN:
            scaled = scaled * math.sqrt(3.0)
            similarities: Tensor = (1.0 + scaled) * (-scaled).exp()
        else:
            similarities = (-0.5 * scaled.square()).exp()
        return similarities
