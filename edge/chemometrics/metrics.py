"""Figures of merit of a calibration, from measured and predicted values."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.frozen import frozen

AccuracyTable = dict[str, dict[str, dict[str, int | float | None]]]
"""Accuracy as `{library: {property: {figure: value}}}`."""


@frozen
class Accuracy:
    """R2, RMSE, MAE, bias, RPIQ and RPD of `n` soils; a figure is None if `n` is too small for it.

    R2 is 1 - SSE/SST about the measured mean. The bias is the mean of predicted minus measured.
    RPIQ is the interquartile range of the measured values divided by the RMSE (Bellon-Maurel et al.
    2010, TrAC 29:1073-1081), RPD their standard deviation (n - 1) divided by the RMSE.
    """

    n: int
    r2: float | None
    rmse: float | None
    mae: float | None
    bias: float | None
    rpiq: float | None
    rpd: float | None

    def as_dict(self) -> dict[str, int | float | None]:
        """Return the figures rounded to four decimals, for tables and files."""
        return {
            key: None if value is None else round(value, 4) for key, value in asdict(self).items()
        }


def accuracy(measured: Array, predicted: Array) -> Accuracy:
    """Return the accuracy of predictions `(n,)`, in the unit of the measured values `(n,)`.

    Soils with NaN in either are left out.
    """
    known = ~(np.isnan(measured) | np.isnan(predicted))
    measured, predicted = measured[known], predicted[known]
    if measured.size == 0:
        return Accuracy(0, None, None, None, None, None, None)
    error = predicted - measured
    rmse = float(np.sqrt(np.mean(error**2)))
    spread = float(np.sum((measured - measured.mean()) ** 2))
    # Ratios are left out where they are undefined: if all measured values, or all errors, are zero
    # or equal.
    quartile_low, quartile_high = np.percentile(measured, [25, 75])
    return Accuracy(
        n=int(measured.size),
        # With two soils the spread is a single difference, so that R2 would say nothing.
        r2=1.0 - float(np.sum(error**2)) / spread if measured.size > 2 and spread > 0 else None,
        rmse=rmse,
        mae=float(np.mean(np.abs(error))),
        bias=float(np.mean(error)),
        rpiq=float(quartile_high - quartile_low) / rmse if measured.size > 3 and rmse > 0 else None,
        rpd=float(measured.std(ddof=1)) / rmse if measured.size > 2 and rmse > 0 else None,
    )


_COLUMNS = ("n", "r2", "rmse", "mae", "bias", "rpiq", "rpd")


def accuracy_table(table: AccuracyTable, of: str = "library") -> str:
    """Return the table as aligned text; `of` is the title of the first column."""
    width = max(10, *(len(name) + 2 for name in (of, *table)))
    names = [name for properties in table.values() for name in properties]
    wide = max(10, *(len(name) + 2 for name in ("", *names)))
    lines = [f"{of:<{width}}{'property':<{wide}}" + "".join(f"{column:>9}" for column in _COLUMNS)]
    for library, properties in table.items():
        for name, figures in properties.items():
            cells = (
                "-" if figures.get(column) is None else f"{figures[column]:.4g}"
                for column in _COLUMNS
            )
            lines.append(
                f"{library:<{width}}{name:<{wide}}" + "".join(f"{cell:>9}" for cell in cells)
            )
    return "\n".join(lines)
