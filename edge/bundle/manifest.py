"""The manifest of a bundle: what the edge computes with, and a model card for people.

In: `manifest.json`. Out: a typed `Manifest`, or an error that names the key that does not fit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import field
from typing import Any

from ccnvr.edge.chemometrics.domain import DomainShape
from ccnvr.edge.chemometrics.metrics import AccuracyTable
from ccnvr.edge.chemometrics.preprocess import Preprocessing
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.edge.network.shape import NetworkConfig
from ccnvr.edge.typed import FILE_KEY, build, to_data
from ccnvr.firmware_bridge.frozen import frozen

SCHEMA = 1

KERNELS = "kernel_members"
"""The key of a card's training that describes kernel members."""


PLACES = "places"
"""The key of a card's training that tells how well it predicts in places that it has no soil of."""


_LONGEST_TEXT = 1_000
"""The longest name or unit in characters."""


@frozen
class Part:
    """The size and the SHA-256 of one file of the bundle."""

    bytes: int
    sha256: str


@frozen
class Card:
    """The model card, for people.

    `accuracy` is by library and property; `parity` says for each model file and engine how far its
    outputs are from the trained network's and what rounding does to the RMSE; `soils` lists the
    data with their licences; `training` holds the training recipe.
    """

    # Typed loosely on purpose: the edge computes with none of it, and newer versions add to it.
    accuracy: dict[str, AccuracyTable] = field(default_factory=dict)
    parity: dict[str, dict[str, Any]] = field(default_factory=dict)
    soils: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


@frozen
class Manifest:
    """The content of `manifest.json`.

    `targets` describes the model's outputs in order, `preprocessing` the way from absorbance to the
    model's input, and `parts` every other file of the bundle. `domain` describes the spectra that
    the model was trained on; without it, no spectrum is flagged as out of the domain.

    Raises:
        ValueError: there is no target, two have one name, one has none or does not fit the domain,
            or a text has characters that cannot be shown.
    """

    schema: int
    name: str
    created: str
    targets: tuple[Target, ...]
    # The key in bundles is older than the attribute's name (decision 0060).
    preprocessing: Preprocessing = field(metadata={FILE_KEY: "recipe"})
    parts: dict[str, Part]
    domain: DomainShape | None = None
    card: Card = field(default_factory=Card)

    def __post_init__(self) -> None:
        self._check_names()
        libraries = 0 if self.domain is None else len(self.domain.libraries)
        for target in self.targets:
            known = () if target.difficulty is None else target.difficulty.libraries
            # A difficulty without libraries needs no domain.
            if known and len(known) != libraries:
                raise ValueError(
                    f"the difficulty of target {target.name} is for {len(known)} libraries where "
                    f"the domain has {libraries}"
                )

    def _check_names(self) -> None:
        names = [target.name for target in self.targets]
        units = [target.unit for target in self.targets]
        shapes = [shape for shape in (self.domain, self.domain and self.domain.strict) if shape]
        domains = [library for shape in shapes for library in shape.libraries]
        _check_texts((self.name, self.created, *names, *units, *domains))
        if "" in (self.name, *names, *domains):
            raise ValueError("the model, a target or a library of the domain has no name")
        if not names or len(set(names)) != len(names):
            raise ValueError(
                f"its targets are {', '.join(names) or 'none'}; at least one is needed, each once"
            )

    def to_json(self) -> str:
        """Return the content of `manifest.json`."""
        return json.dumps(to_data(self), indent=1, allow_nan=False)


def _check_texts(texts: Iterable[str]) -> None:
    """Refuse texts that a terminal would obey, or that are too long to be shown."""
    for text in texts:
        if not text.isprintable() or len(text) > _LONGEST_TEXT:
            raise ValueError(
                f"the text {text[:40]!a} has characters that cannot be shown, or more than "
                f"{_LONGEST_TEXT} characters"
            )


def kernels_entry(config: NetworkConfig) -> dict[str, Any]:
    """Return what a card's training says of kernel members; nothing of a network alone."""
    if not config.kernels:
        return {}
    return {KERNELS: {"network": not config.members_only, "members": to_data(config.kernels)}}


def parse(text: str) -> Manifest:
    """Return the manifest in the text of `manifest.json`.

    Raises:
        ValueError: it is malformed, or of another schema.
    """
    data = read_json(text)
    schema = data.get("schema") if isinstance(data, dict) else None
    # The schema is checked first, because a newer one may differ in every other key.
    if schema != SCHEMA:
        raise ValueError(
            f"its schema is {schema!r} and this ccnvr reads {SCHEMA}; update ccnvr, or export the "
            "bundle again"
        )
    return build(Manifest, data)


def read_json(text: str | bytes) -> Any:
    """Return the content of a JSON file of a bundle.

    Raises:
        ValueError: it is malformed, holds NaN or Infinity, or one key twice.
    """
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_each_once)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that is there twice, of which Python's reader takes the last and others not."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!a} is there twice")
    return values


def _refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python's reader accepts although JSON has no such numbers."""
    raise ValueError(f"{name} is not a number")
