"""CCNVR: convolutions read local features of a spectrum, a recurrent layer reads them along the wavelength.

After Yang et al. 2020, Geoderma 380:114616, whose abstract states the shape and no sizes: those are configuration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ccnvr.firmware_bridge.errors import UsageError

_LINEAR_INIT_SD = 0.06


@dataclass(frozen=True)
class Convolution:
    """Conv1d with same padding, ReLU, max-pool of `pool` bands."""

    filters: int
    kernel: int
    pool: int


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """What of a CCNVR is a choice. `cell` is gru, lstm or none; `dense` is the width of the layer before the outputs.

    With cell none the features of the convolutions go to the dense layer one by one: a CNN. Without convolutions the
    recurrent layer reads the spectrum itself, `patch` bands a step: an RNN. `standardise` takes from each band its mean over
    the training soils and divides by its deviation, as the paper's mode, which sees raw absorbance, needs. `linear` adds to the
    outputs a linear calibration of the input, all channels and bands, which learns beside the rest.
    """

    convolutions: tuple[Convolution, ...]
    standardise: bool = False
    linear: bool = False
    cell: str = "gru"
    bidirectional: bool = True
    hidden: int = 96
    patch: int = 1
    dense: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.cell not in ("gru", "lstm", "none"):
            raise UsageError(f"cell {self.cell!r} is not gru, lstm or none")
        if min(self.hidden, self.dense, self.patch) < 1 or not 0.0 <= self.dropout < 1.0:
            raise UsageError("hidden and dense must be at least 1, as must patch, and dropout from 0 to below 1")
        if any(min(layer.filters, layer.kernel, layer.pool) < 1 for layer in self.convolutions):
            raise UsageError("a convolution's filters, kernel and pool must be at least 1")
        if any(convolution.kernel % 2 == 0 for convolution in self.convolutions):
            raise UsageError("a convolution's kernel must be odd, so that it is centred on its band")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(NetworkShape):
    """A CCNVR for inputs of `in_channels` x `bands` and so many outputs."""

    in_channels: int
    bands: int
    outputs: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise UsageError(f"{self.bands} bands leave no step after pooling; use smaller pools")

    @property
    def channels(self) -> int:
        """Channels after the convolutions."""
        return self.convolutions[-1].filters if self.convolutions else self.in_channels

    @property
    def steps(self) -> int:
        """Length of the sequence that the recurrent layer reads."""
        steps = self.bands
        for convolution in self.convolutions:
            steps //= convolution.pool
        return steps // self.patch

    @property
    def features(self) -> int:
        """Width of what the dense layer gets."""
        if self.cell == "none":
            return self.steps * self.patch * self.channels
        return self.hidden * (2 if self.bidirectional else 1)


class CCNVR(nn.Module):
    """Model input `(n, channels, bands)` -> standardised targets `(n, outputs)`.

    The recurrent layer's states are averaged over the steps, which forgets none of them and exports to one operator.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        # Cumulative statistics of training batches: the mean and deviation of each band, kept with the weights.
        self.scale = (
            nn.BatchNorm1d(config.in_channels * config.bands, affine=False, momentum=None) if config.standardise else None
        )
        channels = config.in_channels
        convolutions: list[nn.Module] = []
        for layer in config.convolutions:
            convolutions.append(nn.Conv1d(channels, layer.filters, layer.kernel, padding=layer.kernel // 2))
            convolutions.append(nn.ReLU())
            convolutions.append(nn.MaxPool1d(layer.pool))
            channels = layer.filters
        self.convolutions = nn.Sequential(*convolutions)
        self.recurrent = _recurrent(config)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(config.features, config.dense)
        self.output = nn.Linear(config.dense, config.outputs)
        self.linear = nn.Linear(config.in_channels * config.bands, config.outputs, bias=False) if config.linear else None
        if self.linear is not None:
            # Small: it is to add to what the network says, not to drown it before either has learnt.
            nn.init.normal_(self.linear.weight, std=_LINEAR_INIT_SD / np.sqrt(self.linear.in_features))

    def forward(self, spectra: Tensor) -> Tensor:
        """One pass; see the class for shapes."""
        if self.scale is not None:
            spectra = self.scale(spectra.flatten(1)).view_as(spectra)
        # What does not fill the last step is left out, as a pool does.
        features = self.convolutions(spectra)[:, :, : self.config.steps * self.config.patch]
        if self.recurrent is None:
            pooled = features.flatten(1)
        else:
            sequence = features.unflatten(2, (self.config.steps, self.config.patch)).transpose(1, 2).flatten(2)
            states, _ = self.recurrent(sequence)
            pooled = states.mean(dim=1)
        hidden = torch.relu(self.dense(self.dropout(pooled)))
        answer: Tensor = self.output(self.dropout(hidden))
        return answer if self.linear is None else answer + self.linear(spectra.flatten(1))


def _recurrent(config: NetworkConfig) -> nn.Module | None:
    if config.cell == "none":
        return None
    cell = nn.GRU if config.cell == "gru" else nn.LSTM
    return cell(config.channels * config.patch, config.hidden, batch_first=True, bidirectional=config.bidirectional)


def parameters(network: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
