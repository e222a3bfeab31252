"""The findings of `ccnvr doctor`."""

from __future__ import annotations

from ccnvr.firmware_bridge.frozen import frozen


@frozen
class Finding:
    """One thing that was looked at: whether it is well, and what is said of it.

    Attributes:
        well: whether the daemon can do its work with this.
        text: one sentence, with what to do if something is not well.
        repairable: whether it is damage of the store that `--repair` mends.
        note: whether someone should read it although it is well.
    """

    well: bool
    text: str
    repairable: bool = False
    note: bool = False

    @property
    def mark(self) -> str:
        """The mark in front of its line."""
        return "--" if not self.well else "!!" if self.note else "ok"
