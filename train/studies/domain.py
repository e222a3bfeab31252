"""The shares of spectra that the domain of a finished run flags, and that it is sure of.

The spectra are those of soils like the run's own, of unknown libraries, and of materials that are
no dry soil. No network is needed or trained. `domain_table` gives figures for a file, `domain_text`
a table to read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import Domain
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import domain as domains
from ccnvr.train.calibration import folds
from ccnvr.train.calibration.domain import FittedDomain, Positions
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries.published import r_packages
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.studies import materials
from ccnvr.train.studies.intervals import HELD_OUT

Table = dict[str, Any]

FOLDS = 5
"""The folds of the study. No network takes part, so they need not be the run's; a run of two folds
would leave none to take limits from.
"""

# A share of 4 % is then known to about 1 %.
SPECTRA = 300
"""The number of spectra that are simulated of each material."""


@dataclass(frozen=True, eq=False)
class _Study:
    """Training soils in folds, from which domains are fitted."""

    soils: Soils
    fold_of: Integers
    correction: Correction | None

    def fit(self, known: NDArray[np.bool_]) -> FittedDomain | None:
        """Fit a domain to the soils of the mask `known`; None where they are too few for one."""
        names = [library for library, kept in zip(self.soils.origin, known, strict=True) if kept]
        return domains.fit(
            self.soils.grid,
            self.soils.spectra[known],
            names,
            self.fold_of[known],
            self.correction,
            strict=True,
        )

    def located(self, domain: Domain, spectra: Array) -> Positions:
        """Return the positions of spectra in a domain."""
        return domains.positions(domain, self.soils.grid, spectra, self.correction)

    def located_by(self, known: NDArray[np.bool_], spectra: Array) -> Positions:
        """Return the positions of spectra in a domain of the soils in `known`.

        All of them lie outside where these soils are too few for a domain.
        """
        fitted = self.fit(known)
        if fitted is None:
            none = np.zeros(len(spectra), dtype=int)
            return Positions(none, np.full(len(spectra), np.inf), none.astype(bool))
        return self.located(fitted.domain, spectra)


def domain_table(folder: Path) -> Table:
    """Return the shares of spectra that the domain of a finished run flags, and is sure of.

    A strict domain is fitted whether the run has one or not. Each held-out fold, and each library
    left out, is judged by a domain that never saw it.

    Raises:
        UsageError: the folder holds no run of `ccnvr train`, or its libraries are too small for a
            domain.
    """
    recipe, calibration, report = run_folder.load_trained(folder)
    soils = run_folder.training_soils(folder, recipe, report)
    fold_of = folds.fold_of(soils, FOLDS, recipe.fit.seed)
    study = _Study(soils, fold_of, calibration.correction)
    fitted = study.fit(np.ones(len(soils), dtype=bool))
    if fitted is None:
        raise UsageError(
            f"no library of the run has {domains.FEWEST_SOILS} soils, so it has no domain; add "
            "soils and train again"
        )
    table: Table = {
        "nominal": domains.FALSE_ALARMS,
        "false alarms on held-out folds": _false_alarms(study),
    }
    tests = load_soils(recipe.tests, recipe)
    if tests.sample_ids:
        found = study.located(fitted.domain, tests.spectra)
        table[HELD_OUT] = {"all": _share(found), **_by_library(found, tests.origin)}
    table["libraries left out of training"] = _left_out(study)
    return {**table, **_no_dry_soils(study, fitted.domain)}


def _false_alarms(study: _Study) -> Table:
    """Return how a domain of the other folds judges the soils of each held-out fold."""
    count = len(study.soils)
    nearest, distance, sure = (
        np.zeros(count, dtype=int),
        np.zeros(count),
        np.zeros(count, dtype=bool),
    )
    for fold in np.unique(study.fold_of):
        held_out = study.fold_of == fold
        found = study.located_by(~held_out, study.soils.spectra[held_out])
        nearest[held_out], distance[held_out], sure[held_out] = (
            found.nearest,
            found.distance,
            found.sure,
        )
    every = Positions(nearest, distance, sure)
    return {"all": _share(every), **_by_library(every, study.soils.origin)}


def _left_out(study: _Study) -> Table:
    """Return how a domain of the other libraries judges the soils of each library."""
    origin = np.array(study.soils.origin)
    return {
        library: _share(study.located_by(origin != library, study.soils.spectra[origin == library]))
        for library in dict.fromkeys(study.soils.origin)
        if np.any(origin != library)
    }


def _no_dry_soils(study: _Study, domain: Domain) -> Table:
    """Return the flagged shares of simulated materials, and of the moisture set if it is here."""
    # One generator for all materials: their order in MATERIALS is part of the result.
    grid, rng = study.soils.grid, np.random.default_rng(1)
    table: Table = {
        "simulated materials": {
            name: _share(study.located(domain, make(grid.wavelengths(), SPECTRA, rng)))
            for name, make in materials.MATERIALS.items()
        }
    }
    if (moisture := r_packages.moisture_at_hand(grid)) is not None:
        table["moisture set"] = {
            state: _share(study.located(domain, spectra)) for state, spectra in moisture.items()
        }
        # The geeves library holds the same soils, measured when air-dry.
        table["moisture set's soils trained on when dry"] = "geeves" in study.soils.origin
    return table


def domain_text(table: Table) -> str:
    """Return the table as text, with a line for each kind of spectrum."""
    lines = [f"{'share flagged, and surely known':<34}{'':<18}{'n':>6}{'flagged':>10}{'sure':>10}"]
    for title, rows in table.items():
        if isinstance(rows, dict):
            lines.extend(
                f"{title:<34}{name:<18}{row['n']:>6}{row['flagged']:>10}{row['sure']:>10}"
                for name, row in rows.items()
            )
    return "\n".join(lines)


def _share(found: Positions) -> Table:
    return {
        "n": int(found.distance.size),
        # A distance is relative to its limit.
        "flagged": round(float(np.mean(found.distance > 1.0)), 3),
        "sure": round(float(np.mean(found.sure)), 3),
    }


def _by_library(found: Positions, origin: list[str]) -> Table:
    names = np.array(origin)
    return {library: _share(found[names == library]) for library in dict.fromkeys(origin)}
