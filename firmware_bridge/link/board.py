"""The parts of an instrument beside its detector.

They are lamp, shutter, button, user memory, calibration and serial port.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ccnvr.firmware_bridge.instrument import ScanKind
from ccnvr.firmware_bridge.link.messages import CoefficientKind, Feature, Held, StatusFlag
from ccnvr.firmware_bridge.link_constants import DEFAULT_BAUD

_ALL = Feature.LAMP | Feature.SHUTTER | Feature.BUTTON | Feature.THERMOMETER
# Flash memory reads as ones before it is written.
_ERASED = 0xFF


@dataclass
class Board:
    """The state that requests other than scans read and change.

    `presses` counts presses of the button.
    """

    features: Feature = _ALL
    memory: bytearray = field(default_factory=lambda: bytearray([_ERASED]) * 1024)
    coefficients: Mapping[CoefficientKind, tuple[float, ...]] = field(default_factory=dict)
    slowest_baud: int = 9_600
    starting_baud: int = DEFAULT_BAUD
    fastest_baud: int = 12_000_000
    lamp: Held = Held.AUTOMATIC
    shutter: Held = Held.AUTOMATIC
    presses: int = 0

    @property
    def flags(self) -> StatusFlag:
        """The status flags of lamp and shutter between scans."""
        lit = StatusFlag.LAMP_ON if self.lamp is Held.ON else StatusFlag(0)
        return lit | StatusFlag.SHUTTER_OPEN if self.shutter is Held.ON else lit

    def can_take(self, kind: ScanKind) -> bool:
        """Return whether lamp and shutter, as they are held, allow a scan of this kind."""
        lamp, shutter = Feature.LAMP in self.features, Feature.SHUTTER in self.features
        if kind is not ScanKind.DARK:
            return self.lamp is not Held.OFF and self.shutter is not Held.OFF
        if not lamp and not shutter:
            return True  # nothing here makes light: darkness is up to the operator
        return (lamp and self.lamp is not Held.ON) or (shutter and self.shutter is not Held.ON)
