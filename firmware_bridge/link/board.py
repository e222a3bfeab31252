"""What a simulated instrument has beside its detector: lamp, shutter, button, user memory,
calibration, serial port.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ccnvr.firmware_bridge.instrument import ScanKind
from ccnvr.firmware_bridge.link.messages import CoefficientKind, Feature, Held, StatusFlag
from ccnvr.firmware_bridge.link_constants import DEFAULT_BAUD

_ALL = Feature.LAMP | Feature.SHUTTER | Feature.BUTTON | Feature.THERMOMETER
_ERASED = 0xFF


@dataclass
class Board:
    """The state that requests other than scans look at and change. `presses` counts the button's
    presses.
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
        """Lamp and shutter at rest."""
        lit = StatusFlag.LAMP_ON if self.lamp is Held.ON else StatusFlag(0)
        return lit | StatusFlag.SHUTTER_OPEN if self.shutter is Held.ON else lit

    def can_take(self, kind: ScanKind) -> bool:
        """Whether lamp and shutter, as they are held, allow the light or the darkness that the scan
        needs.
        """
        lamp, shutter = Feature.LAMP in self.features, Feature.SHUTTER in self.features
        if kind is not ScanKind.DARK:
            return self.lamp is not Held.OFF and self.shutter is not Held.OFF
        if not lamp and not shutter:
            return True
        return (lamp and self.lamp is not Held.ON) or (shutter and self.shutter is not Held.ON)
