"""A prediction is a mapping of estimates with flags, and `load_bundle` leads to one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest

from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.inference.models import load_bundle
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.firmware_bridge.errors import UsageError
from tests.support.helpers import NETWORK_BUNDLE

OC = Estimate(12.5, "g/kg", 10.0, 15.0)


def test_a_prediction_is_a_mapping_of_its_estimates() -> None:
    prediction = Prediction({"OC": OC, "pH": Estimate(6.5, "", None, None)}, ("OC:noisy",))
    assert isinstance(prediction, Mapping)
    assert prediction["OC"].low == 10.0
    assert list(prediction) == ["OC", "pH"]
    assert len(prediction) == 2 and "pH" in prediction and "clay" not in prediction
    assert dict(prediction) == prediction.estimates
    assert prediction.flags == ("OC:noisy",)
    with pytest.raises(KeyError):
        prediction["clay"]


def test_predictions_are_equal_by_estimates_and_flags_and_cannot_be_changed() -> None:
    assert Prediction({"OC": OC}) == Prediction({"OC": OC}, ())
    assert Prediction({"OC": OC}) != Prediction({"OC": OC}, ("OC:noisy",))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Prediction({}).flags = ("a",)  # type: ignore[misc]


def test_a_loaded_bundle_predicts_its_self_test_soils() -> None:
    model = load_bundle(NETWORK_BUNDLE, engine="numpy")
    assert isinstance(model, ProvedModel)
    assert (model.choice.engine.name, model.choice.profile) == ("numpy", "fp32")
    grid = model.bundle.manifest.preprocessing.grid
    test = model.bundle.self_test()
    prediction = model.bind(grid.wavelengths())(np.array(test.absorbance[0]))
    targets = model.bundle.manifest.targets
    assert list(prediction) == [target.name for target in targets]
    for target, expected in zip(targets, test.expected[0], strict=True):
        found = target.standardise(np.array(prediction[target.name].value))
        assert found == pytest.approx(
            max(expected, float(target.standardise(np.zeros(())))), abs=2e-3
        )
        low, high = prediction[target.name].low, prediction[target.name].high
        assert low is not None and high is not None
        assert low <= prediction[target.name].value <= high


def test_an_unknown_engine_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="engine 'tpu' is not one of auto, onnx"):
        load_bundle("default", "tpu")
