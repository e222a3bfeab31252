"""When references are due: by their age, by the scans that they served, and by drift."""

from __future__ import annotations

import math
import time
from typing import Any

from ccnvr.edge.workflow.settings import ReferenceConfig
from ccnvr.firmware_bridge.frozen import frozen


@frozen
class ReferenceAge:
    """How old references are, how much they served, and how far the detector has moved.

    Attributes:
        config: the limits.
        fresh_until: when they expire by age, in s of the monotonic clock.
        scans: how many scans they have served.
        drift_c: the difference of the last scan's temperature from that of the references; NaN if
            it is not known.
    """

    config: ReferenceConfig
    fresh_until: float
    scans: int = 0
    drift_c: float = math.nan

    def expired(self, now: float) -> str:
        """Return why they do not hold any longer, by age or use; "" if they do."""
        if now > self.fresh_until:
            return f"they are {self._age_s(now) / 60.0:.0f} minutes old"
        if 0 < self.config.max_scans <= self.scans:
            return f"they served {self.scans} scans"
        return ""

    def due(self, now: float) -> str:
        """Return why new references are due, by age, use or drift; "" if they are not."""
        # Written so that NaN, for an instrument without a thermometer, is no drift.
        if abs(self.drift_c) > self.config.max_drift_c:
            return f"the detector's temperature has moved by {self.drift_c:+.1f} degrees C"
        return self.expired(now)

    def status(self) -> dict[str, Any]:
        """Return all this as JSON values."""
        now, config = time.monotonic(), self.config
        return {
            "age_s": round(self._age_s(now), 1) if math.isfinite(self.fresh_until) else None,
            "max_age_s": config.max_age_s,
            "scans": self.scans,
            "max_scans": config.max_scans or None,
            "drift_c": round(self.drift_c, 2) if math.isfinite(self.drift_c) else None,
            "max_drift_c": config.max_drift_c,
            "due": self.due(now) or None,
        }

    def _age_s(self, now: float) -> float:
        return now - self.fresh_until + self.config.max_age_s
