"""A model of kernel members alone in torch, as engines compute it: a teacher that costs little.

`KernelModule` computes from the differences between a spectrum and each soil, which takes longer
than a step of the network that is taught.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ccnvr.edge.network.kernels import LARGEST_SQUARE, FoldedKernel, KernelMember, total_bias
from ccnvr.edge.network.layers import NetworkArrays, as_float
from ccnvr.edge.network.shape import MATERN


class FoldedModel(nn.Module):
    """A model of kernel members and a linear path, in float32.

    It maps model input `(n, channels, bands)` to standardised targets `(n, outputs)`.

    Args:
        model: a model of members only, without a standardisation.
    """

    linear: Tensor
    bias: Tensor

    def __init__(self, model: NetworkArrays) -> None:
        super().__init__()
        assert model.linear is not None and model.standardisation is None
        self.kernels = nn.ModuleList(_FoldedModule(kernel) for kernel in model.kernels)
        self.register_buffer("linear", torch.tensor(as_float(model.linear)))
        self.register_buffer("bias", torch.tensor(total_bias(model.kernels)))

    def forward(self, spectra: Tensor) -> Tensor:
        """Compute the outputs; see the class for shapes."""
        flat = spectra.flatten(1)
        outputs: Tensor = flat @ self.linear.T + self.bias
        for kernel in self.kernels:
            outputs = outputs + kernel(flat)
        return outputs


class _FoldedModule(nn.Module):
    """A kernel member as `FoldedKernel` describes it, without its bias."""

    centre: Tensor
    components: Tensor
    minus_twice: Tensor
    norms: Tensor
    usual: Tensor
    weights: Tensor

    def __init__(self, member: KernelMember) -> None:
        super().__init__()
        folded: FoldedKernel = member.folded()
        self._kind = member.kind
        self.register_buffer("centre", torch.tensor(member.centre))
        for name, value in vars(folded).items():
            self.register_buffer(name, torch.tensor(value))

    def forward(self, flat: Tensor) -> Tensor:
        points = (flat - self.centre) @ self.components.T
        squares = (points**2).sum(dim=1, keepdim=True) + points @ self.minus_twice.T + self.norms
        squares = squares.clamp(0.0, LARGEST_SQUARE)
        if self._kind == MATERN:
            distances = squares.sqrt()
            similarities = (1.0 + distances) * (-distances).exp()
        else:
            similarities = (-squares).exp()
        outputs: Tensor = (similarities - self.usual) @ self.weights.T
        return outputs
