"""A torch network as arrays, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.file import pack, unpack
from ccnvr.train.network.ccnvr import CCNVR
from ccnvr.train.network.convert import as_torch, to_arrays
from tests.support import recipes


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"cell": cell, "bidirectional": bidirectional}
            for cell in ("gru", "lstm")
            for bidirectional in (True, False)
        ),
        *recipes.SHAPES,
    ],
)
def test_the_torch_network_of_a_bundle_answers_as_its_data_does(
    changes: dict[str, Any], rng: np.random.Generator
) -> None:
    network = CCNVR(recipes.network_config(**changes))
    inputs = rng.normal(0.0, 1.0, (40, 2, 140)).astype(np.float32)
    # Twice: its statistics are those of what it saw, if it standardises.
    network.train()(torch.from_numpy(3.0 * inputs))
    data = unpack(pack(to_arrays(network.eval())))
    back = as_torch(data)
    with torch.inference_mode():
        np.testing.assert_allclose(
            back(torch.from_numpy(inputs)).numpy(), NumpySession(data)(inputs), atol=2e-6
        )
    for name, tensor in to_arrays(back).tensors().items():
        np.testing.assert_allclose(tensor, data.tensors()[name], rtol=1e-5, err_msg=name)
