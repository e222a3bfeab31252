"""The trial of a new bundle by the daemon: it is proved on stored spectra, then by its first scans.

A bundle that fails goes back to its folder with the reason, and the former one goes on; no scan is
lost by that, because a scan that was not predicted was not committed, and the instrument keeps it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

from ccnvr.edge.bundle.archive import BundleError
from ccnvr.edge.chemometrics.grid import WavelengthError
from ccnvr.edge.daemon.config import Config
from ccnvr.edge.daemon.setup import ModelSource, open_model
from ccnvr.edge.history.stored_scans import StoredScans
from ccnvr.edge.inference.models import Model
from ccnvr.edge.inference.pipeline import Pipeline
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.service.run_signals import RunSignals
from ccnvr.edge.updates.slots import TRIAL_PREDICTIONS, Slots, is_folder_of_slots, version_of
from ccnvr.firmware_bridge.errors import CcnvrError

_LOG = logging.getLogger(__name__)

STORED_SPECTRA = 20
"""So many of the last stored spectra must be predicted before a new bundle sees an instrument."""

LOOK_EVERY_S = 1.0

USELESS = "rescan:not_finite"
"""The flag of a spectrum for which a model has no plausible answer."""


class SlotModels(ModelSource):
    """The models of a folder of slots; a thread looks for new ones.

    Args:
        slots: the slots.
        store: the daemon's store.
        signals: ends the present round when there is another bundle.
        reload: see `ModelSource`.
    """

    def __init__(
        self,
        slots: Slots,
        store: Path,
        signals: RunSignals,
        reload: Callable[[], Config] | None = None,
    ) -> None:
        super().__init__(reload)
        self._slots = slots
        self._store = store
        self._signals = signals
        self._opened: tuple[Path, int, int] | None = None
        self._running = ""
        self._left = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, name="updates", daemon=True).start()

    def open(self, config: Config) -> Model:
        """Open the bundle on trial, or the active one if there is none or it fails."""
        if not is_folder_of_slots(config.model.bundle):
            return open_model(config, config.model.bundle)
        with self._lock:
            self._slots.refresh()
            while True:
                # Before it is opened, so that one which is put in its place meanwhile is noticed.
                opened, on_trial = self._slots.stamp(), bool(self._slots.state.trial)
                try:
                    model = open_model(config, str(opened[0]))
                    if on_trial:
                        check_on_stored(model, self._store)
                except CcnvrError as error:
                    if not on_trial:
                        raise
                    if self._is_on_trial(opened):
                        # Once: what is then chosen is not on trial.
                        self._slots.roll_back(str(error))
                    continue
                self._opened, self._left = opened, TRIAL_PREDICTIONS if on_trial else 0
                if isinstance(model, ProvedModel):
                    self._running = version_of(model.bundle)
                return model

    @property
    def renewed(self) -> bool:
        """Whether there is another bundle than the one that was opened last."""
        with self._lock:
            self._slots.refresh()
            return self._opened is not None and self._slots.stamp() != self._opened

    def status(self) -> dict[str, object]:
        """Return what runs, is on trial and was refused, as JSON values.

        `installed` is the version to go back to, and `latest` that of the newest bundle, which may
        be on trial or refused.
        """
        state, slots = self._slots.state, self._slots
        installed = slots.version(state.active or state.trial)
        refused = f"{state.refused_name} (refused)" if state.refused else ""
        return {
            "bundle": str(self._opened[0]) if self._opened else None,
            "running": self._running or None,
            "installed": installed,
            "latest": slots.version(state.trial) or refused or installed,
            "on_trial": bool(state.trial),
            "predictions_left": self._left,
            "refused": state.refused or None,
            "refused_name": state.refused_name or None,
        }

    def succeeded(self, prediction: Prediction) -> None:
        """Count a prediction of a bundle on trial."""
        # Without the lock: this is called for each scan, and almost never during a trial.
        if not self._left:
            return
        with self._lock:
            if USELESS in prediction.flags:
                self._end("it has no plausible answer for a spectrum of the instrument")
                self._signals.end_round()
                return
            self._left -= 1
            if self._left:
                return
            if self._is_on_trial(self._opened):
                self._confirm()

    def failed(self, error: CcnvrError) -> bool:
        """Go back to the former bundle if the one on trial may be the cause."""
        with self._lock:
            if not self._left or not isinstance(error, BundleError | WavelengthError):
                return False
            self._end(str(error))
            return True

    def _confirm(self) -> None:
        try:
            self._slots.confirm()
        except CcnvrError as error:
            # Predictions go on; the next start finds the bundle on trial, and tries it once more.
            _LOG.error("that the new bundle has proved itself cannot be noted: %s", error)

    def _end(self, reason: str) -> None:
        self._left = 0
        if self._is_on_trial(self._opened):
            self._slots.roll_back(reason)

    def _is_on_trial(self, opened: tuple[Path, int, int] | None) -> bool:
        """Return whether the bundle that was opened is still the one on trial.

        Another one may lie in its place by now, of which nothing is known; the watch finds it.
        """
        self._slots.refresh()
        return bool(self._slots.state.trial) and self._slots.stamp() == opened

    def _watch(self) -> None:
        while not self._signals.ending:
            try:
                if self.renewed:
                    self._signals.end_round()
            except CcnvrError as error:
                _LOG.debug("the folder of bundles cannot be read now: %s", error)
            # The signals' own event cannot be waited for: it is set at each round.
            time.sleep(LOOK_EVERY_S)


def check_on_stored(model: Model, store: Path) -> None:
    """Check that a model predicts the last stored spectra that were predicted before.

    Raises:
        BundleError: it has no plausible answer for one of them.
    """
    if not store.is_file():
        return
    with closing(StoredScans(store)) as scans:
        scans.after = max(0, scans.database.newest_scan() - 4 * STORED_SPECTRA)
        for scan in islice(scans, STORED_SPECTRA):
            # One that the former bundle could not predict either says nothing against this one.
            if not scan.record["predictions"]:
                continue
            predictor = model.bind(scan.info.wavelengths_nm)
            prediction = Pipeline(predictor, scan.info, scan.references)(scan.scan)
            if USELESS in prediction.flags:
                raise BundleError(
                    f"it has no plausible answer for the stored scan {scan.record['scan_id']}"
                )
