"""The history of a store predicted by another bundle, beside what was predicted then.

In: stored scans and a model. Out: new predictions, in a table of their own of the store; the
records of `ccnvr run` are never changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby, islice
from typing import Any

from ccnvr.edge.chemometrics.grid import WavelengthError
from ccnvr.edge.history.stored_scans import NotComputed, StoredScan, StoredScans
from ccnvr.edge.inference.models import Model
from ccnvr.edge.inference.pipeline import Pipeline, References
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.edge.quality.verdict import Tolerances
from ccnvr.edge.storage import host_clock
from ccnvr.edge.storage.database import Statement
from ccnvr.edge.storage.salvage import REPREDICTIONS
from ccnvr.edge.store.new_scan import predictions_text
from ccnvr.edge.store.rows import insert
from ccnvr.edge.workflow.replicates import with_spread
from ccnvr.firmware_bridge.errors import InstrumentError

CARRIED = (
    "reference_expired",
    "reference_drift",
    "restart_possible",
    "stray_light",
    "check_sample",
    "read_later",
)
"""Flags of the measurement, which another bundle does not change."""

_AT_ONCE = 100
"""Predictions in one commit: few enough that a daemon beside it never waits for long."""


_Ready = tuple[Pipeline, str]
"""A pipeline, and the SHA-256 of its bundle's manifest."""


_UNSUITABLE = "have bands or references that do not suit the bundle"


@dataclass
class Reprediction:
    """Predictions of a store's scans by another model.

    Attributes:
        scans: the stored scans.
        model: the model.
        tolerances: what each sample is judged by; none if empty.
        known: how many scans the store holds a prediction of this bundle for already.
    """

    scans: StoredScans
    model: Model
    tolerances: Tolerances
    known: int = 0
    _predictors: dict[int, tuple[Predictor, str] | None] = field(default_factory=dict)
    _last: dict[int, tuple[References | None, _Ready | None]] = field(default_factory=dict)

    def records(self) -> Iterator[dict[str, Any]]:
        """Predict each scan, store the prediction, and yield the record with it.

        The key `bundle` has the SHA-256 of the manifest of the bundle.

        Raises:
            StoreError: the store cannot be written.
        """
        scans = iter(self.scans)
        while block := list(islice(scans, _AT_ONCE)):
            yield from self._store(self._predictions(block))

    def _store(self, waiting: list[tuple[Statement, dict[str, Any]]]) -> list[dict[str, Any]]:
        """Commit predictions, then return their records: what is shown is stored."""
        database = self.scans.database
        # Counted before and after, because `change` returns the rows of its last statement only.
        ((before,),) = database.query(f"SELECT count(*) FROM {REPREDICTIONS}")  # noqa: S608
        if waiting:
            database.change(*(statement for statement, _ in waiting))
        ((after,),) = database.query(f"SELECT count(*) FROM {REPREDICTIONS}")  # noqa: S608
        self.known += len(waiting) - (after - before)
        return [record for _, record in waiting]

    def _predictions(self, block: list[StoredScan]) -> list[tuple[Statement, dict[str, Any]]]:
        """Return the statements and the records of scans; those without a pipeline are left out."""
        found: list[tuple[Statement, dict[str, Any]]] = []
        # Scans of one instrument and pair of references follow each other, and go together.
        for ready, alike in groupby(filter(self._counts, block), self._pipeline):
            scans = list(alike)
            if ready is None:
                for _ in scans:
                    self.scans.leave_out(_UNSUITABLE)
                continue
            predict, digest = ready
            for scan, prediction in zip(
                scans, predict.batch([scan.scan for scan in scans]), strict=True
            ):
                try:
                    found.append(self._judged(scan, self._spread(scan, prediction), digest))
                except NotComputed as reason:
                    self.scans.leave_out(str(reason))
        return found

    def _counts(self, scan: StoredScan) -> bool:
        """Return whether a record may have estimates; leave it out if it may not.

        The mean of replicates of which most were unusable is kept so that it can be examined.
        Nothing in it shows that it is wrong, and it may look like a soil.
        """
        refused = bool(scan.context.replicates) and not scan.record["predictions"]
        if refused:
            self.scans.leave_out("are means of replicates of which most could not be used")
        return not refused

    def _spread(self, scan: StoredScan, prediction: Prediction) -> Prediction:
        """Return the prediction of a mean with the spread of its replicates, of others as it is.

        Raises:
            NotComputed: the replicates cannot be predicted.
        """
        if not prediction or not scan.context.replicates:
            return prediction
        single: list[Prediction] = []
        for replicate in self.scans.replicates(scan):
            ready = self._pipeline(replicate)
            if ready is None:
                raise NotComputed(_UNSUITABLE)
            single.append(ready[0](replicate.scan))
        if not all(single):
            raise NotComputed("are means of replicates that the bundle cannot use")
        return with_spread(prediction, single)

    def _judged(
        self, scan: StoredScan, prediction: Prediction, digest: str
    ) -> tuple[Statement, dict[str, Any]]:
        """Return the statement and the record of a scan that is predicted again."""
        carried = [flag for flag in scan.record["flags"] if flag in CARRIED]
        judged = prediction.judged(self.tolerances, carried)
        return self._statement(scan, judged, digest), {
            **scan.record,
            "predictions": json.loads(predictions_text(judged)),
            "flags": list(judged.flags),
            "verdict": asdict(judged.verdict) if judged.verdict else None,
            "bundle": digest,
        }

    def _pipeline(self, scan: StoredScan) -> _Ready | None:
        """Return the pipeline for a scan's instrument and references, and the bundle's digest.

        Only the last one of each instrument is kept: a history has thousands of references.
        """
        # By the objects of `StoredScans`, which keeps those of the instruments. Those of references
        # are held here, as the identity of an object that is gone may pass to another.
        known = self._last.get(id(scan.info))
        if known is None or known[0] is not scan.references:
            known = self._last[id(scan.info)] = scan.references, self._new_pipeline(scan)
        return known[1]

    def _new_pipeline(self, scan: StoredScan) -> _Ready | None:
        bound = self._predictor(scan)
        try:
            return bound and (Pipeline(bound[0], scan.info, scan.references), bound[1])
        except InstrumentError:
            return None

    def _predictor(self, scan: StoredScan) -> tuple[Predictor, str] | None:
        """Return the predictor for a scan's instrument, and the bundle's digest."""
        key = id(scan.info)
        if key not in self._predictors:
            try:
                model = self.model.for_wavelengths(scan.info.wavelengths_nm)
                bound = model.bind(scan.info.wavelengths_nm), model.bundle.digest
            except (WavelengthError, InstrumentError):
                # The refusal is kept too, so that it is not worked out anew for each scan.
                self._predictors[key] = None
            else:
                self._predictors[key] = bound
        return self._predictors[key]

    @staticmethod
    def _statement(scan: StoredScan, prediction: Prediction, digest: str) -> Statement:
        verdict = prediction.verdict
        record: dict[str, object] = {
            "scan_id": scan.record["scan_id"],
            "bundle_sha256": digest,
            "time": host_clock.now().wall.isoformat(timespec="milliseconds"),
            "predictions": predictions_text(prediction),
            "flags": json.dumps(prediction.flags),
            "verdict": json.dumps(asdict(verdict)) if verdict else None,
        }
        # One for each scan and bundle, so that an interrupted run can simply be started again.
        return insert(REPREDICTIONS, record)
