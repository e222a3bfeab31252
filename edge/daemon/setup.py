"""What a run of the daemon begins with, and what it ends with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Self

from ccnvr.edge.daemon.config import Config
from ccnvr.edge.inference.models import Model, load_bundle, properties_of
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.quality.verdict import check_tolerances
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.instrument import LinkStatistics

_LOG = logging.getLogger(__name__)


@frozen
class RunSummary:
    """The number of scans that a run predicted, the statistics of its link, and repairs.

    `stored_before` of the scans were in the store already, as when a recording is replayed, and so
    are not delivered again.
    """

    predicted: int
    statistics: LinkStatistics
    repairs: int = 0
    stored_before: int = 0

    def __str__(self) -> str:
        known = (
            f", {self.stored_before} of them in the store already, so they are not shown again"
            if self.stored_before
            else ""
        )
        return f"{self.predicted} scans predicted{known}; {self.statistics}"


class ModelSource:
    """The source of the daemon's model: the bundle that the configuration names.

    `updates.trial` has one that tries new bundles.

    Args:
        reload: returns the configuration to go on with after SIGHUP; None goes on with the same.
    """

    def __init__(self, reload: Callable[[], Config] | None = None) -> None:
        self.reload = reload

    def open(self, config: Config) -> Model:
        """Open the model to go on with.

        Raises:
            CcnvrError: the bundle cannot be used, or predicts no property for which a tolerance is
                stated.
        """
        return open_model(config, config.model.bundle)

    def went_back(self, model: Model) -> None:
        """Take note that the daemon goes on with the model before the one that was opened last."""

    @property
    def renewed(self) -> bool:
        """Whether there is another model than the one that runs."""
        return False

    def succeeded(self, prediction: Prediction) -> None:
        """Take note of a prediction that was committed."""

    def failed(self, error: CcnvrError) -> bool:
        """Take note of an error that ended a round; return whether another model may do better."""
        return False


def open_model(config: Config, bundle: str) -> Model:
    """Open a bundle with a configuration's engine and tolerances; see `ModelSource.open`."""
    model = load_bundle(bundle, config.model.engine, config.model.profile, tell=_LOG.info)
    check_tolerances(config.accept, properties_of(model), f"bundle {bundle}")
    if isinstance(model, ProvedModel):
        _LOG.info("engine %s", model.choice)
    return model


@frozen
class Setup:
    """A configuration with its model, and the source that the model is from."""

    config: Config
    model: Model
    source: ModelSource

    @classmethod
    def of(cls, config: Config, source: ModelSource) -> Self:
        """Open the model that a configuration names.

        Raises:
            CcnvrError: see `ModelSource.open`.
        """
        return cls(config, source.open(config), source)


def reloaded(setup: Setup, hung_up: bool) -> Setup:
    """Return the setup to go on with after SIGHUP or with a new model, or the former one.

    Args:
        setup: the former setup; it is returned if the new one is wrong.
        hung_up: whether SIGHUP asked for the configuration to be read again.
    """
    renewed, reload = setup.source.renewed, setup.source.reload if hung_up else None
    if hung_up and reload is None:
        _LOG.info("SIGHUP: there is no configuration file to read again; going on")
    asked = ["SIGHUP"] * (reload is not None) + ["a new bundle"] * renewed
    if not asked:
        return setup
    why = " and ".join(asked)
    try:
        # The bundle is read again as well, because its file may be another one now.
        config = setup.config if reload is None else reload()
        fresh = Setup.of(config, setup.source)
    except CcnvrError as error:
        # A new bundle that was asked for as well is found again, and taken without the rest.
        _LOG.error("%s: %s; going on with the former configuration", why, error)
        return setup
    _LOG.info("%s: the %s was read again", why, "configuration" if reload else "model")
    return fresh


__all__ = ["LinkStatistics", "ModelSource", "RunSummary", "Setup", "reloaded"]
