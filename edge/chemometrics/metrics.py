"""Figures of merit of a calibration, over the soils whose property was measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from ccnvr.firmware_bridge.arrays import Array

# {library: {property: {figure: value}}}
AccuracyTable = dict[str, dict[str, dict[str, int | float | None]]]


@dataclass(frozen=True)
class Accuracy:
    """R2, RMSE, MAE, bias (mean of predicted - measured), RPIQ and RPD of `n` soils; None where `n`
    is too small.

    R2 = 1 - SSE/SST about the measured mean. RPIQ is the measured interquartile range over RMSE
    (Bellon-Maurel et al. 2010, TrAC 29:1073-1081), RPD the measured standard deviation (n - 1) over
    RMSE.
    """

    n: int
    r2: float | None
    rmse: float | None
    mae: float | None
    bias: float | None
    rpiq: float | None
    rpd: float | None

    def as_dict(self) -> dict[str, int | float | None]:
        """Rounded for people and files."""
        return {
            key: None if value is None else round(value, 4) for key, value in asdict(self).items()
        }


def accuracy(measured: Array, predicted: Array) -> Accuracy:
    """Compare `(n,)` values in one unit; soils with a NaN on either side are left out."""
    known = ~(np.isnan(measured) | np.isnan(predicted))
    measured, predicted = measured[known], predicted[known]
    if measured.size == 0:
        return Accuracy(0, None, None, None, None, None, None)
    error = predicted - measured
    rmse = float(np.sqrt(np.mean(error**2)))
    spread = float(np.sum((measured - measured.mean()) ** 2))
    quartile_low, quartile_high = np.percentile(measured, [25, 75])
    return Accuracy(
        n=int(measured.size),
        r2=1.0 - float(np.sum(error**2)) / spread if measured.size > 2 and spread > 0 else None,
        rmse=rmse,
        mae=float(np.mean(np.abs(error))),
        bias=float(np.mean(error)),
        rpiq=float(quartile_high - quartile_low) / rmse if measured.size > 3 and rmse > 0 else None,
        rpd=float(measured.std(ddof=1)) / rmse if measured.size > 2 and rmse > 0 else None,
    )


_COLUMNS = ("n", "r2", "rmse", "mae", "bias", "rpiq", "rpd")


def accuracy_table(table: AccuracyTable, of: str = "library") -> str:
    """{library: {property: {figure: value}}} as aligned text; `of` says what the rows are of, if
    not of libraries.
    """
    width = max(10, *(len(name) + 2 for name in (of, *table)))
    lines = [f"{of:<{width}}{'property':<10}" + "".join(f"{column:>9}" for column in _COLUMNS)]
    for library, properties in table.items():
        for name, figures in properties.items():
            cells = (
                "-" if figures.get(column) is None else f"{figures[column]:.4g}"
                for column in _COLUMNS
            )
            lines.append(f"{library:<{width}}{name:<10}" + "".join(f"{cell:>9}" for cell in cells))
    return "\n".join(lines)
