"""The interface of an instrument's measuring part, which `Device` serves to a host."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.instrument import InstrumentInfo
from ccnvr.firmware_bridge.link.messages import ScanRequest


@frozen
class Exposure:
    """What a detector measured: `sums` is `(pixels,)`, counts added up over the averages."""

    sums: NDArray[np.uint32]
    saturated: bool
    temperature_c: float


class Spectrometer(Protocol):
    """The measuring part of an instrument."""

    info: InstrumentInfo

    def expose(self, request: ScanRequest, number: int) -> Exposure:
        """Take the scan of this number.

        Raises:
            InstrumentError: the lamp, the detector or another part failed.
        """
        ...

    def temperature_c(self) -> float:
        """Return the temperature of the detector now, in degrees Celsius."""
        ...
