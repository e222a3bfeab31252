"""The manifest of a bundle: what the edge must know of a model, typed; and what people should know, as it stands."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from ccnvr.edge.preprocess import Channel, Grid, Recipe
from ccnvr.edge.structure import build
from ccnvr.edge.targets import Target

SCHEMA = 1

_MOST_BANDS = 16_384
_MOST_CHANNELS = 16


@dataclass(frozen=True)
class Part:
    """A file of the bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """`card` is for people and holds accuracy, parity, data sources, licences and the training recipe.

    `parts` names every other file of the bundle; `recipe` turns absorbance into the model's input; `targets` are the
    model's outputs in order.
    """

    schema: int
    name: str
    created: str
    targets: tuple[Target, ...]
    recipe: Recipe
    parts: dict[str, Part]
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.targets:
            raise ValueError("a bundle must predict at least one target")
        _check_recipe(self.recipe)

    def to_json(self) -> str:
        """The manifest as a file."""
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False)


def parse(text: str) -> Manifest:
    """A manifest from its file.

    Raises:
        ValueError: it is malformed, or of another schema; the message says which.
    """
    data = json.loads(text)
    schema = data.get("schema") if isinstance(data, dict) else None
    # Before anything else: a newer schema may differ in every other key.
    if schema != SCHEMA:
        raise ValueError(f"its schema is {schema!r} and this ccnvr reads {SCHEMA}; update ccnvr, or export the bundle again")
    return build(Manifest, data)


def _check_recipe(recipe: Recipe) -> None:
    grid = recipe.grid
    if not 2 <= grid.bands <= _MOST_BANDS or grid.step_nm <= 0 or grid.start_nm <= 0:
        raise ValueError(
            f"grid of {grid.bands} bands from {grid.start_nm} nm by {grid.step_nm} nm is not possible; "
            f"2 to {_MOST_BANDS} bands and positive wavelengths are"
        )
    if not 1 <= len(recipe.channels) <= _MOST_CHANNELS:
        raise ValueError(f"{len(recipe.channels)} input channels are not from 1 to {_MOST_CHANNELS}")
    for channel in recipe.channels:
        _check_channel(channel, grid)


def _check_channel(channel: Channel, grid: Grid) -> None:
    odd_and_fits = channel.window % 2 == 1 and 1 <= channel.window <= grid.bands
    ordered = 0 <= channel.deriv <= channel.polyorder < channel.window
    if not (odd_and_fits and ordered):
        raise ValueError(
            f"filter of window {channel.window}, order {channel.polyorder}, derivative {channel.deriv} is not possible: "
            "the window must be odd and above the order, the order at least the derivative"
        )
