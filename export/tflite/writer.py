"""The writer of a network as a TFLite model, operator by operator, of builtin operators only.

The model takes one spectrum at a time, because XNNPACK, which makes TFLite fast, takes no tensor of
unknown size. The recurrent layer is a WHILE loop, which LiteRT and tflite-runtime run alike; the
fused LSTM would keep its state from call to call. Weights stored as int8 that multiply floats
go through DEQUANTIZE, which the interpreter evaluates once. They are not given to FULLY_CONNECTED
directly: tflite-runtime's, given int8 weights with a scale for each output, returns wrong numbers
without an error.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ccnvr.edge.network.kernels import total_bias
from ccnvr.edge.network.layers import Activation, NetworkArrays
from ccnvr.edge.network.layout import direction_names
from ccnvr.export.tflite.graph import ModelBuilder, Operator, Subgraph
from ccnvr.export.tflite.kernels import kernel_member
from ccnvr.export.tflite.layers import (
    RELU,
    convolution,
    dequantize,
    fully_connected,
    max_pool,
    quantize,
    reshaped,
)
from ccnvr.export.tflite.recurrence import averaged_states


def to_tflite(network: NetworkArrays, *, micro: bool = False) -> bytes:
    """Return the network as a TFLite model, float32 in and out.

    The model takes `spectra (1, channels, bands)` to `properties (1, outputs)`.

    Args:
        network: what to write.
        micro: write it for TFLite Micro, whose DEQUANTIZE applies a weight's first scale to all of
            its outputs without an error.

    Raises:
        ValueError: with `micro`, the network stores convolutions as int8 but computes with floats.
    """
    config = network.config
    if micro and network.profile == "weights" and network.convolutions:
        raise ValueError(
            "TFLite Micro cannot compute in floats with convolutions stored as int8; use profile "
            "fp32 or int8"
        )
    model = ModelBuilder("ccnvr", one_scale=micro)
    # The first subgraph is the one that runs; those of the loops follow.
    main = model.subgraph("main")
    given = main.input("spectra", (1, config.in_channels, config.bands))
    spectra = _standardised(main, network, given)
    parts = []
    if network.dense is not None and network.output is not None:
        pooled = _pooled(model, main, network, spectra)
        dense = fully_connected(
            main, "dense", pooled, 1, network.dense.weight, network.dense.bias, RELU
        )
        # Whichever operator comes last names the model's output.
        name = "properties" if network.linear is None and not network.kernels else "output"
        parts.append(
            fully_connected(main, name, dense, 1, network.output.weight, network.output.bias)
        )
    if network.linear is not None:
        flat = reshaped(main, "linear.input", spectra, (1, config.inputs))
        parts.append(fully_connected(main, "linear", flat, 1, network.linear, None))
    if network.kernels:
        parts += [
            # Kernel members subtract a centre of their own, so they read the input before
            # standardisation.
            kernel_member(main, f"kernel{number}", member, given)
            for number, member in enumerate(network.kernels)
        ]
        parts.append(main.constant("kernels.bias", total_bias(network.kernels)[None]))
    main.content.outputs = [_added(main, parts, config.outputs)]
    return model.to_bytes()


def _pooled(model: ModelBuilder, main: Subgraph, network: NetworkArrays, spectra: int) -> int:
    """Add the layers before the dense ones; their output is `(1, features)`."""
    features = _convolutions(main, network, _by_band(main, network, spectra))
    if network.directions:
        return _recurrent(model, main, network, features)
    return _flattened(main, network, features)


def _standardised(graph: Subgraph, network: NetworkArrays, value: int) -> int:
    """Add the standardisation of each band of `(1, channels, bands)`, where the network has one."""
    if network.standardisation is None:
        return value
    shape = (1, network.config.in_channels, network.config.bands)
    for operator, name, constant, options in (
        (Operator.SUB, "centred", network.standardisation.mean, schema.SubOptionsT()),
        (Operator.MUL, "standardised", network.standardisation.factor, schema.MulOptionsT()),
    ):
        value = graph.apply(
            operator,
            name,
            shape,
            value,
            graph.constant(f"{name}.by", constant[None]),
            options=options,
        )
    return value


def _by_band(graph: Subgraph, network: NetworkArrays, value: int) -> int:
    """Turn `(1, channels, bands)` into the `(1, 1, bands, channels)` that TFLite convolves."""
    channels, bands = network.config.in_channels, network.config.bands
    # A height of 1 makes the spectrum an image, which is what CONV_2D reads.
    value = _transposed(graph, "by_band", value, (1, channels, bands), (0, 2, 1))
    return reshaped(graph, "image", value, (1, 1, bands, channels))


def _convolutions(graph: Subgraph, network: NetworkArrays, value: int) -> int:
    """Add the convolutions and pools, from `(1, 1, bands, channels)` to `(1, 1, bands, filters)`.

    Input and output are floats, in between the network may compute in int8.
    """
    config, scales = network.config, network.activations
    bands = config.bands
    if network.computes_int8:
        value = quantize(graph, "quantized", value, (1, 1, bands, config.in_channels), scales[0])
    shape = (1, 1, bands, config.in_channels)
    for number, (layer, sizes) in enumerate(
        zip(network.convolutions, config.convolutions, strict=True)
    ):
        between: tuple[Activation, Activation] | None = None
        if network.computes_int8:
            between = scales[number], scales[number + 1]
        value = convolution(graph, f"convolution{number}", value, bands, layer, between)
        bands //= sizes.pool
        shape = (1, 1, bands, sizes.filters)
        # A pool of one band would copy its input.
        if sizes.pool > 1:
            value = max_pool(
                graph, f"pool{number}", value, shape, sizes.pool, between[1] if between else None
            )
    return dequantize(graph, "features", value, shape) if network.computes_int8 else value


def _whole_steps(graph: Subgraph, network: NetworkArrays, value: int) -> int:
    """Turn `(1, 1, bands, filters)` into `(steps x patch, filters)`.

    Bands at the end that do not fill a step are left out.
    """
    config = network.config
    bands = config.bands
    for layer in config.convolutions:
        bands //= layer.pool
    used = config.steps * config.patch
    value = reshaped(graph, "bands", value, (bands, config.channels))
    if used == bands:
        return value
    ends = graph.integers("whole.from", 0, 0), graph.integers("whole.size", used, config.channels)
    return graph.apply(
        Operator.SLICE,
        "whole",
        (used, config.channels),
        value,
        *ends,
        options=schema.SliceOptionsT(),
    )


def _recurrent(model: ModelBuilder, main: Subgraph, network: NetworkArrays, features: int) -> int:
    """Add the recurrent layer; its output `(1, directions x hidden)` is the averaged states."""
    config = network.config
    sequence = _whole_steps(main, network, features)
    if config.patch > 1:
        sequence = reshaped(
            main, "patches", sequence, (config.steps, config.patch, config.channels)
        )
        # A step's features are ordered by filter first, as in the trained network.
        sequence = _transposed(
            main, "ordered", sequence, (config.steps, config.patch, config.channels), (0, 2, 1)
        )
        sequence = reshaped(
            main, "sequence", sequence, (config.steps, config.channels * config.patch)
        )
    states = [
        averaged_states(model, main, name, direction, config, sequence)
        for name, direction in zip(direction_names(config), network.directions, strict=True)
    ]
    if len(states) == 1:
        return states[0]
    options = schema.ConcatenationOptionsT()
    options.axis = 1
    return main.apply(
        Operator.CONCATENATION, "pooled", (1, config.features), *states, options=options
    )


def _flattened(graph: Subgraph, network: NetworkArrays, features: int) -> int:
    """Flatten the features channel by channel to `(1, filters x steps)`, without recurrence."""
    config = network.config
    value = _whole_steps(graph, network, features)
    value = _transposed(
        graph, "by_channel", value, (config.steps * config.patch, config.channels), (1, 0)
    )
    return reshaped(graph, "pooled", value, (1, config.features))


def _added(graph: Subgraph, parts: list[int], outputs: int) -> int:
    """Add up parts `(1, outputs)`, in the order of `NumpySession`; return the sum."""
    total = parts[0]
    for number, part in enumerate(parts[1:], start=1):
        name = "properties" if number == len(parts) - 1 else f"sum{number}"
        total = graph.apply(
            Operator.ADD, name, (1, outputs), total, part, options=schema.AddOptionsT()
        )
    return total


def _transposed(
    graph: Subgraph, name: str, value: int, shape: tuple[int, ...], order: tuple[int, ...]
) -> int:
    """Add a transposition of a value of that `shape`."""
    axes = graph.constant(f"{name}.axes", np.array(order, dtype=np.int32))
    after = tuple(shape[axis] for axis in order)
    return graph.apply(
        Operator.TRANSPOSE, name, after, value, axes, options=schema.TransposeOptionsT()
    )
