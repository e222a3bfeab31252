"""Complete a recipe by the files of soils that it names: their range, bands and properties.

What is found is added to the recipe's text, so that the folder of a run holds a whole recipe, which
is read again without the files.
"""

from __future__ import annotations

import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ccnvr.edge.chemometrics.grid import WIDEST_GAP_NM, Grid
from ccnvr.edge.chemometrics.preprocess import Channel
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.folds import soil_of
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.own import files
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe

MOST_BANDS = 520
"""The most bands of a grid that is found; features of soil are wider than its steps then."""

FEWEST_BANDS = 64
"""The bands that a network's pools need; a file with fewer is interpolated."""

QUIET_NM = (400.0, 2450.0)
"""The range outside which detectors that see from the visible beyond 1000 nm are mostly noise."""

FILTER_NM = 25.0
"""The width of the first derivative's window; that of the second derivative is half as wide again.

Narrower windows let noise through, which the members pay for at the noise that a recipe states.
"""

FEWEST_SOILS = 20
"""The soils that a property must be measured in to be predicted unasked."""


def read(
    recipe: TrainingRecipe | Path | str, sensor: Path | str | None
) -> tuple[TrainingRecipe, str]:
    """Return a recipe, given as such or by its path, and its whole text.

    Raises:
        UsageError: it cannot be read, is not valid, or cannot be completed by its files.
    """
    if isinstance(recipe, TrainingRecipe):
        return recipe, recipe_file.write(recipe)
    text = recipe_file.read(Path(recipe), None if sensor is None else Path(sensor))
    text = complete(text)
    return recipe_file.parse(text, Path(recipe)), text


def complete(text: str, folder: Path = Path()) -> str:
    """Return a recipe's text with the tables that it leaves to its files, in `folder`.

    These are `[grid]` (the range that all of its files and its sensor cover), `[[channels]]` and
    `[transforms]` (all properties of the files, untransformed). A text that is not valid is
    returned as it is, since reading it as a recipe says why.

    Raises:
        UsageError: a file cannot be used, the files share no range, or no property was measured in
            `FEWEST_SOILS`.
    """
    try:
        stated: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError):
        return text
    own = [folder / name for name in _files_of(stated)]
    asked = "transforms" not in stated and "properties" not in stated
    if not own or ("grid" in stated and "channels" in stated and not asked):
        return text
    # A table that the recipe states is never changed, only one that it leaves out is added.
    found = Grid(**stated["grid"]) if "grid" in stated else None
    grid = found or grid_of([files.wavelengths(path) for path in own] + _sensor_of(stated))
    added = [] if found else _grid_lines(grid)
    if "channels" not in stated:
        added += _channel_lines(grid)
    if asked:
        added += _transform_lines(own, grid, str(stated.get("file_quantity", "reflectance")))
    # At the end, because in TOML all keys after a table's header belong to that table.
    return "\n".join([text.rstrip("\n"), "", "# found in the files of soils", *added, ""])


def _files_of(stated: dict[str, Any]) -> list[str]:
    """Return the user's files among the libraries of a recipe that is not checked yet."""
    named = stated.get("libraries")
    return [
        name
        for name in (named if isinstance(named, list) else [])
        if isinstance(name, str) and name.endswith(files.ENDINGS)
    ]


def _sensor_of(stated: dict[str, Any]) -> list[Array]:
    """Return the bands of a recipe's sensor, whose range the grid must lie in too; none if odd.

    What is wrong with a sensor is said when the recipe is read.
    """
    sensor = stated.get("instrument")
    centres = sensor.get("centres_nm") if isinstance(sensor, dict) else None
    try:
        bands = np.array(centres, dtype=np.float64)
    except (TypeError, ValueError):
        return []
    increases = bands.ndim == 1 and bands.size > 1 and bool(np.all(np.diff(bands) > 0.0))
    return [bands] if increases else []


def _grid_lines(grid: Grid) -> list[str]:
    gaps = [list(gap) for gap in grid.gaps]
    return [
        "[grid]",
        f"start_nm = {grid.start_nm!r}",
        f"step_nm = {grid.step_nm!r}",
        f"bands = {grid.bands}",
        *([f"gaps = {gaps!r}"] if gaps else []),
    ]


def _transform_lines(own: list[Path], grid: Grid, quantity: str) -> list[str]:
    soils = libraries.join(
        libraries.load_library(str(path), grid, quantity=quantity) for path in own
    )
    return ["[transforms]", *(f'{name} = "identity"' for name in measured_in(soils))]


def _channel_lines(grid: Grid) -> list[str]:
    lines = []
    for channel in channels_of(grid):
        # TOML writes booleans in lower case.
        values = {**vars(channel), "snv": str(channel.snv).lower()}
        lines += ["[[channels]]", *(f"{name} = {value}" for name, value in values.items())]
    return lines


def grid_of(wavelengths: list[Array]) -> Grid:
    """Return a grid over the range that all files cover, without their gaps.

    Raises:
        UsageError: they share no range.
    """
    first = max(float(bands[0]) for bands in wavelengths)
    last = min(float(bands[-1]) for bands in wavelengths)
    if last <= first:
        raise UsageError(
            "the files of 'libraries' share no range of wavelengths; train one model for each, or "
            "state [grid] in the recipe"
        )
    if first < 1000.0 < last:
        first, last = max(first, QUIET_NM[0]), min(last, QUIET_NM[1])
    missing = sorted(
        (float(before), float(after))
        for bands in wavelengths
        for before, after in pairwise(bands)
        if after - before > WIDEST_GAP_NM and first <= before and after <= last
    )
    native = max(float(np.median(np.diff(bands))) for bands in wavelengths)
    # Half a nanometre is finer than any instrument here resolves.
    step = float(np.ceil(2.0 * max(native, (last - first) / (MOST_BANDS - 1)) - 1e-6) / 2.0)
    if (last - first) / step < FEWEST_BANDS - 1:
        step = (last - first) / (FEWEST_BANDS - 1) * (1.0 - 1e-9)
    inside = 1e-3 * step
    # Gaps of several files may overlap, and those of a grid may not.
    gaps: list[tuple[float, float]] = []
    for before, after in missing:
        if gaps and before < gaps[-1][1]:
            gaps[-1] = (gaps[-1][0], max(gaps[-1][1], after - inside))
        else:
            gaps.append((before + inside, after - inside))
    return Grid.between(first, last, step, tuple(gaps))


def channels_of(grid: Grid) -> tuple[Channel, ...]:
    """Return absorbance, its first and second derivatives, all with SNV, and absorbance itself."""
    longest = grid.shortest_segment - 1 + grid.shortest_segment % 2
    first = min(max(5, 2 * round(FILTER_NM / grid.step_nm / 2.0) + 1), longest)
    second = min(max(7, 2 * round(0.75 * FILTER_NM / grid.step_nm) + 1), longest)
    return (
        Channel(),
        *([Channel(first, 2, 1)] if first > 2 else []),
        *([Channel(second, 3, 2)] if second > 3 else []),
        Channel(snv=False),
    )


def measured_in(soils: Soils) -> list[str]:
    """Return the properties that were measured in `FEWEST_SOILS`, with more than one value.

    Raises:
        UsageError: there is none.
    """
    soil, found = soil_of(soils), []
    for name in soils.properties:
        values = soils.column(name)
        known = ~np.isnan(values)
        if len(np.unique(soil[known])) >= FEWEST_SOILS and np.ptp(values[known]) > 0.0:
            found.append(name)
    if not found:
        raise UsageError(
            f"no property was measured in {FEWEST_SOILS} soils of {', '.join(set(soils.origin))}; "
            "add soils, or name the property in 'transforms' of the recipe"
        )
    return found
