"""What a run of the daemon begins with, and what it ends with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from ccnvr.edge.daemon.config import Config
from ccnvr.edge.inference.models import Model, load_bundle, properties_of
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.quality.verdict import check_tolerances
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.firmware_bridge.instrument import LinkStatistics

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Setup:
    """A configuration with its model."""

    config: Config
    model: Model

    @classmethod
    def of(cls, config: Config) -> Self:
        """Open the model that a configuration names.

        Raises:
            CcnvrError: the bundle cannot be used, or predicts no property for which a tolerance is
                stated.
        """
        model = load_bundle(
            config.model.bundle, config.model.engine, config.model.profile, tell=_LOG.info
        )
        check_tolerances(config.accept, properties_of(model), f"bundle {config.model.bundle}")
        if isinstance(model, ProvedModel):
            _LOG.info("engine %s", model.choice)
        return cls(config, model)


def reloaded(setup: Setup, reload: Callable[[], Config] | None) -> Setup:
    """Return the setup to go on with after SIGHUP: the former one if the new one is wrong."""
    if reload is None:
        _LOG.info("SIGHUP: there is no configuration file to read again; going on")
        return setup
    try:
        # The bundle is read again as well, because its file may be another one now.
        fresh = Setup.of(reload())
    except CcnvrError as error:
        _LOG.error("SIGHUP: %s; going on with the former configuration", error)
        return setup
    _LOG.info("SIGHUP: the configuration was read again")
    return fresh


__all__ = ["LinkStatistics", "RunSummary", "Setup", "reloaded"]
