"""A scan on its way into the store."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.storage import host_clock
from ccnvr.edge.storage.context import NO_CONTEXT, ScanContext
from ccnvr.edge.storage.records import clock_columns, measured
from ccnvr.edge.storage.salvage import Record
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan

# The separators without spaces serve the same end as the rounding: fewer bytes to write.
_ENCODER = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True)
class NewScan:
    """A scan to be stored, with its prediction.

    Attributes:
        info: the instrument.
        scan: the scan, or the mean of a sample's replicates.
        prediction: its prediction.
        references: the ids of its dark and white references, or None if it has none.
        bundle: the SHA-256 of the bundle's manifest.
        latency_ms: the time from the scan's arrival to its prediction, in ms.
        context: the sample, the position and the purpose.
        scan_id: the id of a mean; "" for a scan, which has the instrument's.
    """

    info: InstrumentInfo
    scan: Scan
    prediction: Prediction
    references: tuple[int, int] | None
    bundle: str
    latency_ms: float
    context: ScanContext = NO_CONTEXT
    scan_id: str = ""

    @property
    def record_id(self) -> str:
        """The id under which it is stored."""
        return self.scan_id or self.info.scan_id(self.scan.number)

    def as_record(self) -> Record:
        """Return the columns of the store, with the present time."""
        # This computer's time, because a scan carries no time.
        moment, verdict = host_clock.now(), self.prediction.verdict
        dark_id, white_id = self.references or (None, None)
        return {
            "scan_id": self.record_id,
            "time": moment.wall.isoformat(timespec="milliseconds"),
            "instrument": self.info.serial,
            **measured(self.scan),
            "dark_id": dark_id,
            "white_id": white_id,
            "bundle_sha256": self.bundle,
            "predictions": predictions_text(self.prediction),
            "flags": json.dumps(self.prediction.flags),
            "verdict": json.dumps(asdict(verdict)) if verdict else None,
            "latency_ms": float(self.latency_ms),
            **clock_columns(moment),
            **self.context.as_columns(),
        }


def predictions_text(prediction: Prediction) -> str:
    """Return the estimates of a prediction as the JSON text that the store keeps."""
    estimates = {name: _rounded(one) for name, one in prediction.items()}
    return _ENCODER.encode(estimates)


def _rounded(estimate: Estimate) -> dict[str, object]:
    """Return an estimate with as many digits as its network computes; each byte wears the disk."""
    return {
        name: float(f"{value:.7g}") if isinstance(value, float) else value
        for name, value in estimate._asdict().items()
    }
