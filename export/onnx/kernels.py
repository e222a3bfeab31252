"""The operators of a kernel member in ONNX: `FoldedKernel`, of operators that all versions have."""

from __future__ import annotations

import numpy as np

from ccnvr.edge.network.kernels import LARGEST_SQUARE, KernelMember
from ccnvr.edge.network.shape import MATERN
from ccnvr.export.onnx.graph import Graph


def kernel_member(graph: Graph, name: str, member: KernelMember) -> str:
    """Add a kernel member without its part of `total_bias`; its output is `(n, outputs)`.

    The tensors inside have the names of `NumpySession.layers`.
    """
    folded, prefix = member.folded(), f"{name}."

    def product(value: str, output: str, weight: str, matrix: np.ndarray, *bias: str) -> str:
        constant = graph.constant(f"{prefix}{weight}", matrix)
        return graph.node("Gemm", [value, constant, *bias], output, transB=1)

    flat = graph.node("Flatten", ["spectra"], f"{prefix}input", axis=1)
    centre = graph.constant(f"{prefix}centre", member.centre[None])
    centred = graph.node("Sub", [flat, centre], f"{prefix}centred")
    components = product(centred, f"{prefix}components", "directions", folded.components)
    norms = graph.constant(f"{prefix}norms", folded.norms)
    products = product(components, f"{prefix}products", "soils", folded.minus_twice, norms)
    # A product with ones sums the squares, since engines have that operator in any version.
    own = graph.node("Mul", [components, components], f"{prefix}own")
    ones = np.ones((1, len(folded.components)), dtype=np.float32)
    norm = product(own, f"{prefix}norm", "ones", ones)
    squares = graph.node("Add", [products, norm], f"{prefix}squares")
    # Rounding may leave the square of a small distance below 0, and its root would be NaN.
    ends = [
        graph.constant(f"{prefix}{end}", np.array(value, dtype=np.float32))
        for end, value in (("least", 0.0), ("most", LARGEST_SQUARE))
    ]
    squares = graph.node("Clip", [squares, *ends], f"{prefix}clipped")
    similarities = _similarities(graph, prefix, squares, member.kind)
    usual = graph.constant(f"{prefix}usual", folded.usual)
    different = graph.node("Sub", [similarities, usual], f"{prefix}different")
    return product(different, name, "weights", folded.weights)


def _similarities(graph: Graph, prefix: str, squares: str, kind: str) -> str:
    output = f"{prefix}similarities"
    if kind != MATERN:
        return graph.node("Exp", [graph.node("Neg", [squares], f"{prefix}negative")], output)
    distances = graph.node("Sqrt", [squares], f"{prefix}distances")
    negative = graph.node("Neg", [distances], f"{prefix}negative")
    decay = graph.node("Exp", [negative], f"{prefix}decay")
    one = graph.constant(f"{prefix}one", np.array(1.0, dtype=np.float32))
    rising = graph.node("Add", [distances, one], f"{prefix}rising")
    return graph.node("Mul", [rising, decay], output)
