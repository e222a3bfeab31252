"""A bundle with every model file of an untrained network, to test engines and their commands."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle.archive import MODEL_FORMATS, SelfTest
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.layers import Activation, NetworkArrays
from ccnvr.edge.network.layout import PROFILES
from ccnvr.edge.network.shape import Convolution, NetworkConfig
from ccnvr.export.model_files import write_models
from ccnvr.train.network.ccnvr import CCNVR
from ccnvr.train.network.convert import to_arrays, with_int8_convolutions, with_int8_weights
from tests.support.helpers import NETWORK_BUNDLE


def all_profiles(network: CCNVR) -> dict[str, NetworkArrays]:
    """The network in each profile, its activations from -8 to 8 and 0 to 8."""
    exact = to_arrays(network)
    scales = [
        Activation.of_range(-8.0 if number == 0 else 0.0, 8.0)
        for number in range(len(exact.convolutions) + 1)
    ]
    stored = with_int8_weights(exact)
    int8 = with_int8_convolutions(stored, tuple(scales) if exact.convolutions else ())
    return {"fp32": exact, "weights": stored, "int8": int8}


def write(path: Path) -> Path:
    """Write the default bundle with a small network of random weights in place of its own."""
    default = bundles.read(NETWORK_BUNDLE)
    preprocessing, targets = default.manifest.preprocessing, default.manifest.targets
    torch.manual_seed(20)
    config = NetworkConfig(
        convolutions=(Convolution(8, 5, 4), Convolution(8, 5, 4)),
        hidden=8,
        dense=8,
        in_channels=len(preprocessing.channels),
        bands=preprocessing.grid.bands,
        outputs=len(targets),
    )
    profiles = all_profiles(CCNVR(config).eval())
    inputs = Preprocessor(preprocessing, preprocessing.grid.wavelengths()).batch(
        np.array(default.self_test().absorbance)
    )
    expected = {
        profile: tuple(map(tuple, NumpySession(network)(inputs).astype(float).tolist()))
        for profile, network in profiles.items()
    }
    test = SelfTest(default.self_test().absorbance, expected.pop("fp32"), expected)
    parts = {
        name: content
        for name, content in default.parts.items()
        if not name.startswith("model.") and name != bundles.SELF_TEST
    }
    parts[bundles.SELF_TEST] = json.dumps(dataclasses.asdict(test)).encode()
    files = write_models(profiles, PROFILES, MODEL_FORMATS)
    parts |= {file.name: file.content for file in files}
    described = {name: bundles.part_of(content) for name, content in parts.items()}
    bundles.write(
        path, dataclasses.replace(default.manifest, name="all-artefacts", parts=described), parts
    )
    return path
