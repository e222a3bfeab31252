"""Show what a bundle predicts, how well, from what data, and prove it on its self-test."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ccnvr.edge.bundle.manifest import Card
from ccnvr.edge.chemometrics.domain import DomainShape
from ccnvr.edge.chemometrics.metrics import accuracy_table
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.edge.commands.arguments import add_model_choice
from ccnvr.edge.inference.proved_model import ProvedModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr inspect`."""
    parser.add_argument("bundle", help="a .ccnvr file, or 'default'")
    add_model_choice(parser)
    parser.add_argument("--json", action="store_true", help="the whole manifest as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Verify the bundle, run its self-test, print its card."""
    model = ProvedModel(arguments.bundle, arguments.engine, arguments.profile)
    manifest = model.bundle.manifest
    if arguments.json:
        print(manifest.to_json())
        return 0
    for line in _lines(model):
        print(_shown(line))
    return 0


def _shown(text: str) -> str:
    """What anyone may have written into a bundle, safe for a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _lines(model: ProvedModel) -> Iterator[str]:
    manifest, card = model.bundle.manifest, model.bundle.manifest.card
    grid, channels = manifest.preprocessing.grid, manifest.preprocessing.channels
    yield (
        f"{manifest.name}, created {manifest.created}, sha256 of manifest "
        f"{model.bundle.digest[:16]}"
    )
    yield (
        f"needs {grid.start_nm:g}-{grid.stop_nm:g} nm; {len(channels)} channels "
        f"of {grid.bands} bands"
    )
    yield (
        f"self-test passed on {model.choice}: differs by {model.self_test_difference:.1e} sd at "
        "most"
    )
    if model.correction is not None:
        _, window = model.correction.weights.shape
        rank = model.correction.directions.shape[1]
        yield f"corrects absorbance: each band from {window}, {rank} directions taken out"
    for target in manifest.targets:
        yield (
            f"  {target.name} in {target.unit}, trained on {target.lowest:.3g} to "
            f"{target.highest:.3g}; {_interval(target)}"
        )
    yield _domain(manifest.domain)
    for title, table in card.accuracy.items():
        # Its names made safe before its lines are told apart.
        shown = {
            _shown(library): {_shown(name): row for name, row in rows.items()}
            for library, rows in table.items()
        }
        yield from ("", title, *accuracy_table(shown).split("\n"))
    yield from ("", *_soils(card), "", *_training(card), "", *_parity(card), "")
    yield "parts: " + ", ".join(f"{name} {part.bytes} B" for name, part in manifest.parts.items())
    yield "--json prints the whole card, the recipe included"


def _soils(card: Card) -> list[str]:
    """Which soils taught the model, whose they are, and in how many of them each property was
    measured.
    """
    counts, before, sources, measured = (
        _table(card.soils, key) for key in ("trained_on", "learnt_before", "sources", "measured")
    )
    lines = ["soils trained on"]
    for name in dict.fromkeys([*counts, *sources]):
        source = _table(sources, name)
        told = "; ".join(str(source[key]) for key in ("licence", "values") if key in source)
        lines.append(f"{name:<10}{_whole(counts, name):>7}  {told}")
    if before:
        lines.append(
            "learnt before these: " + ", ".join(f"{name} {_whole(before, name)}" for name in before)
        )
    if measured:
        lines.append(
            "measured in: " + ", ".join(f"{name} {_whole(measured, name)}" for name in measured)
        )
    held_out, seen = card.soils.get("not_trained_on"), card.soils.get("seen_before")
    if isinstance(held_out, list) and held_out:
        lines.append(f"not trained on: {', '.join(map(str, held_out))}")
    if type(seen) is int and seen > 0:
        lines.append(
            f"warning: the base was trained on {seen} of the fine-tuning's soils, so all "
            "accuracies are too good"
        )
    return lines


def _whole(table: dict[str, Any], name: str) -> str:
    return str(value) if type(value := table.get(name)) is int else "-"


def _training(card: Card) -> list[str]:
    """What was done to the model, but for the recipe, which is long."""
    told = {**card.training, "finetuned": _table(card.training, "recipe").get("finetuned")}
    if base := _table(card.training, "base"):
        # Its whole history stands in --json.
        told["base"] = {key: base[key] for key in ("name", "sha256") if key in base}
    return [
        f"{key}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in told.items()
        if key != "recipe" and value
    ]


def _parity(card: Card) -> list[str]:
    """How far each artefact is from the network that was trained, in sd of the targets."""
    lines = [f"{'artefacts, difference in sd':<60}{'largest':>9}{'rms':>9}"]
    for name in card.parity:
        figures = (_table(card.parity, name).get(key) for key in ("largest", "rms"))
        cells = (f"{value:.1e}" if isinstance(value, float) else "-" for value in figures)
        lines.append(f"{name:<60}" + "".join(f"{cell:>9}" for cell in cells))
    return lines


def _table(of: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A card is for people: what is missing in it, or is something else, is left out."""
    value = of.get(key)
    return value if isinstance(value, dict) else {}


def _interval(target: Target) -> str:
    if target.half_width_90 is None:
        return "no interval"
    share = (
        "for every spectrum"
        if target.difficulty is None
        else "x 0.5 to 2 by the spectrum's difficulty"
    )
    return f"90 % interval -+ {target.half_width_90:.3g} sd {share}"


def _domain(shape: DomainShape | None) -> str:
    if shape is None:
        return "no domain: spectra unlike the training soils are not flagged"
    return (
        f"domain: flags what is unlike the soils of {', '.join(shape.libraries)} (Q and T2 of "
        f"{shape.components} components "
        f"each, absorbance and SNV); about {shape.false_alarms:.0%} of soils like them are "
        "flagged too"
    )
