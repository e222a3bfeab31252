"""What light from outside does to the default models, and how much of it is noticed.

`python -m tools.stray_light` adds daylight, or the light of a halogen lamp, to the spectra of soils
that no default model was trained on, and writes a table into docs/operator-errors.md. Lasts half a
minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ccnvr.edge.inference.pipeline import Pipeline
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Quantity, Scan, ScanKind, Settings

PAGE = Path(__file__).parents[1] / "docs" / "operator-errors.md"
BEGIN, END = "<!-- made by tools/stray_light.py -->", "<!-- end of stray light -->"

MODELS = {
    "vis": (420.0, 1000.0),
    "asd": (420.0, 2490.0),
    "nir1700": (900.0, 1700.0),
    "nir": (1100.0, 2490.0),
}
"""Models, and the range of an instrument that they serve, in nm."""

LEVELS = (0.01, 0.05, 0.1, 0.3)
PROPERTY = "OC"

NM = np.arange(420.0, 2491.0)
_SETTINGS = Settings(10_000, 16)

# The photons of the sun's 5,800 K for each of a lamp's 2,700 K (Planck's law), 1 at 1,100 nm.
_CONSTANT_NM_K = 14_387_770.0
_SUN = np.expm1(_CONSTANT_NM_K / (NM * 2_700.0)) / np.expm1(_CONSTANT_NM_K / (NM * 5_800.0))
LIGHTS = {"daylight": _SUN / _SUN[np.searchsorted(NM, 1100.0)], "halogen": np.ones(NM.size)}
"""Light from outside in units of the reflectance that it adds at 1,100 nm."""

HEAD = (
    "| model | light | adds at 1100 nm | OC moved, share of the half width | wrong by half of it | "
    "of these flagged | without a flag |\n| --- | --- | --- | --- | --- | --- | --- |"
)


def soils() -> Array:
    """Return reflectance `(n, bands)` of the fold of LimeSoDa that no default model has seen."""
    found = []
    for name in ("CV.98", "SC.93", "SL.125", "SSP.460", "UL.120"):
        one = limesoda.load(name)
        rows = one.reflectance[one.folds == limesoda.HELD_OUT_FOLD]
        found += [np.interp(NM, one.wavelengths_nm, row) for row in rows]
    return np.array(found)


def predictions(model: str, reflectance: Array) -> list[Prediction]:
    """Return what a default model says of spectra `(n, bands)`, with the checks of scans."""
    first, last = MODELS[model]
    seen = (first <= NM) & (last >= NM)
    info = InstrumentInfo("m", "S", "f", 1, NM[seen], 1, 1, 1, 1, quantity=Quantity.REFLECTANCE)
    pipeline = Pipeline(ProvedModel(f"default:{model}").bind(NM[seen]), info)
    scans = [Scan(1, ScanKind.SAMPLE, one[seen], _SETTINGS, False, 25.0) for one in reflectance]
    return [pipeline(scan) for scan in scans]


def rows() -> Iterator[str]:
    """Yield the rows of the table."""
    dry = soils()
    for model in MODELS:
        right = predictions(model, dry)
        for light, shape in LIGHTS.items():
            for level in LEVELS:
                seen = predictions(model, dry + level * shape)
                # A soil that is flagged without any light is no evidence about the checks.
                pairs = [pair for pair in zip(right, seen, strict=True) if not _doubted(pair[0])]
                yield _row(f"`{model}` | {light} | {level:g}", pairs)


def _row(name: str, pairs: list[tuple[Prediction, Prediction]]) -> str:
    moved = np.array([_moved(*pair) for pair in pairs])
    flagged = np.array([_doubted(seen) for _, seen in pairs])
    # Without numbers, nothing can be wrong.
    shown = np.isfinite(moved)
    wrong = ~(moved <= 0.5)
    median = f"{np.median(moved[shown]):.2f}" if shown.any() else "no numbers"
    share = f"{flagged[wrong].mean():.0%}" if wrong.any() else "-"
    return f"| {name} | {median} | {wrong.mean():.0%} | {share} | {(wrong & ~flagged).mean():.0%} |"


def _moved(right: Prediction, seen: Prediction) -> float:
    """Return by how much a value moved, in half widths of its interval; NaN without a number."""
    if PROPERTY not in seen:
        return np.nan
    expected = right[PROPERTY]
    assert expected.low is not None and expected.high is not None
    return 2.0 * abs(seen[PROPERTY].value - expected.value) / (expected.high - expected.low)


def _doubted(prediction: Prediction) -> bool:
    """Return whether a flag calls all the numbers into doubt."""
    return any(
        flag == "daylight" or flag.startswith(("rescan", "out_of_domain"))
        for flag in prediction.flags
    )


def main() -> None:
    """Write the table."""
    table = "\n".join([HEAD, *rows()])
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
