"""The names, types and shapes of a network's arrays, as its configuration and profile fix them."""

from __future__ import annotations

from collections.abc import Iterator

from ccnvr.edge.network.shape import NetworkConfig

PROFILES = ("fp32", "weights", "int8")

GATES = {"gru": 3, "lstm": 4, "none": 0}
"""The number of gates of each cell.

The rows of a cell's matrices are ordered gate by gate as in torch: GRU r z n, LSTM i f g o.
"""

DIRECTIONS = ("forward", "backward")


def activation_count(config: NetworkConfig, profile: str) -> int:
    """Return the number of quantised activations that a network of this profile has."""
    return len(config.convolutions) + 1 if profile == "int8" and config.convolutions else 0


def layout(config: NetworkConfig, profile: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the NumPy type and the shape of each array of a network, by name.

    The order is that of the arrays in a network's file. Kernel members are floats in every profile,
    and beside them the linear path is, into which another member may be folded.
    """
    # A dictionary, whose order is that of the file: nothing else says where an array lies.
    arrays: dict[str, tuple[str, tuple[int, ...]]] = {}

    def weight(name: str, *shape: int) -> None:
        if profile == "fp32":
            arrays[name] = ("<f4", shape)
        else:
            arrays[name] = ("|i1", shape)
            arrays[f"{name}.scales"] = ("<f4", shape[:1])

    if config.standardise:
        for name in ("mean", "factor"):
            arrays[f"standardisation.{name}"] = ("<f4", (config.in_channels, config.bands))
    channels = config.in_channels
    for number, layer in enumerate(config.convolutions):
        weight(f"convolution{number}.weight", layer.filters, channels, layer.kernel)
        # An int8 convolution sums in int32, and its bias is one more term of that sum.
        arrays[f"convolution{number}.bias"] = (
            "<i4" if profile == "int8" else "<f4",
            (layer.filters,),
        )
        channels = layer.filters
    rows = GATES[config.cell] * config.hidden
    for name in direction_names(config):
        weight(f"{name}.input_weight", rows, channels * config.patch)
        weight(f"{name}.state_weight", rows, config.hidden)
        arrays[f"{name}.input_bias"] = arrays[f"{name}.state_bias"] = ("<f4", (rows,))
    for name, outputs, inputs in _dense_layers(config):
        weight(f"{name}.weight", outputs, inputs)
        arrays[f"{name}.bias"] = ("<f4", (outputs,))
    if config.linear and config.kernels:
        arrays["linear.weight"] = ("<f4", (config.outputs, config.inputs))
    elif config.linear:
        weight("linear.weight", config.outputs, config.inputs)
    return arrays | {name: ("<f4", shape) for name, shape in _kernel_arrays(config)}


def _dense_layers(config: NetworkConfig) -> tuple[tuple[str, int, int], ...]:
    """Return the name, outputs and inputs of the fully connected layers after the others."""
    if config.members_only:
        return ()
    return (
        ("dense", config.dense, config.features),
        ("output", config.outputs, config.dense),
    )


def _kernel_arrays(config: NetworkConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the names and shapes of the kernel members' arrays, as in `kernels.KERNEL_ARRAYS`."""
    for number, kernel in enumerate(config.kernels):
        yield f"kernel{number}.centre", (config.inputs,)
        yield f"kernel{number}.components", (kernel.components, config.inputs)
        yield f"kernel{number}.soils", (kernel.soils, kernel.components)
        yield f"kernel{number}.weights", (kernel.soils, config.outputs)
        yield f"kernel{number}.bias", (config.outputs,)


def stored_weights(config: NetworkConfig) -> tuple[str, ...]:
    """Return the names of the arrays that are stored as int8 in all profiles but `fp32`."""
    return tuple(
        name.removesuffix(".scales")
        for name in layout(config, "weights")
        if name.endswith(".scales")
    )


def direction_names(config: NetworkConfig) -> tuple[str, ...]:
    """Return the names of the recurrent layer's directions, in the order of its outputs."""
    if config.cell == "none":
        return ()
    return DIRECTIONS if config.bidirectional else DIRECTIONS[:1]
