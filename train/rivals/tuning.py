"""Tuning of a method by cross-validation inside its training soils, with Optuna.

Every method is tuned under the same budget.
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
from ccnvr.edge.typed import to_data
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.train.rivals.method import Configuration, Method

Groups = NDArray[np.int64]
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]

# A trial that failed otherwise, or that was interrupted, costs nothing and is made again.
_SPENT = (TrialState.COMPLETE, TrialState.PRUNED)


# Its text is part of the keys in the ledgers of experiments: a field added, or another name, would
# make them compute everything again.
@dataclass(frozen=True)
class Budget:
    """The budget for choosing a configuration, the same for each rival and property.

    Attributes:
        trials: the configurations to try.
        folds: the folds of the cross-validation that scores each of them.
        seconds: the time in trials after which none is begun, so that slow methods try fewer.
        seed: the seed of the folds and of the search.
    """

    trials: int
    folds: int
    seconds: float = 600.0
    seed: int = 1


@dataclass(frozen=True, eq=False)
class TuningSoils:
    """The soils that a method is tuned on.

    Attributes:
        grid: the wavelengths.
        spectra: absorbance `(n, bands)`.
        values: one property `(n,)` without NaN, or, for a method of several properties at once,
            `(n, k)` with NaN where not measured.
        groups: the number of each spectrum's soil `(n,)`; a soil stays on one side of a fold.
        scale: the transform of both values and predictions before R2 is taken; for several
            properties, that of each.
    """

    grid: Grid
    spectra: Array
    values: Array
    groups: Groups
    scale: str | tuple[str, ...] = "identity"


@dataclass(frozen=True)
class Tuned:
    """The best configuration found.

    Attributes:
        method: the name of the method.
        configuration: its best configuration.
        r2: R2 of that in cross-validation.
        trials: the trials spent.
        seconds: the time that they took.
    """

    method: str
    configuration: Configuration
    r2: float
    trials: int
    seconds: float


@dataclass(frozen=True, eq=False)
class _Problem:
    """Soils, the folds that configurations are scored in, and the seed of their fits."""

    soils: TuningSoils
    splits: tuple[Fold, ...]
    seed: int

    def fingerprint(self) -> str:
        """Return a digest of soils, folds and seed: trials of one problem share a study."""
        soils = self.soils
        digest = hashlib.sha256(json.dumps([*to_data(soils.grid).values(), self.seed]).encode())
        for array in (soils.spectra, soils.values, *(held_out for _, held_out in self.splits)):
            digest.update(np.ascontiguousarray(array).tobytes())
        # Not of the usual scale, so that searches from before there were others still resume.
        if soils.scale != "identity":
            digest.update(str(soils.scale).encode())
        return digest.hexdigest()[:16]


def group_folds(groups: Groups, folds: int, seed: int) -> tuple[Fold, ...]:
    """Return, for each fold, the rows to train on and the rows held out.

    Spectra of one group `(n,)` are never on both sides.

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
    soils: TuningSoils,
    budget: Budget,
    storage: str | None = None,
    on_trial: Callable[[int, float | None], None] = lambda done, best: None,
) -> Tuned:
    """Search the configurations of a method, each scored in cross-validation.

    The score is R2 of the pooled out-of-fold predictions on the soils' scale, or its mean over
    several properties. The result depends on the seed and on nothing else, unless time runs out or
    processes share a storage.

    Args:
        method: what to tune.
        soils: the soils to tune it on.
        budget: trials, folds, time and seed.
        storage: an Optuna URL, such as sqlite:///tuning.db. Trials in it count, so that the search
            resumes, and several processes may share it.
        on_trial: called after each trial with the number spent and the best R2.

    Raises:
        UsageError: there are fewer groups than folds, no trial, or a missing value.
        CcnvrError: no configuration could be fitted.
    """
    if budget.trials < 1 or (soils.values.ndim == 1 and np.isnan(soils.values).any()):
        raise UsageError(
            f"{budget.trials} trials and {np.isnan(soils.values).sum()} missing values; give 1 or "
            "more trials and no missing value"
        )
    splits = group_folds(soils.groups, budget.folds, budget.seed)
    problem = _Problem(soils, splits, budget.seed)
    study = _open_study(method, problem, storage)
    while (done := _spent(study)) < budget.trials and (
        # At least one trial, so that each method has a configuration however slow it is.
        done == 0 or _seconds(study) < budget.seconds
    ):
        # A sampler of its own for each trial, so that a search that is interrupted and resumed
        # draws the same configurations as one that is not.
        study.sampler = optuna.samplers.TPESampler(seed=_seed(budget.seed, len(study.trials)))
        # One at a time: Optuna's own limits do not count what was spent before a search was
        # resumed.
        study.optimize(lambda trial: _score(method, trial, problem), n_trials=1)
        on_trial(done + 1, _best(study))
    return _tuned(method, study)


def _open_study(method: Method, problem: _Problem, storage: str | None) -> optuna.Study:
    """Return the study of a problem, new or resumed, whose first trial is the method's default."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        # The name holds a digest of the soils, so that trials on others are never resumed.
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
    return study


def _score(method: Method, trial: Trial, problem: _Problem) -> float:
    """Return R2 of the best calibration that a trial's fits yield.

    Its configuration is kept with the trial.
    """
    soils = problem.soils
    configuration = method.suggest(trial, soils.grid.bands, len(soils.values))
    try:
        found = cross_validate(method, configuration, soils, problem.splits, problem.seed)
    # A configuration that cannot be fitted costs a trial and does not end the search. An SVD that
    # does not converge is a ValueError.
    except (ValueError, ArithmeticError, CcnvrError) as error:
        trial.set_user_attr("failed", f"{type(error).__name__}: {error}")
        raise optuna.TrialPruned from error
    scores = [_r2(soils, predicted) for _, predicted in found]
    r2, chosen = max(
        (-np.inf if score is None else score, index) for index, score in enumerate(scores)
    )
    if not np.isfinite(r2):
        trial.set_user_attr("failed", "predictions are not finite, or the property is constant")
        raise optuna.TrialPruned
    trial.set_user_attr("configuration", found[chosen][0])
    return r2


def _r2(soils: TuningSoils, predicted: Array) -> float | None:
    """Return R2 `(n,)`, or its mean over properties `(n, k)`; None where it is not defined."""
    if not np.isfinite(predicted).all():
        return None
    values, found = np.atleast_2d(soils.values.T), np.atleast_2d(predicted.T)
    scales = (soils.scale,) * len(values) if isinstance(soils.scale, str) else soils.scale
    scores = [
        accuracy(_scaled(measured, scale), _scaled(column, scale)).r2
        for measured, column, scale in zip(values, found, scales, strict=True)
    ]
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if len(known) == len(scores) else None


def _scaled(values: Array, scale: str) -> Array:
    # A negative prediction of a concentration counts as 0.
    return np.log1p(np.maximum(values, 0.0)) if scale == "log1p" else values


def cross_validate(
    method: Method,
    configuration: Configuration,
    soils: TuningSoils,
    splits: tuple[Fold, ...],
    seed: int,
) -> list[tuple[Configuration, Array]]:
    """Predict each soil by a calibration that did not see it.

    Returns:
        Each configuration of the family that a fit yields, with its out-of-fold predictions, which
        are shaped as `soils.values`.
    """
    spectra, values = soils.spectra, soils.values
    configurations: list[Configuration] = []
    predicted: list[Array] = []
    for train, held_out in splits:
        family = method.fit_family(configuration, soils.grid, spectra[train], values[train], seed)
        for index, (member, predict) in enumerate(family):
            if index == len(predicted):
                configurations.append(member)
                predicted.append(np.full(values.shape, np.nan))
            # Pooled over folds instead of averaging an R2 for each: a fold of few soils has an R2
            # that swings.
            predicted[index][held_out] = predict(spectra[held_out])
    return list(zip(configurations, predicted, strict=True))


def _seed(seed: int, number: int) -> int:
    """Return the seed of a trial's sampler."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _spent(study: optuna.Study) -> int:
    """Return the number of trials that ended; one that was interrupted is tried again."""
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
