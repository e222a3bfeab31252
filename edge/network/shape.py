"""The configuration of a CCNVR, shared by training, export and the edge."""

from __future__ import annotations

from dataclasses import field

from ccnvr.edge.typed import OMITTED_IF_EMPTY
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.frozen import frozen

MATERN, RBF = "matern32", "rbf"
"""The kinds of kernel members."""

MOST_KERNELS = 16


@frozen
class Convolution:
    """A one-dimensional convolution with same padding, ReLU and max-pooling over `pool` bands."""

    filters: int
    kernel: int
    pool: int


@frozen(kw_only=True)
class NetworkShape:
    """The hyperparameters of a CCNVR that do not depend on the data.

    `cell` is `gru`, `lstm` or `none`. With `none`, the dense layer reads the features of the
    convolutions directly (a CNN). Without convolutions, the recurrent layer reads the spectrum
    itself, `patch` bands at each step (an RNN). `hidden` is the width of the recurrent state,
    `dense` that of the layer before the outputs. `standardise` subtracts from each band its mean
    over the training soils and divides it by its standard deviation, which the network of the paper
    needs because it reads raw absorbance. `linear` adds a linear calibration of all channels and
    bands to the outputs, trained together with the rest. `dropout` has an effect in training only.

    Raises:
        UsageError: a value is not possible.
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
            raise UsageError(f"dropout = {self.dropout} must be at least 0 and below 1")


@frozen
class KernelShape:
    """The shape of a kernel member, see `kernels.KernelMember`.

    Attributes:
        kind: `matern32` or `rbf`.
        length: the length scale of the distances, positive.
        components: the number of components that distances are computed in.
        soils: the number of soils that a spectrum is compared with.

    Raises:
        UsageError: a value is not possible.
    """

    kind: str
    length: float
    components: int
    soils: int

    def __post_init__(self) -> None:
        if self.kind not in (MATERN, RBF):
            raise UsageError(f"the kernel {self.kind!r} is not {MATERN} or {RBF}")
        # So that distances divided by it stay within float32.
        if not 1e-6 < self.length < 1e6:
            raise UsageError(f"the length {self.length} of a kernel must be from 1e-6 to 1e6")
        if min(self.components, self.soils) < 1:
            raise UsageError(
                f"a kernel member of {self.components} components and {self.soils} soils is not "
                "possible; each must be at least 1"
            )


@frozen(kw_only=True)
class NetworkConfig(NetworkShape):
    """A CCNVR for inputs of `in_channels` x `bands` numbers, with `outputs` targets.

    The outputs of `kernels` are added to those of the network. With `members_only` there is no
    network: no convolutions, no recurrent layer and no dense layers, but the kernel members, and
    the linear path if `linear` is set.

    Raises:
        UsageError: a value is not possible.
    """

    in_channels: int
    bands: int
    outputs: int
    # Left out of files while empty: a network without members is the file that it was before.
    members_only: bool = field(default=False, metadata={OMITTED_IF_EMPTY: True})
    kernels: tuple[KernelShape, ...] = field(default=(), metadata={OMITTED_IF_EMPTY: True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.kernels) > MOST_KERNELS:
            raise UsageError(
                f"{len(self.kernels)} kernel members are more than {MOST_KERNELS}; use fewer"
            )
        if self.members_only and not self.kernels:
            raise UsageError("a model of members only needs at least one kernel member")
        if self.members_only and (self.convolutions or self.cell != "none"):
            raise UsageError(
                "a model of members only has no convolutions and cell 'none', but it has "
                f"{len(self.convolutions)} convolutions and cell {self.cell!r}"
            )
        if min(self.in_channels, self.bands, self.outputs) < 1:
            raise UsageError(
                f"a network of {self.in_channels} channels, {self.bands} bands and {self.outputs} "
                "outputs is not possible; each must be at least 1"
            )
        if self.steps < 1:
            raise UsageError(f"{self.bands} bands leave no step after pooling; use smaller pools")

    @property
    def inputs(self) -> int:
        """The numbers of a spectrum's model input."""
        return self.in_channels * self.bands

    @property
    def channels(self) -> int:
        """The number of channels after the convolutions."""
        return self.convolutions[-1].filters if self.convolutions else self.in_channels

    @property
    def steps(self) -> int:
        """The length of the sequence that the recurrent layer reads."""
        steps = self.bands
        # Bands that do not fill the last pool, or the last patch, are left out.
        for convolution in self.convolutions:
            steps //= convolution.pool
        return steps // self.patch

    @property
    def features(self) -> int:
        """The number of inputs of the dense layer."""
        if self.cell == "none":
            return self.steps * self.patch * self.channels
        return self.hidden * (2 if self.bidirectional else 1)
