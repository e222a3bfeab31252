"""A picture of how many soils each tolerance sends to the laboratory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ccnvr.edge.atomic_files import check_writable, write_atomically
from ccnvr.edge.bundle.accept_curve import HalfWidths
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.installation import extra_command

_COLUMNS = 3
_KNOWN, _NEW = "#23572b", "#b3372c"
_POINTS = 200


def draw_accept_curves(curves: Sequence[HalfWidths], name: str, path: Path) -> None:
    """Draw a panel for each property: the share of soils over the accepted half width.

    Raises:
        UsageError: matplotlib is not installed, no property has an interval, or there is no folder
            for the file.
        CcnvrError: the file cannot be written.
    """
    check_writable(path)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(
            "--accept-curve needs matplotlib; read the table that ccnvr inspect prints, or run: "
            + extra_command("plot")
        ) from None
    if not curves:
        raise UsageError("the bundle states no interval, so there is no curve to draw")
    rows = -(-len(curves) // _COLUMNS)
    figure = Figure(figsize=(10.0, 0.8 + 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False, sharey=True)
    for axes in panels.flat[len(curves) :]:
        axes.set_axis_off()
    for axes, curve in zip(panels.flat, curves, strict=False):
        widest = max(curve.known[-1], curve.new[-1] if curve.new else 0.0)
        tolerances = np.linspace(0.0, 1.05 * widest, _POINTS)
        for new, color in ((False, _KNOWN), (True, _NEW)):
            if new and curve.new is None:
                continue
            shares = [100.0 * curve.to_laboratory(one, new) for one in tolerances]
            axes.plot(tolerances, shares, color=color, label="new places" if new else "known")
        unit = "" if curve.unit == curve.name else f" ({curve.unit})"
        # A dollar sign would begin a formula.
        axes.set_title(f"{curve.name}{unit}".replace("$", r"\$"), fontsize="small", loc="left")
        axes.set(xlim=(0.0, tolerances[-1]), ylim=(0.0, 100.0))
        axes.grid(alpha=0.3)
    if any(curve.new is not None for curve in curves):
        panels.flat[0].legend(fontsize="x-small", title="soils of places", title_fontsize="x-small")
    figure.supxlabel("accepted half width of the 90 % interval (--accept)", fontsize="small")
    figure.supylabel("soils that go to the laboratory, %", fontsize="small")
    source = "estimated from the calibration" if curves[0].estimated else "soils of the calibration"
    figure.suptitle(f"{name}: {source}".replace("$", r"\$"), fontsize="small")
    with write_atomically(path) as stream:
        figure.savefig(stream, format="png", dpi=110)
