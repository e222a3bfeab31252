"""The median is that of NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from ccnvr.firmware_bridge.arrays import median


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_median_is_that_of_numpy(count: int, axis: int, rng: np.random.Generator) -> None:
    shape = (count, 3) if axis == 0 else (3, count)
    values = rng.normal(size=shape)
    some_missing = values.copy()
    some_missing[0, -1] = np.nan
    infinite = np.where(values > 1.0, np.inf, values)
    for one in (values, some_missing, infinite, (10.0 * values).astype(np.int64)):
        kept = one.copy()
        assert np.array_equal(median(one, axis), np.median(one, axis), equal_nan=True)
        assert np.array_equal(one, kept, equal_nan=True)
    assert float(median(values[0])) == np.median(values[0])


def test_nothing_has_no_median() -> None:
    assert np.isnan(median(np.array([])))
    assert np.isnan(median(np.empty((2, 0)))).tolist() == [True, True]
