"""The choices that make a CCNVR, and what follows from them; training, export and the edge share
them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ccnvr.firmware_bridge.errors import UsageError


@dataclass(frozen=True)
class Convolution:
    """Conv1d with same padding, ReLU, max-pool of `pool` bands."""

    filters: int
    kernel: int
    pool: int


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """What of a CCNVR is a choice. `cell` is gru, lstm or none; `dense` is the width of the layer
    before the outputs.

    With cell none the features of the convolutions go to the dense layer one by one: a CNN. Without
    convolutions the
    recurrent layer reads the spectrum itself, `patch` bands a step: an RNN. `standardise` takes
    from each band its mean over the training soils and divides by its deviation, as the paper's
    mode, which sees raw absorbance, needs. `linear` adds to the outputs a linear calibration of the
    input, all channels and bands, which learns beside the rest. `dropout` matters to training
    alone.
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
        widths = {"hidden": self.hidden, "dense": self.dense, "patch": self.patch}
        for number, layer in enumerate(self.convolutions):
            widths |= {
                f"convolutions[{number}].{name}": value for name, value in vars(layer).items()
            }
        for name, width in widths.items():
            if width < 1:
                raise UsageError(f"{name} = {width} must be at least 1")
            if name.endswith("kernel") and width % 2 == 0:
                raise UsageError(f"{name} = {width} must be odd, so that it is centred on its band")
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"dropout = {self.dropout} must be from 0 to below 1")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(NetworkShape):
    """A CCNVR for inputs of `in_channels` x `bands` and so many outputs."""

    in_channels: int
    bands: int
    outputs: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.in_channels, self.bands, self.outputs) < 1:
            raise UsageError(
                f"a network of {self.in_channels} channels, {self.bands} bands and {self.outputs} "
                "outputs is none"
            )
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
