"""The history of a store predicted by another bundle, beside what was predicted then.

In: stored scans and a model. Out: new predictions, in a table of their own of the store; the
records of `ccnvr run` are never changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby, islice, repeat
from typing import Any

from ccnvr.edge.chemometrics.grid import WavelengthError
from ccnvr.edge.history.stored_scans import StoredScan, StoredScans
from ccnvr.edge.inference.models import Model
from ccnvr.edge.inference.pipeline import Pipeline
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.quality.verdict import Tolerances
from ccnvr.edge.storage import host_clock
from ccnvr.edge.storage.database import Statement
from ccnvr.edge.storage.salvage import REPREDICTIONS
from ccnvr.edge.store.new_scan import predictions_text
from ccnvr.edge.store.rows import insert
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

_CARRIED_END = ":replicates_disagree"

_AT_ONCE = 100
"""Predictions in one commit: few enough that a daemon beside it never waits for long."""


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
    _pipelines: dict[tuple[int, int], tuple[Pipeline, str] | None] = field(default_factory=dict)

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
        for pipeline, alike in groupby(block, self._pipeline):
            scans = list(alike)
            if pipeline is None:
                for _ in scans:
                    self.scans.leave_out("have bands or references that do not suit the bundle")
                continue
            predict, digest = pipeline
            predictions = predict.batch([scan.scan for scan in scans])
            found += map(self._judged, scans, predictions, repeat(digest))
        return found

    def _judged(
        self, scan: StoredScan, prediction: Prediction, digest: str
    ) -> tuple[Statement, dict[str, Any]]:
        """Return the statement and the record of a scan that is predicted again."""
        flags = scan.record["flags"]
        carried = [flag for flag in flags if flag in CARRIED or flag.endswith(_CARRIED_END)]
        judged = prediction.judged(self.tolerances, carried)
        return self._statement(scan, judged, digest), {
            **scan.record,
            "predictions": json.loads(predictions_text(judged)),
            "flags": list(judged.flags),
            "verdict": asdict(judged.verdict) if judged.verdict else None,
            "bundle": digest,
        }

    def _pipeline(self, scan: StoredScan) -> tuple[Pipeline, str] | None:
        """Return the pipeline for a scan's instrument and references, and the bundle's digest."""
        # Objects of `StoredScans`, which makes one for each instrument and pair and keeps it.
        key = id(scan.info), id(scan.references)
        if key not in self._pipelines:
            try:
                model = self.model.for_wavelengths(scan.info.wavelengths_nm)
                predictor = model.bind(scan.info.wavelengths_nm)
                pipeline = Pipeline(predictor, scan.info, scan.references)
            except (WavelengthError, InstrumentError):
                # The refusal is kept too, so that it is not worked out anew for each scan.
                self._pipelines[key] = None
            else:
                self._pipelines[key] = pipeline, model.bundle.digest
        return self._pipelines[key]

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
