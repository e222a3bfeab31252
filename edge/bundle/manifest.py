"""The manifest of a bundle: what the edge must know of a model, typed; and what people should know,
as it stands.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from ccnvr.edge.chemometrics.domain import DomainShape
from ccnvr.edge.chemometrics.metrics import AccuracyTable
from ccnvr.edge.chemometrics.preprocess import Preprocessing
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.edge.typed import build

SCHEMA = 1


@dataclass(frozen=True)
class Part:
    """A file of the bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Card:
    """What people should know: accuracy by library and property, parity of each artefact on each
    engine and what its rounding did to the RMSE, data with licences, the recipe.
    """

    accuracy: dict[str, AccuracyTable] = field(default_factory=dict)
    parity: dict[str, dict[str, Any]] = field(default_factory=dict)
    soils: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """`card` is for people; the rest is what the edge computes with.

    `parts` names every other file of the bundle; `recipe` turns absorbance into the model's input;
    `targets` are the model's outputs in order; `domain` says which spectra the model knows, and a
    bundle without it flags none as foreign.
    """

    schema: int
    name: str
    created: str
    targets: tuple[Target, ...]
    recipe: Preprocessing
    parts: dict[str, Part]
    domain: DomainShape | None = None
    card: Card = field(default_factory=Card)

    def __post_init__(self) -> None:
        names = [target.name for target in self.targets]
        if not names or len(set(names)) != len(names):
            raise ValueError(
                f"its targets are {', '.join(names) or 'none'}; at least one is needed, each once"
            )
        libraries = 0 if self.domain is None else len(self.domain.libraries)
        for target in self.targets:
            if target.difficulty is not None and len(target.difficulty.libraries) != libraries:
                raise ValueError(
                    f"the difficulty of target {target.name} is for "
                    f"{len(target.difficulty.libraries)} libraries where "
                    f"the domain has {libraries}"
                )

    def to_json(self) -> str:
        """The manifest as a file."""
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False)


def parse(text: str) -> Manifest:
    """A manifest from its file.

    Raises:
        ValueError: it is malformed, or of another schema; the message says which.
    """
    data = json.loads(text, parse_constant=_refuse_constant)
    schema = data.get("schema") if isinstance(data, dict) else None
    # Before anything else: a newer schema may differ in every other key.
    if schema != SCHEMA:
        raise ValueError(
            f"its schema is {schema!r} and this ccnvr reads {SCHEMA}; update ccnvr, or export the "
            "bundle again"
        )
    return build(Manifest, data)


def _refuse_constant(name: str) -> None:
    """JSON has no NaN; Python's reader would let it in."""
    raise ValueError(f"{name} is no number")
