"""The main loop: it predicts each scan, commits it, and only then tells streams and instrument."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import NoReturn

from ccnvr.edge.daemon.broadcast import Broadcast, Deliver
from ccnvr.edge.daemon.config import Config
from ccnvr.edge.daemon.handover import Ended, Seal, Work
from ccnvr.edge.daemon.reader import Reader
from ccnvr.edge.daemon.samples import Samples
from ccnvr.edge.daemon.setup import LinkStatistics, ModelSource, RunSummary, Setup, reloaded
from ccnvr.edge.service.supervision import Supervision
from ccnvr.edge.storage.database import repair_store
from ccnvr.edge.storage.health import STEP_S, Patience
from ccnvr.edge.storage.trouble import StoreDamaged, StoreError, StoreMoved
from ccnvr.edge.store.store import Store
from ccnvr.edge.workflow.control import Control
from ccnvr.edge.workflow.course import Beginning, Course
from ccnvr.firmware_bridge.errors import CcnvrError

_LOG = logging.getLogger(__name__)


CURSOR_EVERY = 8
"""Scans between two commits of a stream's cursor; a crash may have so many delivered again."""

PRUNE_EVERY, PRUNE_AT_ONCE = 32, 128
"""Scans between two looks at the store's size, and how many are deleted at once: faster than they
come, so that a store whose limit was lowered gets there."""

_LEAVE_AFTER_S = 0.5
"""How long a reader that is late is waited for after all, in s."""

LOG_BYTES = 4_000_000
"""What a store's log and shared memory take beside its main file, at most."""


def run(
    config: Config,
    count: int | None,
    deliver: Deliver,
    renew: bool = False,
    control: Control | None = None,
    supervision: Supervision | None = None,
    source: ModelSource | None = None,
) -> RunSummary:
    """Run the daemon: read scans, predict, store and deliver them.

    Args:
        config: the configuration.
        count: the number of scans to predict; None means until SIGINT or SIGTERM.
        deliver: takes each record, in a thread of its own.
        renew: take new dark and white references first, even if fresh ones are stored.
        control: takes jobs and tells the status, for whoever runs the daemon in this process.
        supervision: signals and service manager, if the caller looks at them too.
        source: opens the model, and reads the configuration again after SIGHUP; None takes the
            bundle that the configuration names, and goes on with the same configuration.

    Raises:
        CcnvrError: the bundle, the store or the instrument cannot be used; what was stored stays
            stored.
        OSError: `deliver` failed, for example because the reader of a pipe went away.
    """
    supervision = supervision or Supervision()
    signals = supervision.signals
    control = control or Control()
    patience = Patience(control.health, signals.stopping, supervision.progress)
    rounds = _Rounds(count, deliver, patience, supervision, control)
    try:
        with supervision.active():
            setup, earlier = Setup.of(config, source or ModelSource()), None
            # Under a service manager nobody may be there at the start; whoever sends SIGHUP is.
            managed = supervision.managed
            beginning = Beginning(renew or not managed, managed, renew)
            while not signals.ending:
                already = rounds.total.predicted
                try:
                    rounds.serve(setup, beginning)
                except CcnvrError as error:
                    if setup.source.failed(error):
                        setup = Setup.of(setup.config, setup.source)
                        continue
                    # SIGHUP must not end the daemon, even if the new configuration is of no use.
                    if earlier is None or rounds.total.predicted > already:
                        raise
                    _LOG.error("%s; going on with the former configuration", error)
                    setup = earlier
                    setup.source.went_back(setup.model)
                    continue
                if signals.ending or rounds.remaining == 0 or not signals.stopping.is_set():
                    break
                supervision.reloading()
                hung_up = signals.next_round()
                beginning, earlier = Beginning(attended=True, patient=True), setup
                setup = reloaded(setup, hung_up)
    finally:
        control.close("the daemon has ended; start it again")
    return rounds.total


class _Rounds:
    """The rounds of a run: another one after each SIGHUP and each repair of the store."""

    def __init__(
        self,
        count: int | None,
        deliver: Deliver,
        patience: Patience,
        supervision: Supervision,
        control: Control,
    ) -> None:
        self.total = RunSummary(0, LinkStatistics())
        self._count = count
        self._deliver = deliver
        self._patience = patience
        self._supervision = supervision
        self._control = control

    @property
    def remaining(self) -> int | None:
        """The number of scans still to predict; None if there is no limit."""
        return None if self._count is None else max(0, self._count - self.total.predicted)

    def serve(self, setup: Setup, beginning: Beginning) -> None:
        """Serve the instrument until the count is reached or a signal comes.

        Args:
            setup: configuration and model.
            beginning: how the round begins.
        """
        while True:
            run = _Run(setup, self._deliver, self._patience, self._supervision, self._control)
            try:
                run.serve(self.remaining, beginning, self.total.statistics)
                return
            except StoreDamaged as damage:
                # Once for each damage: a repaired store that is damaged again has a broken disk.
                if run.predicted == 0 and self.total.repairs:
                    raise
                self._patience.health.note(str(damage))
                repair_store(setup.config.store_path, self._patience.health)
                self.total = replace(self.total, repairs=self.total.repairs + 1)
                beginning = replace(beginning, renew=False)
            finally:
                self.total = replace(
                    self.total,
                    predicted=self.total.predicted + run.predicted,
                    stored_before=self.total.stored_before + run.stored_before,
                )


class _Run:
    """The daemon from the opening of its store to the closing."""

    def __init__(
        self,
        setup: Setup,
        deliver: Deliver,
        patience: Patience,
        supervision: Supervision,
        control: Control,
    ) -> None:
        self.predicted = 0
        self.stored_before = 0
        self._config = setup.config
        self._model = setup.model
        self._source = setup.source
        self._patience = patience
        self._supervision = supervision
        self._store = Store(setup.config.store_path, owner=True, patience=patience)
        self._streams = Broadcast(setup.config, deliver, patience, control.status)
        self._control = control
        self._samples = Samples(self._store, setup.model, setup.config, control)

    def serve(self, count: int | None, beginning: Beginning, statistics: LinkStatistics) -> None:
        """Serve the instrument, and add to the statistics of the link."""
        course = Course.begun(beginning, count, self._control, self._supervision.progress)
        reader = Reader(self._config, self._model, course, self._patience)
        try:
            self._supervision.signals.call_on_stop(reader.stop)
            self._streams.start()
            reader.start()
            self._supervision.ready()
            try:
                self._predict_all(reader)
            finally:
                # Both threads end before the store is closed, because that releases its lock. A
                # reader that waits for its instrument longer than a user for the end is left.
                reader.abandon(_LEAVE_AFTER_S if self._supervision.signals.must_end() else None)
                self._streams.finish()
        except StoreMoved as moved:
            self._rescue(moved)
        finally:
            self._supervision.progress.waiting()
            self._store.close()
            statistics.add(reader.statistics)
        if self._streams.error is not None:
            raise self._streams.error

    def _predict_all(self, reader: Reader) -> None:
        """Predict what the reader hands over until it ends.

        The order is the daemon's promise: a scan is committed before a stream shows it, and only
        when the next commit lies behind it in the log may the reader acknowledge it, whereupon the
        instrument forgets it. So a power cut that damages the last page takes no scan away.
        """
        committed: Work | None = None
        while True:
            self._supervision.progress.waiting()
            item = reader.handover.next(self._supervision.signals.must_end)
            self._supervision.progress.doing(STEP_S)
            if isinstance(item, Ended):
                if item.error is not None:
                    raise item.error
                return
            if isinstance(item, Seal):
                self._store.seal()
            else:
                self._predict(item)
                self._streams.wake()
            if committed is not None:
                reader.handover.confirm(committed.scan)
            committed = None if isinstance(item, Seal) else item
            # Without a stream nobody sees the predictions, so the run ends; scans already taken
            # are still stored.
            if self._streams.error is not None:
                reader.stop()

    def _predict(self, work: Work) -> None:
        """Predict one scan and commit it."""
        predicted = self._samples.predict(work)
        delivered = self._streams.delivered
        # In batches: each commit of a cursor writes one more page.
        due = self.predicted % CURSOR_EVERY == 0
        if self._store.database.log_lost:
            self._tell_missing(work)
        new = self._store.add(
            predicted.new,
            predicted.mean,
            delivered=delivered if due else {},
            ends_job=work.ends_job,
        )
        self.stored_before += not new
        self._samples.tell(work, predicted)
        self._source.succeeded(predicted.shown.prediction)
        # What `count` counts: the samples' records, not their replicates.
        self.predicted += work.last and work.context.purpose is None
        if self._config.store.max_size_mb and self.predicted % PRUNE_EVERY == 0:
            # Room for the log, and for what comes until the next look.
            most = self._config.store.max_size_mb * 1_000_000 - LOG_BYTES
            self._store.prune(most, self._streams.held_at(self._store), PRUNE_AT_ONCE)

    def _tell_missing(self, work: Work) -> None:
        """Count, at the first scan after the log was lost, the scans that went with it."""
        self._store.database.log_lost = False
        missing = self._store.missing_before(work.info, work.scan)
        if missing:
            scan_id = work.info.scan_id(work.scan.number)
            self._patience.health.note(
                f"{missing} scans of this power-on before {scan_id} are not in the store: lost, "
                "taken by another program, or with the lamp off to look for other light"
            )

    def _rescue(self, moved: StoreMoved) -> NoReturn:
        """Copy a store that was taken away, and say where to."""
        try:
            copy = self._store.database.rescue()
        except StoreError as error:
            raise StoreError(f"{moved}; its scans could not be copied: {error}") from moved
        raise StoreError(
            f"{moved}; all its scans were copied to {copy}: see who moves the store, and start "
            "ccnvr run again"
        ) from moved
