"""The half widths that a bundle's card states are those that its soils would get."""

from __future__ import annotations

import numpy as np

from ccnvr.edge.chemometrics.targets import Difficulty, Target
from ccnvr.train.calibration.half_widths import half_width_quantiles


def test_they_are_quantiles_in_the_unit_of_the_property_over_measured_soils() -> None:
    wider_with_value = Difficulty(0.0, np.log(2.0), 0.0, (), reach=2.0)
    targets = (
        Target("OC", "g/kg", "identity", 10.0, 5.0, 0.0, 99.0, 0.4, wider_with_value, 1.0),
        Target("pH", "pH", "identity", 6.0, 1.0, 3.0, 9.0),
        Target("N", "g/kg", "identity", 1.0, 1.0, 0.0, 9.0, 0.5),
    )
    predicted = np.array([[5.0, 6.0, 1.0], [10.0, 6.0, 1.0], [15.0, 6.0, 1.0], [40.0, 6.0, 1.0]])
    measured = np.array([[5.0, 6.0, 1.0]] * 3 + [[np.nan] * 3])
    found = half_width_quantiles(targets, measured, predicted, None)
    # Without an interval there is nothing to state, and unmeasured soils do not count.
    assert list(found) == ["OC", "N"]
    known = found["OC"]["known"]
    assert (known[0], known[10], known[-1]) == (1.0, 2.0, 4.0)
    assert set(found["OC"]["new"]) == {5.0}
    assert set(found["N"]["known"]) == {0.5} and "new" not in found["N"]
