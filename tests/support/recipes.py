"""A recipe small enough to train in a test: real soils, a tiny network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ccnvr.edge.network.shape import Convolution, NetworkConfig

SMALL = """
name = "small"
libraries = ["UL.120:train", "SL.125:train"]
tests = ["CV.98", "SC.93", "UL.120:test", "SL.125:test"]
folds = 2
transforms = { OC = "log1p", pH = "identity" }
[grid]
start_nm = 1104.0
step_nm = 10.0
bands = 140
[[channels]]
[[channels]]
window = 5
polyorder = 2
deriv = 1
[network]
convolutions = [{ filters = 8, kernel = 7, pool = 4 }, { filters = 8, kernel = 5, pool = 4 }]
hidden = 8
dense = 8
[fit]
epochs = 3
learning_rate = 0.01
"""


def write(folder: Path, text: str = SMALL) -> Path:
    """The recipe as a file."""
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


SHAPES: tuple[dict[str, Any], ...] = (
    {"cell": "none"},
    {"convolutions": ()},
    {"convolutions": (), "patch": 9, "standardise": True},
    {"cell": "none", "convolutions": (), "standardise": True},
    {"patch": 4},
    {"linear": True, "standardise": True},
    {"linear": True, "cell": "none"},
)
"""Networks with a layer left out, with steps of several bands, or with a linear calibration beside
the rest.
"""


def network_config(cell: str = "gru", bidirectional: bool = True, **changes: Any) -> NetworkConfig:
    """A tiny network of any of the four kinds: 2 channels of 140 bands, 14 steps, 3 outputs."""
    plain: dict[str, Any] = {
        "convolutions": (Convolution(4, 5, 2), Convolution(6, 3, 5)),
        "cell": cell,
        "bidirectional": bidirectional,
        "hidden": 5,
        "dense": 7,
    }
    return NetworkConfig(in_channels=2, bands=140, outputs=3, **{**plain, **changes})
