"""Prediction beside the instrument: counts -> reflectance -> model input -> prediction.

The public names are those of `__all__`, described in docs/api.md; each is imported when it is first
used, so that this import loads neither NumPy nor an inference engine. All else is private.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ccnvr.firmware_bridge.lazy import lazy_names

if TYPE_CHECKING:
    from ccnvr.edge.chemometrics.targets import Estimate
    from ccnvr.edge.inference.models import ModelFamily, load_bundle
    from ccnvr.edge.inference.pipeline import Pipeline, References
    from ccnvr.edge.inference.prediction import Prediction
    from ccnvr.edge.inference.predictor import Predictor
    from ccnvr.edge.inference.proved_model import ProvedModel
    from ccnvr.edge.spectra import FileSpectra, read_spectra
    from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
else:  # hidden from type checkers, which would otherwise accept any name
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "CcnvrError": "ccnvr.firmware_bridge.errors",
            "Estimate": "ccnvr.edge.chemometrics.targets",
            "FileSpectra": "ccnvr.edge.spectra",
            "ModelFamily": "ccnvr.edge.inference.models",
            "Pipeline": "ccnvr.edge.inference.pipeline",
            "Prediction": "ccnvr.edge.inference.prediction",
            "Predictor": "ccnvr.edge.inference.predictor",
            "ProvedModel": "ccnvr.edge.inference.proved_model",
            "References": "ccnvr.edge.inference.pipeline",
            "UsageError": "ccnvr.firmware_bridge.errors",
            "load_bundle": "ccnvr.edge.inference.models",
            "read_spectra": "ccnvr.edge.spectra",
        },
    )

__all__ = [
    "CcnvrError",
    "Estimate",
    "FileSpectra",
    "ModelFamily",
    "Pipeline",
    "Prediction",
    "Predictor",
    "ProvedModel",
    "References",
    "UsageError",
    "load_bundle",
    "read_spectra",
]
