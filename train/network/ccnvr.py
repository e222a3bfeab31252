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
    is exported as one operator.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.keeps_scale = False
        """Whether training keeps the statistics of the bands and standardises by them."""
        # The mean and standard deviation of each band over all training batches (momentum=None is
        # a cumulative average), kept with the weights.
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
        self.dense = nn.Linear(config.features, config.dense)
        self.output = nn.Linear(config.dense, config.outputs)
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

    def train(self, mode: bool = True) -> Self:
        """Set the mode as torch does, except that a kept scale stays in evaluation mode."""
        super().train(mode)
        if self.scale is not None and self.keeps_scale:
            self.scale.eval()
        return self

    def forward(self, spectra: Tensor) -> Tensor:
        """Compute the outputs; see the class for shapes."""
        if self.scale is not None:
            spectra = self.scale(spectra.flatten(1)).view_as(spectra)
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
        outputs = self.head(pooled)
        return outputs if self.linear is None else outputs + self.linear(spectra.flatten(1))

    def head(self, pooled: Tensor) -> Tensor:
        """Compute the layers after the recurrent one from its mean states `(n, features)`.

        All of the network's dropout is here.
        """
        hidden = torch.relu(self.dense(self.dropout(pooled)))
        outputs: Tensor = self.output(self.dropout(hidden))
        return outputs


def network_outputs(network: nn.Module, inputs: Float32) -> Float32:
    """Return standardised outputs `(n, targets)` for model inputs `(n, channels, bands)`."""
    with torch.inference_mode():
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
