"""The paper's second experiment: white noise on training spectra or on test spectra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.experiments import figures
from ccnvr.train.experiments.comparison import Comparison, Vary

# From the noise of the noisier libraries to a level at which most spectra are flagged (decision
# 0058).
LEVELS = (0.0003, 0.001, 0.003, 0.01)
"""Standard deviations of the noise, in absorbance, in each band of the common grid."""


def run(comparison: Comparison, folder: Path, levels: tuple[float, ...] = LEVELS) -> dict[str, Any]:
    """Return R2 at each level of noise, and the loss against clean spectra.

    Methods keep the configuration that they chose on clean spectra. `noise-test-LIBRARY.svg` and
    `noise-calibration-LIBRARY.svg` are drawn in `folder`.
    """
    tested: dict[str, dict[str, Any]] = {f"{level:g}": {} for level in levels}
    calibrated: dict[str, dict[str, Any]] = {f"{level:g}": {} for level in levels}
    clean = {}
    for name, contender in comparison.contenders.items():
        # One fit predicts the clean and all noisy test spectra; noise in the training spectra needs
        # a fit for each level.
        found = comparison.predictions(
            contender, on_test={f"test noise {level:g}": _noise(level, 1) for level in levels}
        )
        clean[name] = found[""]
        for level in levels:
            tested[f"{level:g}"][name] = found[f"test noise {level:g}"]
            label = f"calibration noise {level:g}"
            calibrated[f"{level:g}"][name] = comparison.predictions(
                contender, label, on_train=_noise(level, 2)
            )[""]
    reference = comparison.table(clean)
    result: dict[str, Any] = {
        "experiment": "noise",
        "library": comparison.library,
        "levels": list(levels),
        "seeds": comparison.seeds,
        "clean": reference,
    }
    for part, found_at in (("test", tested), ("calibration", calibrated)):
        tables = {level: comparison.table(predicted) for level, predicted in found_at.items()}
        result[part] = tables
        result[f"{part}_loss"] = {level: _loss(reference, table) for level, table in tables.items()}
        _draw(folder / f"noise-{part}-{comparison.stem}.svg", result, part)
    return result


def _noise(level: float, stream: int) -> Vary:
    """Return a change that adds noise; `stream` keeps noise of test and calibration independent."""

    def vary(spectra: Array, seed: int) -> Array:
        # The same draw for every method and level, only scaled: differences are due to the method.
        return spectra + np.random.default_rng((stream, seed)).normal(0.0, level, spectra.shape)

    return vary


def _loss(clean: dict[str, Any], noisy: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the loss of R2 by method and property."""
    return {
        method: {
            name: round(clean[method][name]["r2"] - merit["r2"], 4)
            for name, merit in properties.items()
        }
        for method, properties in noisy.items()
    }


def _draw(path: Path, result: dict[str, Any], part: str) -> None:
    properties = next(iter(result["clean"].values()))
    xs = [0.0, *result["levels"]]
    panels = {
        name: {
            method: (
                xs,
                [
                    result["clean"][method][name]["r2"],
                    *(table[method][name]["r2"] for table in result[part].values()),
                ],
            )
            for method in result["clean"]
        }
        for name in properties
    }
    figures.curves(path, panels, f"noise of the {part} spectra (absorbance)", "R²", (-0.5, 1.0))
