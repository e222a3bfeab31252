"""The network CCNVR: convolutions find local features, a recurrent layer reads them by wavelength.

After Yang et al. 2020, Geoderma 380:114616. Its abstract states the layers but not their sizes,
which are configuration here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d

from ccnvr.edge.network.shape import NetworkConfig
from ccnvr.firmware_bridge.arrays import Float32
from ccnvr.train.network.kernel_member import KernelModule

_LINEAR_INIT_SD = 0.06
# Spectra at once: the features of a whole library would not fit into memory.
_BATCH = 256


class _Convolution(nn.Conv1d):
    """An `nn.Conv1d` with channels last in memory, a layout much faster in torch on CPUs."""

    def forward(self, spectra: Tensor) -> Tensor:
        row = spectra.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        return conv2d(
            row, self.weight.unsqueeze(2), self.bias, padding=(0, int(self.padding[0]))
        ).squeeze(2)


class _Pool(nn.Module):
    """An `nn.MaxPool1d` in the memory layout of `_Convolution`."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self._bands = bands

    def forward(self, features: Tensor) -> Tensor:
        return max_pool2d(features.unsqueeze(2), (1, self._bands)).squeeze(2)


class CCNVR(nn.Module):
    """The network, from model input `(n, channels, bands)` to standardised targets `(n, outputs)`.

    The states of the recurrent layer are averaged over all steps. This uses every step alike, and
    is exported as one operator. Kernel members, if there are any, are added to the outputs; a model
    of members only (`config.members_only`) has no other layers than a linear path.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.keeps_scale = False
        """Whether training keeps the statistics of the bands and standardises by them."""
        # The mean and standard deviation of each band over all training batches (momentum=None is a
        # cumulative average), kept with the weights. It learns no weights (affine=False), because
        # the layer that follows has its own.
        self.scale = (
            nn.BatchNorm1d(config.in_channels * config.bands, affine=False, momentum=None)
            if config.standardise
            else None
        )
        channels = config.in_channels
        convolutions: list[nn.Module] = []
        for layer in config.convolutions:
            convolutions.append(
                _Convolution(channels, layer.filters, layer.kernel, padding=layer.kernel // 2)
            )
            # ReLU and max-pooling commute; after the pool there are fewer numbers to rectify.
            convolutions.append(_Pool(layer.pool))
            convolutions.append(nn.ReLU())
            channels = layer.filters
        self.convolutions = nn.Sequential(*convolutions)
        self.recurrent = _recurrent(config)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = None if config.members_only else nn.Linear(config.features, config.dense)
        self.output = None if config.members_only else nn.Linear(config.dense, config.outputs)
        self.linear = (
            nn.Linear(config.in_channels * config.bands, config.outputs, bias=False)
            if config.linear
            else None
        )
        if self.linear is not None:
            # Small at first, so that it does not drown the rest of the network before either has
            # learnt anything.
            nn.init.normal_(
                self.linear.weight, std=_LINEAR_INIT_SD / np.sqrt(self.linear.in_features)
            )
        self.kernels = nn.ModuleList(
            KernelModule(shape, config.inputs, config.outputs) for shape in config.kernels
        )

    def train(self, mode: bool = True) -> Self:
        """Set the mode as torch does, except that a kept scale stays in evaluation mode."""
        super().train(mode)
        if self.scale is not None and self.keeps_scale:
            self.scale.eval()
        return self

    def forward(self, spectra: Tensor) -> Tensor:
        """Compute the outputs; see the class for shapes."""
        read = spectra
        if self.scale is not None:
            read = self.scale(spectra.flatten(1)).view_as(spectra)
        parts = [] if self.config.members_only else [self._network(read)]
        if self.linear is not None:
            parts.append(self.linear(read.flatten(1)))
        # In float64, see `KernelModule`.
        parts += [kernel(spectra) for kernel in self.kernels]
        outputs = parts[0]
        for part in parts[1:]:
            outputs = outputs + part
        return outputs.to(spectra.dtype) if self.kernels else outputs

    def _network(self, spectra: Tensor) -> Tensor:
        """Compute the network's part of the outputs from the standardised spectra."""
        # Bands that do not fill the last step are dropped, as a pool drops them.
        features = self.convolutions(spectra)[:, :, : self.config.steps * self.config.patch]
        if self.recurrent is None:
            pooled = features.flatten(1)
        else:
            sequence = (
                features.unflatten(2, (self.config.steps, self.config.patch))
                .transpose(1, 2)
                .flatten(2)
            )
            # A step is `patch` neighbouring bands with all their features.
            states, _ = self.recurrent(sequence)
            pooled = states.mean(dim=1)
        return self.head(pooled)

    def kernel_modules(self) -> list[KernelModule]:
        """Return the kernel members, in their order."""
        return [kernel for kernel in self.kernels if isinstance(kernel, KernelModule)]

    def head(self, pooled: Tensor) -> Tensor:
        """Compute the layers after the recurrent one from its mean states `(n, features)`.

        All of the network's dropout is here.
        """
        assert self.dense is not None and self.output is not None
        hidden = torch.relu(self.dense(self.dropout(pooled)))
        outputs: Tensor = self.output(self.dropout(hidden))
        return outputs


def network_outputs(network: nn.Module, inputs: Float32) -> Float32:
    """Return standardised outputs `(n, targets)` for model inputs `(n, channels, bands)`."""
    with torch.inference_mode():
        # inference_mode and not no_grad: it also leaves out the bookkeeping of views and versions.
        batches = [network(batch) for batch in torch.split(torch.from_numpy(inputs), _BATCH)]
    outputs: Float32 = torch.cat(batches).numpy()
    return outputs


def with_outputs(network: CCNVR, columns: Sequence[int]) -> CCNVR:
    """Return a copy with these outputs only, ready to predict."""
    narrow = CCNVR(replace(network.config, outputs=len(columns)))
    state = network.state_dict()
    for name in ("output.weight", "output.bias", "linear.weight"):
        if name in state:
            state[name] = state[name][list(columns)]
    for name in [name for name in state if name.startswith("kernels.")]:
        if name.endswith((".weights", ".bias")):
            state[name] = state[name][..., list(columns)]
    narrow.load_state_dict(state)
    return narrow.eval()


def _recurrent(config: NetworkConfig) -> nn.Module | None:
    if config.cell == "none":
        return None
    cell = nn.GRU if config.cell == "gru" else nn.LSTM
    return cell(
        config.channels * config.patch,
        config.hidden,
        batch_first=True,
        bidirectional=config.bidirectional,
    )


def parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
