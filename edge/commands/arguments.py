"""Argument types and options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TypeVar

from ccnvr.edge.engines.registry import AUTO, ENGINES
from ccnvr.edge.network.layout import PROFILES

T = TypeVar("T", int, float)

BUNDLE_HELP = "a .ccnvr file, 'default' (the best for the bands) or 'default:NAME'"
"""What names a bundle; `ccnvr inspect default` lists the names."""


def _bounded(convert: Callable[[str], T], what: str, low: float, high: float) -> Callable[[str], T]:
    def parse(text: str) -> T:
        try:
            value = convert(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"{value} is out of range; give {what} from {low} to {high}"
            )
        return value

    return parse


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return an argparse type for a whole number from `low` to `high`."""
    return _bounded(int, "a whole number", low, high)


def number(low: float, high: float) -> Callable[[str], float]:
    """Return an argparse type for a number from `low` to `high`."""
    return _bounded(float, "a number", low, high)


def some_of(names: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Return an argparse type for some of these names, separated by commas.

    Its values keep the order of `names`.
    """

    def parse(text: str) -> tuple[str, ...]:
        chosen = tuple(part.strip() for part in text.split(","))
        for name in chosen:
            if name not in names:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(names)}")
        # In the order of `names` and each once, whatever the user wrote: tables depend on it.
        return tuple(name for name in names if name in chosen)

    return parse


def tolerance(text: str) -> tuple[str, float]:
    """Convert a tolerance such as `OC=3`, for argparse, to property and number."""
    name, _, value = text.partition("=")
    if not name.strip() or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not a tolerance; give PROPERTY=NUMBER")
    return name.strip(), number(1e-6, 1e6)(value)


def add_tolerances(parser: argparse.ArgumentParser) -> None:
    """Add the option `--accept`, whose value is a list of properties and tolerances."""
    parser.add_argument(
        "--accept",
        type=tolerance,
        action="append",
        metavar="OC=3",
        help="half the width of the 90 %% interval that you can live with, in the property's unit; "
        "each sample gets a verdict: ok, laboratory or rescan; may be repeated",
    )


def add_model_choice(parser: argparse.ArgumentParser, default: str | None = AUTO) -> None:
    """Add the options `--engine` and `--profile`, which choose what runs which model file.

    Args:
        parser: the parser of a command that opens a bundle.
        default: the value of both options where neither is given; None to leave them unset.
    """
    engines = (AUTO, *ENGINES)
    parser.add_argument(
        "--engine",
        choices=engines,
        default=default,
        help="library that runs the network (auto: the first that is installed)",
    )
    # The option's former name is still accepted, but the help shows one name only.
    parser.add_argument(
        "--backend",
        dest="engine",
        choices=engines,
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--profile",
        choices=(AUTO, *PROFILES),
        default=default,
        help="precision of the model file (auto: the most precise one in the bundle)",
    )
