"""A network as a file: the model file that the NumPy engine reads.

The file holds one line with its format, one line of JSON, and then the arrays in the order of
`layout`, little-endian. The header thus fixes the size of the file, which is checked before
anything is allocated.
"""

from __future__ import annotations

import json
import math

import numpy as np

from ccnvr.edge.network.layers import Activation, NetworkArrays, assemble
from ccnvr.edge.network.layout import GATES, direction_names, layout
from ccnvr.edge.network.shape import NetworkConfig
from ccnvr.edge.typed import build, to_data
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.frozen import frozen

_MAGIC = b"ccnvr network 1\n"
# The header of the default network has 329 bytes.
_LONGEST_HEADER = 1 << 16
_MOST_WEIGHTS = 1 << 23
_LARGEST_TENSOR = 1 << 24
_MOST_OPERATIONS = 1 << 30


@frozen
class _Header:
    """The line of JSON before the arrays."""

    profile: str
    config: NetworkConfig
    activations: tuple[Activation, ...]


def pack(network: NetworkArrays) -> bytes:
    """Return the network as a model file; equal networks give equal bytes."""
    # Without allow_nan=False, json would write NaN, which no other JSON reader takes.
    header = json.dumps(
        to_data(_Header(network.profile, network.config, network.activations)), allow_nan=False
    )
    wanted, tensors = layout(network.config, network.profile), network.tensors()
    arrays = [
        np.ascontiguousarray(tensors[name], dtype=dtype).tobytes()
        for name, (dtype, _) in wanted.items()
    ]
    return b"".join([_MAGIC, header.encode(), b"\n", *arrays])


def unpack(content: bytes) -> NetworkArrays:
    """Return the network in a model file; its arrays are views of `content`.

    Raises:
        ValueError: the file is malformed, or the network is larger than any CCNVR.
    """
    # The search is bounded, so that a large file without a line end costs nothing.
    end = content.find(b"\n", len(_MAGIC), len(_MAGIC) + _LONGEST_HEADER)
    if not content.startswith(_MAGIC) or end < 0:
        raise ValueError("it does not begin like a ccnvr network")
    try:
        header = build(_Header, json.loads(content[len(_MAGIC) : end]))
        # Before `layout` is used: a header of a few bytes can describe arrays of any size.
        check_size(header.config)
    except (UsageError, RecursionError) as error:
        raise ValueError(f"its header is impossible: {error}") from error
    wanted = layout(header.config, header.profile)
    expected = sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in wanted.values())
    start = end + 1
    if len(content) - start != expected:
        raise ValueError(
            f"it has {len(content) - start} bytes of weights where its header makes them {expected}"
        )
    tensors = {}
    for name, (dtype, shape) in wanted.items():
        # Views and not copies: a network of 500 kB then takes that memory once. They are read-only.
        tensors[name] = np.frombuffer(content, dtype, math.prod(shape), start).reshape(shape)
        start += tensors[name].nbytes
    return assemble(header.config, header.profile, header.activations, tensors)


def check_size(config: NetworkConfig) -> None:
    """Refuse a network that would take gigabytes of memory or minutes of computing.

    The limits are sixty times the weights of the default network, a thousand times its largest
    tensor and three hundred times its multiplications.

    Raises:
        ValueError: the network has too many weights, too large a tensor between layers, or too
            many multiplications for each spectrum.
    """
    weights = sum(math.prod(shape) for _, shape in layout(config, "fp32").values())
    bands, channels = config.bands, config.in_channels
    largest, operations = bands * channels, weights
    for layer in config.convolutions:
        # The windows that a convolution multiplies, and its outputs.
        largest = max(largest, bands * channels * layer.kernel, bands * layer.filters)
        operations += bands * channels * layer.kernel * layer.filters
        bands, channels = bands // layer.pool, layer.filters
    # A spectrum is compared with all soils of a kernel member at once; its products are one for
    # each of its weights.
    largest = max([largest, *(kernel.soils for kernel in config.kernels)])
    # The inputs of the gates, computed for all steps at once.
    rows = GATES[config.cell] * config.hidden * len(direction_names(config))
    largest = max(largest, config.steps * rows)
    operations += config.steps * rows * (channels * config.patch + config.hidden)
    for what, found, most in (
        ("weights", weights, _MOST_WEIGHTS),
        ("numbers in a tensor", largest, _LARGEST_TENSOR),
        ("multiplications for each spectrum", operations, _MOST_OPERATIONS),
    ):
        if found > most:
            raise ValueError(
                f"a network of {found} {what} is larger than any CCNVR; the limit is {most}"
            )
