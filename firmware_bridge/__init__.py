"""The way to a spectrometer: the ccnvr link, drivers of instruments, and their simulators.

This package knows nothing of soil or models. Its public names are those of `__all__`, described in
docs/api.md; each is imported when it is first used. All else is private.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ccnvr.firmware_bridge.lazy import lazy_names

if TYPE_CHECKING:
    from ccnvr.firmware_bridge.connect.registry import open_instrument
    from ccnvr.firmware_bridge.errors import CcnvrError, InstrumentError, LinkLost, UsageError
    from ccnvr.firmware_bridge.instrument import (
        Instrument,
        InstrumentInfo,
        LinkStatistics,
        Quantity,
        Scan,
        ScanKind,
        Settings,
    )
else:  # hidden from type checkers, which would otherwise accept any name
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "open_instrument": "ccnvr.firmware_bridge.connect.registry",
            **dict.fromkeys(
                ("CcnvrError", "InstrumentError", "LinkLost", "UsageError"),
                "ccnvr.firmware_bridge.errors",
            ),
            **dict.fromkeys(
                (
                    "Instrument",
                    "InstrumentInfo",
                    "LinkStatistics",
                    "Quantity",
                    "Scan",
                    "ScanKind",
                    "Settings",
                ),
                "ccnvr.firmware_bridge.instrument",
            ),
        },
    )

__all__ = [
    "CcnvrError",
    "Instrument",
    "InstrumentError",
    "InstrumentInfo",
    "LinkLost",
    "LinkStatistics",
    "Quantity",
    "Scan",
    "ScanKind",
    "Settings",
    "UsageError",
    "open_instrument",
]
