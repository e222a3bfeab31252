"""Tunes a method by cross-validation within the training soils: Optuna searches, every method under
the same budget.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import Trial, TrialState
from sklearn.model_selection import GroupKFold

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.metrics import accuracy
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.train.rivals.method import Configuration, Method

Groups = NDArray[np.int64]
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]

_SPENT = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Tuned:
    """The best configuration found, with its cross-validated R2, the trials spent, and the seconds
    that they took.
    """

    method: str
    configuration: Configuration
    r2: float
    trials: int
    seconds: float


@dataclass(frozen=True)
class _Problem:
    grid: Grid
    spectra: Array
    values: Array
    splits: tuple[Fold, ...]
    seed: int

    def fingerprint(self) -> str:
        """The same for the same soils, folds and seed: only then may trials be added to a study."""
        digest = hashlib.sha256(json.dumps([*vars(self.grid).values(), self.seed]).encode())
        for array in (self.spectra, self.values, *(held_out for _, held_out in self.splits)):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def group_folds(groups: Groups, folds: int, seed: int) -> tuple[Fold, ...]:
    """Rows to train on and rows held out, `folds` times; soils of one group `(n,)` are never on
    both sides.

    Raises:
        UsageError: there are fewer groups than folds.
    """
    found = np.unique(groups).size
    if not 2 <= folds <= found:
        raise UsageError(
            f"{folds} folds cannot be made of {found} groups of soils; give 2 to {found} folds"
        )
    splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    return tuple(splitter.split(np.zeros((len(groups), 1)), groups=groups))


def tune(
    method: Method,
    grid: Grid,
    spectra: Array,
    values: Array,
    groups: Groups,
    *,
    trials: int,
    folds: int,
    seed: int,
    seconds: float = float("inf"),
    storage: str | None = None,
    on_trial: Callable[[int, float | None], None] = lambda done, best: None,
) -> Tuned:
    """Search the configurations of a method on absorbance `(n, bands)` and one property `(n,)`
    without NaN.

    For a method of several properties at once, `values` is `(n, k)` with NaN where not measured,
    and the score a mean.

    A configuration's score is R2 of the pooled out-of-fold predictions in the property's unit. No
    trial is begun after `seconds` of them. `storage` is an Optuna URL, as sqlite:///tuning.db:
    trials in it count, so the search resumes, and several processes may share it. The result
    depends on the seed and on nothing else, unless time runs out or processes share. `on_trial`
    gets the trials spent and the best R2.

    Raises:
        UsageError: fewer groups than folds, no trial, or a value is NaN.
        CcnvrError: no configuration could be fitted.
    """
    if trials < 1 or (values.ndim == 1 and np.isnan(values).any()):
        raise UsageError(
            f"{trials} trials and {np.isnan(values).sum()} missing values; give 1 or more trials "
            "and no missing value"
        )
    problem = _Problem(grid, spectra, values, group_folds(groups, folds, seed), seed)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=f"{method.name}-{problem.fingerprint()}",
        storage=storage,
        direction="maximize",
        load_if_exists=True,
    )
    if not any(
        trial.user_attrs.get("first") and trial.state in (*_SPENT, TrialState.WAITING)
        for trial in study.trials
    ):
        study.enqueue_trial(method.first, user_attrs={"first": True})
    while (done := _spent(study)) < trials and (done == 0 or _seconds(study) < seconds):
        # A sampler of its own for each trial: a search that is cut and resumed draws what it would
        # have drawn.
        study.sampler = optuna.samplers.TPESampler(seed=_seed(seed, len(study.trials)))
        study.optimize(lambda trial: _score(method, trial, problem), n_trials=1)
        on_trial(done + 1, _best(study))
    return _tuned(method, study)


def _score(method: Method, trial: Trial, problem: _Problem) -> float:
    """R2 of the best calibration that a trial's fits yield; its configuration is kept with the
    trial.
    """
    grid, spectra, values, splits, seed = (
        problem.grid,
        problem.spectra,
        problem.values,
        problem.splits,
        problem.seed,
    )
    configuration = method.suggest(trial, grid.bands, len(values))
    try:
        found = cross_validate(method, configuration, grid, spectra, values, splits, seed)
    except (
        ValueError,
        ArithmeticError,
        CcnvrError,
    ) as error:  # an SVD that does not converge is a ValueError
        trial.set_user_attr("failed", f"{type(error).__name__}: {error}")
        raise optuna.TrialPruned from error
    scores = [_r2(values, predicted) for _, predicted in found]
    r2, chosen = max(
        (-np.inf if score is None else score, index) for index, score in enumerate(scores)
    )
    if not np.isfinite(r2):
        trial.set_user_attr("failed", "predictions are not finite, or the property is constant")
        raise optuna.TrialPruned
    trial.set_user_attr("configuration", found[chosen][0])
    return r2


def _r2(values: Array, predicted: Array) -> float | None:
    """R2 `(n,)`, or its mean over properties `(n, k)`; None where there is none."""
    if not np.isfinite(predicted).all():
        return None
    columns = zip(np.atleast_2d(values.T), np.atleast_2d(predicted.T), strict=True)
    scores = [accuracy(measured, found).r2 for measured, found in columns]
    return (
        float(np.mean([score for score in scores if score is not None]))
        if None not in scores
        else None
    )


def cross_validate(
    method: Method,
    configuration: Configuration,
    grid: Grid,
    spectra: Array,
    values: Array,
    splits: tuple[Fold, ...],
    seed: int,
) -> list[tuple[Configuration, Array]]:
    """Out-of-fold predictions, shaped as `values`, of each calibration of a
    configuration's family.
    """
    configurations: list[Configuration] = []
    predicted: list[Array] = []
    for train, held_out in splits:
        family = method.fit_family(configuration, grid, spectra[train], values[train], seed)
        for index, (member, predict) in enumerate(family):
            if index == len(predicted):
                configurations.append(member)
                predicted.append(np.full(values.shape, np.nan))
            predicted[index][held_out] = predict(spectra[held_out])
    return list(zip(configurations, predicted, strict=True))


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _spent(study: optuna.Study) -> int:
    return sum(trial.state in _SPENT for trial in study.trials)


def _seconds(study: optuna.Study) -> float:
    return sum(
        trial.duration.total_seconds() for trial in study.trials if trial.duration is not None
    )


def _best(study: optuna.Study) -> float | None:
    return max((trial.value for trial in study.trials if trial.value is not None), default=None)


def _tuned(method: Method, study: optuna.Study) -> Tuned:
    spent = [trial for trial in study.trials if trial.state in _SPENT]
    if _best(study) is None:
        reason = next(
            (trial.user_attrs["failed"] for trial in spent if "failed" in trial.user_attrs),
            "unknown",
        )
        raise CcnvrError(
            f"none of {len(spent)} configurations of {method.name} could be fitted (the first: "
            f"{reason})"
        )
    best = study.best_trial
    return Tuned(
        method.name, best.user_attrs["configuration"], study.best_value, len(spent), _seconds(study)
    )
