"""CCNVR: convolutions read local features of a spectrum, a recurrent layer reads them along the wavelength.

After Yang et al. 2020, Geoderma 380:114616, whose abstract states the shape and no sizes: those are configuration.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ccnvr.firmware_bridge.errors import UsageError


@dataclass(frozen=True)
class Convolution:
    """Conv1d with same padding, ReLU, max-pool of `pool` bands."""

    filters: int
    kernel: int
    pool: int


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """What of a CCNVR is a choice. `cell` is gru or lstm; `dense` is the width of the layer before the outputs."""

    convolutions: tuple[Convolution, ...]
    cell: str = "gru"
    bidirectional: bool = True
    hidden: int = 96
    dense: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.cell not in ("gru", "lstm"):
            raise UsageError(f"cell {self.cell!r} is not gru or lstm")
        if min(self.hidden, self.dense) < 1 or not 0.0 <= self.dropout < 1.0:
            raise UsageError("hidden and dense must be at least 1, and dropout from 0 to below 1")
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
    def steps(self) -> int:
        """Length of the sequence that the recurrent layer reads."""
        steps = self.bands
        for convolution in self.convolutions:
            steps //= convolution.pool
        return steps


class CCNVR(nn.Module):
    """Model input `(n, channels, bands)` -> standardised targets `(n, outputs)`.

    The recurrent layer's states are averaged over the steps, which forgets none of them and exports to one operator.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.in_channels
        convolutions: list[nn.Module] = []
        for layer in config.convolutions:
            convolutions.append(nn.Conv1d(channels, layer.filters, layer.kernel, padding=layer.kernel // 2))
            convolutions.append(nn.ReLU())
            convolutions.append(nn.MaxPool1d(layer.pool))
            channels = layer.filters
        self.convolutions = nn.Sequential(*convolutions)
        cell = nn.GRU if config.cell == "gru" else nn.LSTM
        self.recurrent = cell(channels, config.hidden, batch_first=True, bidirectional=config.bidirectional)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(config.hidden * (2 if config.bidirectional else 1), config.dense)
        self.output = nn.Linear(config.dense, config.outputs)

    def forward(self, spectra: Tensor) -> Tensor:
        """One pass; see the class for shapes."""
        features = self.convolutions(spectra)
        states, _ = self.recurrent(features.transpose(1, 2))
        pooled = states.mean(dim=1)
        hidden = torch.relu(self.dense(self.dropout(pooled)))
        answer: Tensor = self.output(self.dropout(hidden))
        return answer


def parameters(network: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
