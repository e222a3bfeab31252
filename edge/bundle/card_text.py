"""A bundle's manifest and model card as lines of text for a terminal.

A card is for people and may hold anything: what is missing in it, or is not of the expected type,
is left out or shown as `-`. Unprintable characters become `?`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ccnvr.edge.bundle.accept_curve import HALF_WIDTHS, accept_table, in_unit
from ccnvr.edge.bundle.archive import Bundle
from ccnvr.edge.bundle.manifest import KERNELS, Card, Manifest
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import DomainShape
from ccnvr.edge.chemometrics.metrics import accuracy_table
from ccnvr.edge.chemometrics.targets import Target

PRIVACY = (
    "privacy: the principal components of these soils travel in the file, and whoever has it "
    "can nearly restore their spectra and laboratory values; names and places are not in it"
)
"""What is said of a bundle with kernel members."""


def describe(bundle: Bundle, self_test: str, correction: Correction | None) -> Iterator[str]:
    """Yield the lines that describe a bundle.

    Args:
        bundle: the bundle.
        self_test: the line that reports the self-test.
        correction: the bundle's correction of absorbance, if it has one.
    """
    for line in _lines(bundle, self_test, correction):
        yield _printable(line)


def _lines(bundle: Bundle, self_test: str, correction: Correction | None) -> Iterator[str]:
    manifest, card = bundle.manifest, bundle.manifest.card
    grid, channels = manifest.preprocessing.grid, manifest.preprocessing.channels
    yield (f"{manifest.name}, created {manifest.created}, sha256 of manifest {bundle.digest[:16]}")
    yield (f"needs {grid}; {len(channels)} channels of {grid.bands} bands")
    yield self_test
    if correction is not None:
        _, window = correction.weights.shape
        rank = correction.directions.shape[1]
        yield (
            f"corrects absorbance: each band from {window} bands, {rank} directions projected out"
        )
    for target in manifest.targets:
        unit = "" if target.unit == target.name else f" in {target.unit}"
        yield (
            f"  {target.name}{unit}, trained on {target.lowest:.3g} to "
            f"{target.highest:.3g}; {_interval(target)}"
            + (f"; method: {target.method}" if target.method else "")
        )
    yield from _members(card)
    yield _domain(manifest.domain)
    yield from ("", *accept_table(manifest))
    for title, table in card.accuracy.items():
        # Made printable before the text is split, so that a name with a line break stays one line.
        printable = {
            _printable(library): {_printable(name): row for name, row in rows.items()}
            for library, rows in table.items()
        }
        yield from ("", title, *accuracy_table(printable).split("\n"))
    yield from ("", *_soils(card), "", *_training(card), "", *_parity(card), "")
    yield _files(manifest)
    yield "--json prints the whole manifest, with the preprocessing and the training recipe"


# A bundle comes from elsewhere: its texts must not send escape sequences to a terminal.
def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _files(manifest: Manifest) -> str:
    return "files: " + ", ".join(
        f"{name} {part.bytes} bytes" for name, part in manifest.parts.items()
    )


def _soils(card: Card) -> Iterator[str]:
    """Yield the soils that the model was trained on, with licences and counts by property."""
    counts, before, sources, measured = (
        _table(card.soils, key) for key in ("trained_on", "learnt_before", "sources", "measured")
    )
    yield "soils trained on"
    for name in dict.fromkeys([*counts, *sources]):
        source = _table(sources, name)
        notes = "; ".join(str(source[key]) for key in ("licence", "values") if key in source)
        yield f"{name:<10}{_whole(counts, name):>7}  {notes}"
    if before:
        listed = ", ".join(f"{name} {_whole(before, name)}" for name in before)
        yield f"trained on before these: {listed}"
    if measured:
        listed = ", ".join(f"{name} {_whole(measured, name)}" for name in measured)
        yield f"measured in: {listed}"
    held_out, seen = card.soils.get("not_trained_on"), card.soils.get("seen_before")
    if isinstance(held_out, list) and held_out:
        yield f"not trained on: {', '.join(map(str, held_out))}"
    if type(seen) is int and seen > 0:
        yield (
            f"warning: the base was trained on {seen} of the fine-tuning's soils, so all "
            "accuracies are too good"
        )


_LONGEST_STATED = 240
"""The most characters of what the training states on one line."""


def _whole(table: dict[str, Any], name: str) -> str:
    # Not isinstance, which takes True for a whole number.
    return str(value) if type(value := table.get(name)) is int else "-"


def _training(card: Card) -> list[str]:
    """Return what the training states, without the recipe, which is long."""
    stated = {**card.training, "finetuned": _table(card.training, "recipe").get("finetuned")}
    if base := _table(card.training, "base"):
        # The base's own history is left to --json.
        stated["base"] = {key: base[key] for key in ("name", "sha256") if key in base}
    texts = {
        key: json.dumps(value, ensure_ascii=False)
        for key, value in stated.items()
        if key not in ("recipe", HALF_WIDTHS, KERNELS) and value
    }
    return [
        f"{key}: {text if len(text) <= _LONGEST_STATED else 'see --json'}"
        for key, text in texts.items()
    ]


def _members(card: Card) -> Iterator[str]:
    """Yield the kernel members of the model, and what of the soils travels with them."""
    stated = _table(card.training, KERNELS)
    members = stated.get("members")
    if not isinstance(members, list) or not members:
        return
    parts = ["a network"] if stated.get("network") is True else []
    for member in members:
        table = member if isinstance(member, dict) else {}
        parts.append(
            f"a kernel ({table.get('kind', '-')}) of {_whole(table, 'soils')} spectra in "
            f"{_whole(table, 'components')} components"
        )
    yield f"predicts with the sum of {', '.join(parts)}"
    yield PRIVACY


def _parity(card: Card) -> Iterator[str]:
    """Yield how far each model file is from the trained network, in sd of the targets."""
    yield (
        "how far the outputs of each model file are from those that it must give, in standard "
        "deviations of the training soils"
    )
    yield f"{'':<60}{'largest':>9}{'rms':>9}"
    for name in card.parity:
        figures = (_table(card.parity, name).get(key) for key in ("largest", "rms"))
        cells = (f"{value:.1e}" if isinstance(value, float) else "-" for value in figures)
        # Bundles of earlier versions call it so.
        title = name.replace("the NumPy oracle", "the NumPy engine")
        yield f"{title:<60}" + "".join(f"{cell:>9}" for cell in cells)


def _table(of: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the table at a key, or an empty one if there is something else or nothing."""
    value = of.get(key)
    return value if isinstance(value, dict) else {}


def _interval(target: Target) -> str:
    if target.half_width_90 is None:
        return "no interval"
    share = ""
    if target.difficulty is not None:
        reach = target.difficulty.reach
        share = f" for the usual soil, {1.0 / reach:.3g} to {reach:.3g} times that for others"
    new = target.half_width_90_new_places
    places = "" if new is None else f", at least {_half(target, new)} where the place may be new"
    return f"90 % interval {_half(target, target.half_width_90)}{share}{places}"


def _half(target: Target, half_width: float) -> str:
    """Return a half width in the target's unit, which on a logarithmic scale depends on the value.

    Then it is given for the mean of the training soils.
    """
    at_mean = in_unit(target, np.zeros(1), np.array([half_width]))[0]
    where = " at the mean" if target.transform != "identity" else ""
    unit = "" if target.unit == target.name else f" {target.unit}"
    return f"+-{at_mean:.2g}{unit}{where}"


def _domain(shape: DomainShape | None) -> str:
    if shape is None:
        return "no domain: spectra unlike the training soils are not flagged"
    strict, within = shape.strict, ""
    if strict is not None:
        within = (
            f"; about {1.0 - strict.false_alarms:.0%} of soils like them are found to be surely "
            f"of known places, by {strict.components} components of the slope"
        )
    return (
        f"domain: flags spectra unlike the soils of {', '.join(shape.libraries)}: Q is the "
        f"distance from the plane of a library's {shape.components} principal components, T2 that "
        "from its centre within the plane, each of absorbance as it is and after SNV (standard "
        f"normal variate); about {shape.false_alarms:.0%} of soils like them are flagged too"
        f"{within}"
    )
