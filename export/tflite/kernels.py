"""The operators of a kernel member in TFLite: `FoldedKernel`, of builtin operators on floats."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ccnvr.edge.network.kernels import LARGEST_SQUARE, KernelMember
from ccnvr.edge.network.shape import MATERN
from ccnvr.export.tflite.graph import Operator, Subgraph
from ccnvr.export.tflite.layers import RELU, fully_connected, reshaped
from ccnvr.firmware_bridge.arrays import Float32

_MOST_ADDED = 128
"""The most soils whose products with the weights are added up in one layer.

LiteRT adds them up one after another in float32, and loses digits as the sum grows.
"""


def kernel_member(graph: Subgraph, name: str, member: KernelMember, spectra: int) -> int:
    """Add a kernel member without its `total_bias`, from `(1, channels, bands)` to `(1, outputs)`.

    The tensors inside have the names of `NumpySession.layers`.
    """
    folded, prefix = member.folded(), f"{name}."
    size, soils = len(member.centre), (1, len(folded.norms))
    inner = (1, len(folded.components))
    flat = reshaped(graph, f"{prefix}input", spectra, (1, size))
    centre = graph.constant(f"{prefix}centre", member.centre[None])
    centred = graph.apply(
        Operator.SUB, f"{prefix}centred", (1, size), flat, centre, options=schema.SubOptionsT()
    )
    components = fully_connected(graph, f"{prefix}components", centred, 1, folded.components, None)
    products = fully_connected(
        graph, f"{prefix}products", components, 1, folded.minus_twice, folded.norms
    )
    own = graph.apply(
        Operator.MUL, f"{prefix}own", inner, components, components, options=schema.MulOptionsT()
    )
    # A product with ones sums the squares, since every interpreter and XNNPACK have it.
    norm = fully_connected(graph, f"{prefix}norm", own, 1, np.ones(inner, dtype=np.float32), None)
    adding = schema.AddOptionsT()
    # Rounding may leave the square of a small distance below 0.
    adding.fusedActivationFunction = RELU
    squares = graph.apply(Operator.ADD, f"{prefix}squares", soils, products, norm, options=adding)
    most = graph.constant(f"{prefix}most", np.full((1, 1), LARGEST_SQUARE, dtype=np.float32))
    squares = graph.apply(
        Operator.MINIMUM,
        f"{prefix}clipped",
        soils,
        squares,
        most,
        options=schema.MaximumMinimumOptionsT(),
    )
    similarities = _similarities(graph, prefix, squares, soils, member.kind)
    usual = graph.constant(f"{prefix}usual", folded.usual[None])
    different = graph.apply(
        Operator.SUB,
        f"{prefix}different",
        soils,
        similarities,
        usual,
        options=schema.SubOptionsT(),
    )
    return _weighted(graph, name, different, folded.weights)


def _weighted(graph: Subgraph, name: str, different: int, weights: Float32) -> int:
    """Add the product with weights `(outputs, soils)`, as the sum of those of the blocks."""
    (outputs, soils), total = weights.shape, None
    starts = range(0, soils, _MOST_ADDED)
    parts = [slice(start, min(start + _MOST_ADDED, soils)) for start in starts]
    if len(parts) == 1:
        return fully_connected(graph, name, different, 1, weights, None)
    for number, rows in enumerate(parts):
        begin = graph.integers(f"{name}.begin{number}", 0, rows.start)
        size = graph.integers(f"{name}.size{number}", 1, rows.stop - rows.start)
        part = graph.apply(
            Operator.SLICE,
            f"{name}.different{number}",
            (1, rows.stop - rows.start),
            different,
            begin,
            size,
            options=schema.SliceOptionsT(),
        )
        part = fully_connected(graph, f"{name}.part{number}", part, 1, weights[:, rows], None)
        last = number == len(parts) - 1
        sums = name if last else f"{name}.sum{number}"
        total = (
            part
            if total is None
            else graph.apply(
                Operator.ADD, sums, (1, outputs), total, part, options=schema.AddOptionsT()
            )
        )
    assert total is not None
    return total


def _similarities(
    graph: Subgraph, prefix: str, squares: int, shape: tuple[int, int], kind: str
) -> int:
    """Add the similarities to the soils, from the squares of the scaled distances."""
    output = f"{prefix}similarities"

    def negative_exponential(name: str, value: int) -> int:
        opposite = graph.apply(
            Operator.NEG, f"{prefix}negative", shape, value, options=schema.NegOptionsT()
        )
        return graph.apply(Operator.EXP, name, shape, opposite, options=schema.ExpOptionsT())

    if kind != MATERN:
        return negative_exponential(output, squares)
    # SQRT has no options.
    distances = graph.apply(Operator.SQRT, f"{prefix}distances", shape, squares)
    decay = negative_exponential(f"{prefix}decay", distances)
    one = graph.constant(f"{prefix}one", np.ones((1, 1), dtype=np.float32))
    rising = graph.apply(
        Operator.ADD, f"{prefix}rising", shape, distances, one, options=schema.AddOptionsT()
    )
    return graph.apply(Operator.MUL, output, shape, rising, decay, options=schema.MulOptionsT())
