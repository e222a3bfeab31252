"""Rounds weights to int8 so that what their layers give changes least, on inputs that the layers
really get.

Column by column, each weight's rounding error is made up for by the weights not yet rounded, in the
least-squares sense: the inputs of a layer that reads spectra are so alike that most of the error
can be. Frantar et al. 2023, GPTQ, ICLR (arXiv:2210.17323); Hassibi & Stork 1993, NIPS 5, 164-171.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ccnvr.edge.network.layers import StoredInt8
from ccnvr.edge.network.layout import DIRECTIONS
from ccnvr.firmware_bridge.arrays import Array, Float32
from ccnvr.train.network.ccnvr import CCNVR

_SPECTRA_AT_ONCE = 64
_WIDEST = 4096
"""Inputs of a layer whose products are still worth their memory; weights of wider ones are rounded
to the nearest.
"""

_DAMPING = 1e-3


def rounded_to(weight: Float32, products: Array) -> StoredInt8:
    """A weight `(outputs, ...)` as int8, for a layer of whose inputs x the sum of x x^T is
    `products`.
    """
    nearest = StoredInt8.of(weight)
    scales = nearest.scales.astype(np.float64)
    left = weight.reshape(len(weight), -1).astype(np.float64)
    damping = _DAMPING * np.trace(products) / len(products) + 1e-12
    # Row j of the factor holds how the columns after j make up for an error in j, once those before
    # it are fixed.
    factor = np.linalg.cholesky(np.linalg.inv(products + damping * np.eye(len(products)))).T
    values = np.empty_like(left)
    for column in range(left.shape[1]):
        values[:, column] = np.clip(np.rint(left[:, column] / scales), -127, 127)
        error = (left[:, column] - values[:, column] * scales) / factor[column, column]
        left[:, column:] -= np.outer(error, factor[column, column:])
    return StoredInt8(values.reshape(weight.shape).astype(np.int8), nearest.scales)


def input_products(
    network: CCNVR, inputs: Float32, advance: Callable[[int], None] = lambda spectra: None
) -> dict[str, Array]:
    """For each weight, by its name in `NetworkArrays.tensors`, the sum of x x^T over what its
    layer reads.

    From model input `(n, channels, bands)`; `advance` hears of every few spectra. Layers of
    thousands of inputs are left out.
    """
    sums: dict[str, Array] = {}

    def add(name: str, rows: Tensor) -> None:
        if rows.shape[-1] <= _WIDEST:
            flat = rows.reshape(-1, rows.shape[-1]).double()
            sums[name] = sums.get(name, 0.0) + (flat.T @ flat).numpy()

    hooks = [layer.register_forward_hook(watch) for layer, watch in _watched(network, add)]
    try:
        with torch.inference_mode():
            for start in range(0, len(inputs), _SPECTRA_AT_ONCE):
                batch = inputs[start : start + _SPECTRA_AT_ONCE]
                network(torch.from_numpy(batch))
                advance(len(batch))
    finally:
        for hook in hooks:
            hook.remove()
    return sums


def _watched(
    network: CCNVR, add: Callable[[str, Tensor], None]
) -> list[tuple[nn.Module, Callable[..., None]]]:
    """Each layer with weights, and what to do with its inputs and outputs."""

    def convolution(name: str, kernel: int) -> Callable[..., None]:
        def watch(_: nn.Module, inputs: tuple[Tensor], __: Tensor) -> None:
            # (n, channels, bands, kernel) -> (n, bands, channels, kernel)
            windows = (
                pad(inputs[0], (kernel // 2, kernel // 2)).unfold(2, kernel, 1).transpose(1, 2)
            )
            add(name, windows.flatten(2))

        return watch

    def recurrent(_: nn.Module, inputs: tuple[Tensor], outputs: tuple[Tensor, Any]) -> None:
        states = outputs[0].reshape(*outputs[0].shape[:2], -1, network.config.hidden)
        for number, name in enumerate(DIRECTIONS[: states.shape[2]]):
            add(f"{name}.input_weight", inputs[0])
            # The state that a step reads is that of the step before; the backward direction's step
            # before is the next.
            add(
                f"{name}.state_weight",
                states[:, :-1, number] if number == 0 else states[:, 1:, number],
            )

    def dense(name: str) -> Callable[..., None]:
        return lambda _, inputs, __: add(name, inputs[0])

    layers = network.config.convolutions
    watched: list[tuple[nn.Module, Callable[..., None]]] = [
        (network.convolutions[3 * number], convolution(f"convolution{number}.weight", layer.kernel))
        for number, layer in enumerate(layers)
    ]
    if network.recurrent is not None:
        watched.append((network.recurrent, recurrent))
    if network.linear is not None:
        watched.append((network.linear, dense("linear.weight")))
    return [
        *watched,
        (network.dense, dense("dense.weight")),
        (network.output, dense("output.weight")),
    ]
