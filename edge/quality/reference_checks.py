"""Checks of dark and white references: what the numbers show of a mistake in taking them.

In: the scans of a new pair and the instrument's earlier white references. Out: nothing, or a
`ReferenceRefused` whose message tells the operator what to do before the pair is taken again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ccnvr.firmware_bridge.arrays import Array, median
from ccnvr.firmware_bridge.errors import InstrumentError

MOST_LEAK = 0.02
"""The largest share of the white's light that a dark reference may contain."""

_LEAK_CORRELATION = 0.9
"""A dark whose pattern follows the white's this closely shows light, not the detector's pattern."""

LEVEL_LIMIT = 0.10
"""By how much a white may be darker or brighter than the earlier ones, as a share of them."""

SHAPE_LIMIT = 0.02
"""By how much the shape of a white may differ from that of the earlier ones, likewise."""

_OTHER_LEVEL, _OTHER_SHAPE = 0.5, 0.10
"""Beyond these, something else than a white panel was under the probe."""

_BRIGHT = 0.1
"""Bands with less signal than this share of the brightest are left out: noise rules there."""

_SMOOTHING = 9
"""The width in bands of the running mean that keeps noise out of the comparison."""


class ReferenceRefused(InstrumentError):
    """A reference that shows an operator's mistake; taking it again may help."""


def check_dark(dark: Array, white: Array) -> None:
    """Refuse a dark reference that contains light of the lamp.

    Light shows as the pattern of the white reference in the dark one: by linear regression of the
    dark on the white over the bands.

    Args:
        dark: its counts `(bands,)`.
        white: the counts of the white reference of the pair `(bands,)`.

    Raises:
        ReferenceRefused: the dark contains more than `MOST_LEAK` of the white's light.
    """
    centred_dark, centred_white = dark - dark.mean(), white - white.mean()
    spread = float(centred_white @ centred_white)
    if spread == 0.0 or not np.any(centred_dark):
        return
    shared = float(centred_dark @ centred_white)
    share = shared / spread
    correlation = shared / np.sqrt(spread * float(centred_dark @ centred_dark))
    if share > MOST_LEAK and correlation > _LEAK_CORRELATION:
        raise ReferenceRefused(
            f"the dark reference contains {share:.0%} of the white's light; switch the lamp off or "
            "cover the probe for the dark reference"
        )


def check_white(dark: Array, white: Array, earlier: Sequence[Array]) -> None:
    """Refuse a white reference that is unlike the earlier ones of the instrument.

    Args:
        dark: the counts of the dark reference of the pair `(bands,)`.
        white: the counts of the white one `(bands,)`.
        earlier: the counts of earlier whites with the same settings, each `(bands,)`; none if this
            is the first, which nothing can judge.

    Raises:
        ReferenceRefused: level or shape differ by more than `LEVEL_LIMIT` or `SHAPE_LIMIT`.
    """
    if not earlier:
        return
    # A median, so that no single earlier white decides.
    usual = median(np.array(earlier), axis=0) - dark
    bright = usual > _BRIGHT * usual.max()
    if not np.any(bright):
        return
    ratio = _smooth((white - dark)[bright] / usual[bright])
    level = float(median(ratio))
    if not level > 0.0:
        raise ReferenceRefused(
            "the white reference is no brighter than the dark one, and earlier ones were; switch "
            "the lamp on and put the white panel under the probe"
        )
    shape = float(np.max(np.abs(ratio / level - 1.0)))
    if level < _OTHER_LEVEL or shape > _OTHER_SHAPE:
        raise ReferenceRefused(
            f"the white reference has {level:.0%} of the earlier ones' light, in a shape that "
            f"differs by up to {shape:.0%}, so this was not the white panel; put the panel under "
            "the probe, with the lamp warm"
        )
    if abs(level - 1.0) > LEVEL_LIMIT or shape > SHAPE_LIMIT:
        raise ReferenceRefused(
            f"the white reference has {level:.0%} of the earlier ones' light, in a shape that "
            f"differs by up to {shape:.0%}; clean the panel, let the lamp warm up and hold the "
            "probe flat on the panel, or run with --accept-white if lamp or panel were replaced"
        )


def _smooth(values: Array) -> Array:
    """Return the running mean of values, shorter by what its ends lack."""
    width = min(_SMOOTHING, values.size)
    smoothed: Array = np.convolve(values, np.full(width, 1.0 / width), mode="valid")
    return smoothed
