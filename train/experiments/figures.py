"""Figures of the experiments, drawn into files with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from ccnvr.firmware_bridge.arrays import Array

Table = Mapping[str, Mapping[str, Mapping[str, Any]]]

# The salt replaces random ids in SVG files, so that equal figures are equal bytes.
mpl.rcParams.update(
    {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "ccnvr"}
)

# Colours that can be told apart with red-green colour blindness (Okabe & Ito 2008).
_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#999999",
    "#F0E442",
    "#7F3C8D",
    "#11A579",
)


def bars(path: Path, table: Table, title: str) -> None:
    """Draw R2 of each method and property with its bootstrap interval."""
    methods = list(table)
    properties = list(next(iter(table.values())))
    # `Figure` and not pyplot, which would look for a display.
    figure = Figure(
        figsize=(2.6 * len(properties) + 1.4, 0.28 * len(methods) + 1.2), layout="constrained"
    )
    axes = np.atleast_1d(figure.subplots(1, len(properties), sharey=True))
    for axis, name in zip(axes, properties, strict=True):
        for row, method in enumerate(methods):
            merit = table[method][name]
            colour = _COLOURS[0] if method.startswith("CCNVR") else _COLOURS[7]
            axis.plot([merit["r2_low"], merit["r2_high"]], [row, row], color=colour)
            axis.plot(merit["r2"], row, "o", color=colour, markersize=5)
        # An interval may begin far below zero, where it would flatten those of the other methods.
        axis.set(xlabel=f"R² of {name}", xlim=(max(-0.5, axis.get_xlim()[0]), 1.0))
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(methods)), methods)
    # The first method of the table at the top, as one reads.
    axes[0].invert_yaxis()
    figure.suptitle(title)
    _save(figure, path)


def scatter(
    path: Path,
    measured: Array,
    predicted: Array,
    properties: tuple[str, ...],
    units: Mapping[str, str],
) -> None:
    """Draw predicted `(n, properties)` against measured values."""
    figure = Figure(figsize=(3.0 * len(properties), 3.0), layout="constrained")
    for axis, name, one, other in zip(
        np.atleast_1d(figure.subplots(1, len(properties))),
        properties,
        measured.T,
        predicted.T,
        strict=True,
    ):
        # Both axes alike, so that the diagonal is a prediction without error.
        top = float(np.nanmax(np.concatenate([one, other])))
        axis.plot([0.0, top], [0.0, top], color=_COLOURS[7], linewidth=1)
        axis.plot(one, other, ".", color=_COLOURS[0], alpha=0.6)
        axis.set(xlabel=f"{name} measured ({units[name]})", ylabel="predicted", aspect="equal")
    _save(figure, path)


def curves(
    path: Path,
    panels: Mapping[str, Mapping[str, tuple[list[float], list[float]]]],
    x_label: str,
    y_label: str,
    y_range: tuple[float, float],
) -> None:
    """Draw a panel for each key, with y over x for each method.

    Values beyond `y_range` are cut off, because one R2 of -15 would flatten all the others.
    """
    figure = Figure(
        figsize=(3.1 * min(len(panels), 3), 2.7 * -(-len(panels) // 3) + 0.5), layout="constrained"
    )
    axes = np.atleast_1d(
        figure.subplots(-(-len(panels) // 3), min(len(panels), 3), squeeze=False)
    ).ravel()
    for axis, (title, methods) in zip(axes, panels.items(), strict=False):
        for index, (method, (xs, ys)) in enumerate(methods.items()):
            ours = method.startswith("CCNVR")
            colour = _COLOURS[index % len(_COLOURS)]
            axis.plot(
                xs, ys, marker=".", color=colour, label=method, linewidth=2.0 if ours else 1.0
            )
        ys = [y for _, values in methods.values() for y in values]
        low, high = max(min(ys), y_range[0]), min(max(ys), y_range[1])
        # A flat curve would leave no height at all.
        room = 0.05 * (high - low) or 0.05
        axis.set(title=title, xlabel=x_label, ylabel=y_label, ylim=(low - room, high + room))
        axis.grid(alpha=0.3)
    # The grid of panels has whole rows, so some at the end may be empty.
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(5, len(labels)), frameon=False
    )
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    # Without a date, equal results give equal files.
    figure.savefig(path, metadata={"Date": None})
