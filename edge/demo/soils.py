"""Real soils for the demo, from the fold of LimeSoDa that no default bundle is trained on."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np

from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.frozen import frozen

# One nm more than the pixels at either end, 1101.5 and 2496.0 nm, since nothing extrapolates.
WAVELENGTHS_NM = range(1100, 2499)
"""The wavelengths at which the soils are given to the simulated instrument, in nm.

The instrument resamples them to its own pixels.
"""


@frozen
class DemoSoil:
    """A soil's reflectance (0 to 1) at `WAVELENGTHS_NM`, and its laboratory values by property."""

    sample_id: str
    reflectance: list[float]
    laboratory: dict[str, float]


def choose_soils(count: int, seed: int) -> list[DemoSoil]:
    """Draw `count` soils of the held-out fold from all of LimeSoDa's Vis-NIR sets.

    Raises:
        UsageError: there are fewer soils, or LimeSoDa is not installed.
    """
    soils = [soil for name in limesoda.VISNIR_SETS for soil in _held_out(limesoda.load(name))]
    if count > len(soils):
        raise UsageError(
            f"--spectra {count} is more than the {len(soils)} held-out soils; ask for fewer"
        )
    # All soils are shuffled and the first taken: a longer demo begins with a shorter one's soils.
    order = np.random.default_rng(seed).permutation(len(soils))[:count]
    return [soils[index] for index in order]


def to_csv(soils: list[DemoSoil]) -> str:
    """Return soils as a CSV table of reflectance, as `ccnvr predict` and `simulate` read it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample_id", *WAVELENGTHS_NM])
    writer.writerows([soil.sample_id, *soil.reflectance] for soil in soils)
    return text.getvalue()


def _held_out(soils: limesoda.LimeSoDaSet) -> Iterator[DemoSoil]:
    for row in np.flatnonzero(soils.folds == limesoda.HELD_OUT_FOLD):
        reflectance = np.interp(WAVELENGTHS_NM, soils.wavelengths_nm, soils.reflectance[row])
        laboratory = {
            name: round(float(values[row]), 4) for name, values in soils.properties.items()
        }
        # A millionth is far below the instrument's noise, and keeps the table small.
        yield DemoSoil(soils.sample_ids[row], reflectance.round(6).tolist(), laboratory)
