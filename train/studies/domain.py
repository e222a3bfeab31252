"""What share of spectra the domain of a finished run flags: soils like its own, unknown libraries,
and what is no dry soil.

`domain_table` takes the folder of a `ccnvr train` and gives figures for a file; `domain_text` turns
them into a table for people. No network is needed or trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import Domain
from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import domain as domains
from ccnvr.train.calibration import folds
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries import r_packages
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.studies import materials
from ccnvr.train.studies.intervals import HELD_OUT

Table = dict[str, Any]

FOLDS = 5
"""No network takes part, so the folds need not be the run's; a run of two would leave none to take
limits from.
"""

SPECTRA = 300
"""Simulated of each material."""


def domain_table(folder: Path) -> Table:
    """What share of spectra a domain flags: of soils like the training soils, of unknown libraries,
    of what is no dry soil.

    Raises:
        UsageError: the folder holds no run of `ccnvr train`, or its libraries are too small for a
            domain.
    """
    recipe, calibration, report = run_folder.load_trained(folder)
    pool, held_out = (
        run_folder.training_soils(folder, recipe, report),
        load_soils(recipe.tests, recipe),
    )
    return flagged_shares(
        recipe.grid,
        pool,
        folds.fold_of(pool, FOLDS, recipe.fit.seed),
        held_out,
        calibration.correction,
    )


def flagged_shares(
    grid: Grid,
    pool: Soils,
    fold_of: Integers,
    held_out: Soils,
    correction: Correction | None = None,
) -> Table:
    """As `domain_table`, for soils on a grid in folds; each held-out fold is judged by a domain
    that never saw it.
    """

    def flagged(domain: Domain, spectra: Array) -> NDArray[np.bool_]:
        outside: NDArray[np.bool_] = (
            domains.positions(domain, grid, spectra, correction).distance > 1.0
        )
        return outside

    def unlike(known: NDArray[np.bool_], spectra: Array) -> NDArray[np.bool_]:
        """Which spectra a domain of the known soils flags; all of them where these are too few for
        one.
        """
        names = [library for library, kept in zip(pool.origin, known, strict=True) if kept]
        of_known = domains.fit(grid, pool.spectra[known], names, fold_of[known], correction)
        return (
            np.ones(len(spectra), dtype=bool)
            if of_known is None
            else flagged(of_known.domain, spectra)
        )

    fitted = domains.fit(grid, pool.spectra, pool.origin, fold_of, correction)
    if fitted is None:
        raise UsageError(
            f"no library of the run has {domains.FEWEST_SOILS} soils, so it has no domain; add "
            "soils and train again"
        )
    origin = np.array(pool.origin)
    outside = np.zeros(len(origin), dtype=bool)
    for fold in np.unique(fold_of):
        outside[fold_of == fold] = unlike(fold_of != fold, pool.spectra[fold_of == fold])
    table: Table = {
        "nominal": domains.FALSE_ALARMS,
        "false alarms on held-out folds": {
            "all": _share(outside),
            **_by_library(outside, pool.origin),
        },
    }
    if held_out.sample_ids:
        outside = flagged(fitted.domain, held_out.spectra)
        table[HELD_OUT] = {"all": _share(outside), **_by_library(outside, held_out.origin)}
    table["libraries left out of training"] = {
        library: _share(unlike(origin != library, pool.spectra[origin == library]))
        for library in dict.fromkeys(pool.origin)
        if np.any(origin != library)
    }
    rng = np.random.default_rng(1)
    table["simulated materials"] = {
        name: _share(flagged(fitted.domain, make(grid.wavelengths(), SPECTRA, rng)))
        for name, make in materials.MATERIALS.items()
    }
    if (moisture := r_packages.moisture_at_hand(grid)) is not None:
        table["moisture set"] = {
            state: _share(flagged(fitted.domain, spectra)) for state, spectra in moisture.items()
        }
        table["moisture set's soils trained on when dry"] = "geeves" in pool.origin
    return table


def domain_text(table: Table) -> str:
    """A line for each kind of spectrum."""
    lines = [f"{'flagged as out of domain':<34}{'':<18}{'n':>6}{'share':>10}"]
    for title, rows in table.items():
        if isinstance(rows, dict):
            lines.extend(
                f"{title:<34}{name:<18}{row['n']:>6}{row['flagged']:>10}"
                for name, row in rows.items()
            )
    return "\n".join(lines)


def _share(outside: NDArray[np.bool_]) -> Table:
    return {"n": int(outside.size), "flagged": round(float(np.mean(outside)), 3)}


def _by_library(outside: NDArray[np.bool_], origin: list[str]) -> Table:
    names = np.array(origin)
    return {library: _share(outside[names == library]) for library in dict.fromkeys(origin)}
