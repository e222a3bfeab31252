"""The trial of a new bundle by the daemon: it is proved on stored spectra, then by its first scans.

A bundle that fails goes back to its folder with the reason, and the former one goes on; no scan is
lost by that, because a scan that was not predicted was not committed, and the instrument keeps it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ccnvr.edge.bundle.archive import BundleError
from ccnvr.edge.chemometrics.grid import WavelengthError
from ccnvr.edge.daemon.config import Config
from ccnvr.edge.daemon.setup import ModelSource, open_model
from ccnvr.edge.inference.models import Model
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.service.run_signals import RunSignals
from ccnvr.edge.storage.health import Patience
from ccnvr.edge.storage.trouble import StoreError
from ccnvr.edge.updates.slots import (
    TRIAL_PREDICTIONS,
    Slots,
    SlotState,
    Stamp,
    is_folder_of_slots,
    version_of,
)
from ccnvr.edge.updates.stored_spectra import USELESS, check_on_stored
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError

_LOG = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0


@dataclass
class _Opened:
    """A model that was opened; one of a slot has a stamp, and predictions left in its trial."""

    model: Model
    bundle: str
    slots: Slots | None = None
    stamp: Stamp | None = None
    left: int = 0

    @property
    def version(self) -> str:
        """The version of the bundle; "" for the family of default bundles."""
        return version_of(self.model.bundle) if isinstance(self.model, ProvedModel) else ""


class SlotModels(ModelSource):
    """The models of a folder of slots; a thread looks for new ones.

    Args:
        slots: the slots of the folder that the first configuration names.
        signals: ends the present round when there is another bundle.
        patience: how to wait for a store that cannot be read.
        reload: see `ModelSource`.
    """

    def __init__(
        self,
        slots: Slots,
        signals: RunSignals,
        patience: Patience | None = None,
        reload: Callable[[], Config] | None = None,
    ) -> None:
        super().__init__(reload)
        self._slots: Slots | None = slots
        self._signals = signals
        self._patience = patience
        self._opened: _Opened | None = None
        self._before: _Opened | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, name="updates", daemon=True).start()

    def open(self, config: Config) -> Model:
        """Open the bundle on trial, or the active one if there is none or it fails."""
        with self._lock:
            bundle = config.model.bundle
            slots = self._slots
            if slots is None or slots.folder != Path(bundle):
                slots = Slots(Path(bundle)) if is_folder_of_slots(bundle) else None
            if slots is None:
                opened = _Opened(open_model(config, bundle), bundle)
            else:
                opened = self._open_slot(slots, config)
            # Only now: if the new one cannot be opened, the former one goes on.
            self._slots, self._before, self._opened = slots, self._opened or self._before, opened
            return opened.model

    def _open_slot(self, slots: Slots, config: Config) -> _Opened:
        _refresh(slots)
        while True:
            # Before it is opened, so that one which is put in its place meanwhile is noticed.
            stamp, on_trial = slots.stamp(), bool(slots.state.trial)
            place = str(stamp[0])
            try:
                model = open_model(config, place)
                if on_trial:
                    self._check_on_stored(model, config.store_path)
            except (BundleError, UsageError) as error:
                if not on_trial or not _is_to_blame(error, slots, config):
                    raise
                # Only once, because what is chosen then is not on trial.
                slots.roll_back(str(error), stamp)
                continue
            return _Opened(model, place, slots, stamp, TRIAL_PREDICTIONS if on_trial else 0)

    def _check_on_stored(self, model: Model, store: Path) -> None:
        try:
            check_on_stored(model, store, self._patience)
        except StoreError as error:
            # With a model to go on with, the watch has this one tried again; a damaged store is
            # repaired by then. Without one, the daemon must not fail to start.
            if self._opened is not None:
                raise
            _LOG.warning("the new bundle is tried without the stored spectra: %s", error)

    def went_back(self, model: Model) -> None:
        """Take note that the model before the one that was opened last goes on."""
        with self._lock:
            if self._before is not None and self._before.model is model:
                self._opened, self._slots = self._before, self._before.slots

    @property
    def renewed(self) -> bool:
        """Whether there is another bundle than the one that runs."""
        with self._lock:
            opened = self._opened
            if opened is None or opened.slots is None:
                return False
            _refresh(opened.slots)
            try:
                return opened.slots.stamp() != opened.stamp
            except UsageError:  # there is no bundle any more, so the one that runs goes on
                return False

    def status(self) -> dict[str, object]:
        """Return what runs, is on trial and was refused, as JSON values.

        `installed` is the version to go back to, and `latest` that of the newest bundle, which may
        be on trial or refused. Both are what runs if that is a plain bundle.
        """
        slots, opened = self._slots, self._opened
        state = slots.state if slots else SlotState()
        running = opened.version if opened else ""
        installed = slots.version(state.active or state.trial) if slots else running
        refused = f"{state.refused_name} (refused)" if state.refused else ""
        return {
            "bundle": opened.bundle if opened else None,
            "running": running or None,
            "installed": installed,
            "latest": (slots.version(state.trial) if slots else "") or refused or installed,
            "on_trial": bool(state.trial),
            "predictions_left": opened.left if opened else 0,
            "refused": state.refused or None,
            "refused_name": state.refused_name or None,
        }

    def succeeded(self, prediction: Prediction) -> None:
        """Count a prediction of a bundle on trial."""
        # Without the lock: this is called for each scan, and almost never during a trial.
        if self._opened is None or not self._opened.left:
            return
        with self._lock:
            if USELESS in prediction.flags:
                self._end("it has no plausible answer for a spectrum of the instrument")
                self._signals.end_round()
                return
            # A scan that could not be used, such as a saturated one, is no evidence on a bundle.
            if not prediction.estimates:
                return
            self._opened.left -= 1
            if not self._opened.left:
                self._confirm(self._opened)

    def failed(self, error: CcnvrError) -> bool:
        """Go back to the former bundle if the one on trial may be the cause."""
        with self._lock:
            opened = self._opened
            if opened is None or not opened.left or opened.slots is None:
                return False
            if not isinstance(error, BundleError | WavelengthError):
                return False
            self._end(str(error))
            # It is not used again, whatever becomes of the next one.
            self._opened = None
            # For a first bundle its own error is raised: it says more than that there is no other.
            return bool(opened.slots.state.trial or opened.slots.state.active)

    def _confirm(self, opened: _Opened) -> None:
        try:
            if opened.slots is not None:
                opened.slots.confirm(opened.stamp)
        except CcnvrError as error:
            # Predictions go on; the next start finds the bundle on trial, and tries it once more.
            _LOG.error("that the new bundle has proved itself cannot be noted: %s", error)

    def _end(self, reason: str) -> None:
        opened = self._opened
        if opened is not None:
            opened.left = 0
            if opened.slots is not None:
                opened.slots.roll_back(reason, opened.stamp)

    def _watch(self) -> None:
        while not self._signals.ending:
            if self.renewed:
                self._signals.end_round()
            # The signals' own event cannot be waited for: it is set at each round.
            time.sleep(LOOK_EVERY_S)


def _refresh(slots: Slots) -> None:
    """Read the state of slots again; while that cannot be read, the one of before holds."""
    try:
        slots.refresh()
    except CcnvrError as error:
        _LOG.debug("the folder of bundles cannot be read now: %s", error)


def _is_to_blame(error: CcnvrError, slots: Slots, config: Config) -> bool:
    """Return whether the bundle on trial, and not the configuration, is why it cannot be opened."""
    if isinstance(error, BundleError):
        return True
    # An engine that is not installed, or a tolerance for what no bundle predicts, is wrong for the
    # former bundle as well.
    try:
        return slots.former is not None and bool(open_model(config, str(slots.former)))
    except CcnvrError:
        return False
