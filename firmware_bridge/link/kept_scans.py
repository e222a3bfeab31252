"""The scans that an instrument keeps until a host acknowledges them; see PROTOCOL.md, section 4."""

from __future__ import annotations

from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.instrument import ScanKind
from ccnvr.firmware_bridge.link.messages import Scanned


@frozen
class KeptScan:
    """The description of a scan and its data as they travel."""

    scanned: Scanned
    data: bytes


class KeptScans:
    """Unacknowledged samples, and the newest reference of each kind, by number."""

    def __init__(self) -> None:
        self._scans: dict[int, KeptScan] = {}
        self._taken = 0

    @property
    def next_number(self) -> int:
        """The number of the next scan, counted from 1 since the start."""
        return self._taken + 1

    def keep(self, scan: KeptScan) -> None:
        """Keep a new scan, which carries `next_number`."""
        self._taken += 1
        kind = scan.scanned.kind
        if kind is not ScanKind.SAMPLE:
            # A new reference replaces the one of its kind, so that references can always be taken,
            # however many samples wait.
            self._scans = {
                number: kept
                for number, kept in self._scans.items()
                if kept.scanned.kind is not kind
            }
        self._scans[scan.scanned.number] = scan

    def find(self, number: int) -> KeptScan | None:
        """Return the scan of that number, or None if it is not kept."""
        return self._scans.get(number)

    def oldest_after(self, number: int) -> KeptScan | None:
        """Return the oldest kept scan with a higher number, or None if there is none."""
        return next((kept for own, kept in self._scans.items() if own > number), None)

    def forget(self, number: int) -> None:
        """Forget an acknowledged scan; does nothing if it is not kept."""
        self._scans.pop(number, None)

    def samples(self) -> int:
        """Return how many samples wait to be acknowledged."""
        return sum(kept.scanned.kind is ScanKind.SAMPLE for kept in self._scans.values())
