"""Rounding of weights to int8 such that the outputs of their layers change least on real inputs.

Weights are rounded column by column, and the error of each is compensated by those not yet rounded,
in the least-squares sense. The inputs of a layer that reads spectra are so strongly correlated that
this removes most of the error. Frantar et al. 2023, GPTQ, ICLR (arXiv:2210.17323); Hassibi & Stork
1993, NIPS 5, 164-171.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ccnvr.edge.network.layers import StoredInt8
from ccnvr.edge.network.layout import DIRECTIONS, stored_weights
from ccnvr.firmware_bridge.arrays import Array, Float32
from ccnvr.train.network.ccnvr import CCNVR

_SPECTRA_AT_ONCE = 64
_WIDEST = 4096
"""The most inputs of a layer whose matrix of products is worth its memory. Weights of wider layers
are rounded to the nearest.
"""

# Relative to the mean of the diagonal, as in the GPTQ paper, which takes 1e-2.
_DAMPING = 1e-3


def rounded_to(weight: Float32, products: Array) -> StoredInt8:
    """Return a weight `(outputs, ...)` as int8, rounded with compensation.

    `products` is the sum of x x^T over the inputs x of the layer, `(inputs, inputs)`.
    """
    nearest = StoredInt8.of(weight)
    scales = nearest.scales.astype(np.float64)
    left = weight.reshape(len(weight), -1).astype(np.float64)
    # Keeps the inverse finite where inputs are constant or copies of one another.
    damping = _DAMPING * np.trace(products) / len(products) + 1e-12
    # Row j of the factor says how the columns after j compensate an error in column j, with those
    # before it fixed.
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
    """Return the sum of x x^T over the inputs x of each layer, by the name of the layer's weight.

    Layers with more inputs than `_WIDEST` are left out.

    Args:
        network: the float network.
        inputs: model inputs `(n, channels, bands)`.
        advance: called with the number of spectra processed since the last call.

    Returns:
        A matrix `(inputs, inputs)` by the weight's name in `NetworkArrays.tensors`.
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
    """Return each layer with weights, and the hook that adds up its inputs."""
    watched: list[tuple[nn.Module, Callable[..., None]]] = [
        (
            network.convolutions[3 * number],
            _convolution_hook(f"convolution{number}.weight", layer.kernel, add),
        )
        for number, layer in enumerate(network.config.convolutions)
    ]
    if network.recurrent is not None:
        watched.append((network.recurrent, _recurrent_hook(network.config.hidden, add)))
    layers = {"linear": network.linear, "dense": network.dense, "output": network.output}
    stored = stored_weights(network.config)
    watched += [
        (layer, _dense_hook(f"{name}.weight", add))
        for name, layer in layers.items()
        # Beside kernel members the linear path stays float, and members alone have no others.
        if layer is not None and f"{name}.weight" in stored
    ]
    return watched


def _convolution_hook(
    name: str, kernel: int, add: Callable[[str, Tensor], None]
) -> Callable[..., None]:
    def watch(_: nn.Module, inputs: tuple[Tensor], __: Tensor) -> None:
        # (n, channels, bands, kernel) -> (n, bands, channels, kernel)
        padded = pad(inputs[0], (kernel // 2, kernel // 2))
        add(name, padded.unfold(2, kernel, 1).transpose(1, 2).flatten(2))

    return watch


def _recurrent_hook(hidden: int, add: Callable[[str, Tensor], None]) -> Callable[..., None]:
    def watch(_: nn.Module, inputs: tuple[Tensor], outputs: tuple[Tensor, Any]) -> None:
        states = outputs[0].reshape(*outputs[0].shape[:2], -1, hidden)
        for number, name in enumerate(DIRECTIONS[: states.shape[2]]):
            add(f"{name}.input_weight", inputs[0])
            # A step reads the state of the step before it; in the backward direction that is the
            # step after it in the sequence.
            read = states[:, :-1, number] if number == 0 else states[:, 1:, number]
            add(f"{name}.state_weight", read)

    return watch


def _dense_hook(name: str, add: Callable[[str, Tensor], None]) -> Callable[..., None]:
    return lambda _, inputs, __: add(name, inputs[0])
