"""Which mistakes the numbers of dark and white references show, and which they do not."""

from __future__ import annotations

import numpy as np
import pytest

from ccnvr.edge.quality.reference_checks import ReferenceRefused, check_dark, check_white
from ccnvr.firmware_bridge.simulators.bench import lamp_times_efficiency

NM = np.linspace(1100.0, 2500.0, 256)
SIGNAL = 40_000.0 * lamp_times_efficiency(NM, 2_450.0)
NOISE = np.random.default_rng(1).standard_normal((2, 256)) * 5.0
DARK = 2_100.0 + NOISE[0]
WHITE = DARK + SIGNAL


@pytest.mark.parametrize("share", [0.0, 0.015])
def test_a_dark_without_light_passes(share: float) -> None:
    check_dark(DARK + share * SIGNAL, WHITE)


@pytest.mark.parametrize("share", [0.03, 0.3])
def test_a_dark_with_light_is_refused(share: float) -> None:
    with pytest.raises(ReferenceRefused, match=rf"contains {share:.0%} of the white's light"):
        check_dark(DARK + share * SIGNAL, WHITE)


def test_the_pattern_of_a_detector_is_no_light() -> None:
    pattern = 1_500.0 * np.random.default_rng(2).standard_normal(256)
    check_dark(DARK + pattern, WHITE + pattern)
    check_dark(np.full(256, 7.0), WHITE)
    check_dark(DARK, np.full(256, 7.0))


@pytest.mark.parametrize("level", [0.92, 1.0, 1.08])
def test_a_white_like_the_earlier_ones_passes(level: float) -> None:
    check_white(DARK, DARK + level * SIGNAL + NOISE[1], [WHITE, WHITE + 20.0, WHITE - 20.0])


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (0.85, "clean the panel, let the lamp warm up"),
        (1.15, "run with --accept-white if lamp or panel were replaced"),
        (1.0 - 0.05 * (NM - 1100.0) / 1400.0, "in a shape that differs by up to"),
        (0.4, "not the white panel; put the panel under the probe"),
        (0.8 - 0.3 * (NM - 1100.0) / 1400.0, "not the white panel"),
        (0.0, "switch the lamp on"),
        (-0.1, "switch the lamp on"),
    ],
)
def test_a_white_unlike_the_earlier_ones_is_refused(factor: object, words: str) -> None:
    white = DARK + np.asarray(factor) * SIGNAL
    with pytest.raises(ReferenceRefused, match=words):
        check_white(DARK, white, [WHITE])


def test_one_odd_white_among_the_earlier_ones_does_not_decide() -> None:
    check_white(DARK, WHITE, [WHITE, DARK + 0.3 * SIGNAL, WHITE])


def test_the_first_white_and_one_of_no_light_have_nothing_to_be_compared_with() -> None:
    check_white(DARK, DARK + 0.1 * SIGNAL, [])
    check_white(DARK, WHITE, [DARK])
