"""Training: spectral libraries, the network CCNVR, cross-validation, calibration and fine-tuning.

The public names are those of `__all__`, described in docs/api.md; each is imported when it is first
used, so that this import does not load PyTorch. All else is private.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ccnvr.firmware_bridge.lazy import lazy_names

if TYPE_CHECKING:
    from ccnvr.train.libraries.load import load_library
    from ccnvr.train.libraries.soils import Soils
    from ccnvr.train.regressor import CCNVRRegressor
    from ccnvr.train.runs.finetune import finetune
    from ccnvr.train.runs.outcome import FinetuningOutcome, FinetuningSettings
    from ccnvr.train.runs.report import RunReport
    from ccnvr.train.runs.run import train
else:  # hidden from type checkers, which would otherwise accept any name
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "CCNVRRegressor": "ccnvr.train.regressor",
            "FinetuningOutcome": "ccnvr.train.runs.outcome",
            "FinetuningSettings": "ccnvr.train.runs.outcome",
            "RunReport": "ccnvr.train.runs.report",
            "Soils": "ccnvr.train.libraries.soils",
            "finetune": "ccnvr.train.runs.finetune",
            "load_library": "ccnvr.train.libraries.load",
            "train": "ccnvr.train.runs.run",
        },
        extra="train",
    )

__all__ = [
    "CCNVRRegressor",
    "FinetuningOutcome",
    "FinetuningSettings",
    "RunReport",
    "Soils",
    "finetune",
    "load_library",
    "train",
]
