"""A scan on its way into the store."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import lru_cache

from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.storage import host_clock
from ccnvr.edge.storage.context import NO_CONTEXT, ScanContext
from ccnvr.edge.storage.records import clock_columns, measured
from ccnvr.edge.storage.salvage import Record
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan

# The separators without spaces serve the same end as the rounding: fewer bytes to write.
_ENCODER = json.JSONEncoder(separators=(",", ":"))


@frozen
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
            "flags": _flags_text(self.prediction.flags),
            "verdict": json.dumps(asdict(verdict)) if verdict else None,
            "latency_ms": float(self.latency_ms),
            **clock_columns(moment),
            **self.context.as_columns(),
        }


def predictions_text(prediction: Prediction) -> str:
    """Return the estimates of a prediction as the JSON text that the store keeps."""
    # Written here, because JSON's encoder takes three times as long for the same text. What is not
    # a number is the same in each prediction of a model.
    words: list[tuple[str, str, str]] = []
    numbers: list[str] = []
    for name, (value, unit, low, high, places) in prediction.estimates.items():
        words.append((name, unit, places))
        numbers += (_number(value), _number(low), _number(high))
    return _template(tuple(words)) % tuple(numbers)


@lru_cache(maxsize=64)
def _template(words: tuple[tuple[str, str, str], ...]) -> str:
    """Return the text of estimates with `%s` for each number; `words` are name, unit, places."""
    estimates = []
    for one in words:
        name, unit, places = (_ENCODER.encode(word).replace("%", "%%") for word in one)
        estimates.append(
            f'{name}:{{"value":%s,"unit":{unit},"low":%s,"high":%s,"places":{places}}}'
        )
    return f"{{{','.join(estimates)}}}"


def _number(value: float | None) -> str:
    """Return a number with as many digits as a network computes; each byte wears the disk."""
    if not isinstance(value, float):
        return _ENCODER.encode(value)
    text = f"{value:.7g}"
    # Python writes a float of seven digits in the same way unless it is whole or has an exponent.
    if "." in text and "e" not in text:
        return text
    return f"{text}.0" if text.isdigit() else _ENCODER.encode(float(text))


@lru_cache(maxsize=64)
def _flags_text(flags: tuple[str, ...]) -> str:
    return json.dumps(flags)
