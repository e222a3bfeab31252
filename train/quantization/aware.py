"""Quantization-aware training: a network whose weights and activations are rounded as it computes.

Rounding has no useful slope, so gradients pass through as if it were not there (Bengio et al. 2013,
arXiv:1308.3432; Jacob et al. 2018, CVPR, 2704-2713).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ccnvr.edge.network.layers import Activation
from ccnvr.edge.network.shape import NetworkConfig
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.network.ccnvr import CCNVR


def check_has_network(config: NetworkConfig) -> None:
    """Check that a model has something to train as int8.

    Raises:
        UsageError: it has kernel members only.
    """
    if config.members_only:
        raise UsageError(
            "this model has kernel members only, which stay float, so there is nothing to train as "
            "int8; leave --epochs out"
        )


class QuantizationAware(nn.Module):
    """A copy of a network that rounds its weights and some of its activations to int8.

    With all activations and with `int8_weights` its outputs are those of the NumPy interpreter with
    the same network quantized, apart from float rounding.

    Args:
        network: the float network, which is copied.
        scales: the scale of each activation to round, by its index in `NetworkArrays.activations`.
        int8_weights: whether weights are rounded too.

    Raises:
        UsageError: the model has no network.
    """

    def __init__(
        self, network: CCNVR, scales: Mapping[int, Activation], int8_weights: bool = True
    ) -> None:
        super().__init__()
        check_has_network(network.config)
        self.network = copy.deepcopy(network)
        self._int8_weights = int8_weights
        layers = self.network.convolutions
        for number, scale in scales.items():
            if number == 0:
                layers.register_forward_pre_hook(
                    lambda _, inputs, scale=scale: (_rounded(inputs[0], scale),)
                )
            else:
                # Rounding after the pool is the same as before it: a pool only picks values.
                layers[3 * number - 1].register_forward_hook(
                    lambda _, __, output, scale=scale: _rounded(output, scale)
                )

    def forward(self, spectra: Tensor) -> Tensor:
        """Return the outputs `(n, targets)` for model inputs `(n, channels, bands)`."""
        weights: dict[str, Tensor] = dict(self.network.named_parameters())
        if self._int8_weights:
            weights = {
                # Biases have one axis; they stay float here, since int32 rounds them by next to
                # nothing.
                name: _as_int8(value) if self._is_stored(name, value) else value
                for name, value in weights.items()
            }
        answer: Tensor = functional_call(self.network, weights, (spectra,))
        return answer

    def _is_stored(self, name: str, value: Tensor) -> bool:
        """Return whether the quantized network has the parameter as int8."""
        # Beside kernel members, the linear path stays float.
        return value.ndim > 1 and not (name == "linear.weight" and self.network.config.kernels)

    def train(self, mode: bool = True) -> QuantizationAware:
        """Switch training on for the weights alone: no dropout, and the bands' statistics stay."""
        super().train(mode)
        self.network.dropout.eval()
        # Its statistics are part of the exported network.
        if self.network.scale is not None:
            self.network.scale.eval()
        return self


def _rounded(value: Tensor, scale: Activation) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(value, scale.scale, scale.zero_point, -128, 127)


def _as_int8(weight: Tensor) -> Tensor:
    """Round a weight to int8 with a scale for each output, as `StoredInt8.of` does."""
    # Symmetric, without -128, as the engines' int8 kernels require of weights.
    scales = weight.detach().abs().flatten(1).amax(dim=1).clamp(min=1e-9) / 127.0
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -127, 127)
