"""The shape of the code stays within the limits that `tools.house` states."""

from __future__ import annotations

import pytest

from tests.support.helpers import ROOT
from tools.house import Shape, measure, problems

# Each stands for two things that never meet in one module, and that the field calls by one name.
TWICE = {
    "Fault": "of a line or instrument that is simulated, and of a spectrum that is no soil's",
    "Frame": "of the link, and of SQLite's write-ahead log",
    "Kernel": "as a training recipe states it, and as the NumPy engine computes it",
    "Reading": "one acquisition of an instrument, and how a file was understood",
}


@pytest.fixture(scope="module")
def shape() -> Shape:
    return measure(ROOT)


def test_the_code_keeps_the_limits(shape: Shape) -> None:
    assert problems(shape) == []


def test_a_name_stands_for_two_classes_only_for_a_reason(shape: Shape) -> None:
    assert set(shape.repeated_classes) == set(TWICE)
