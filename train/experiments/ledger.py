"""The ledger of an experiment: results that took long to compute, kept one by one.

An experiment that is interrupted continues from its ledger.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ccnvr.edge.atomic_files import make_folder
from ccnvr.firmware_bridge.errors import CcnvrError

FILE = "ledger.jsonl"


class Ledger:
    """A file that is only appended to, with an object `{"key": ..., "value": ...}` on each line.

    Raises:
        CcnvrError: the folder cannot be made, or a line before the last is damaged.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self._path = folder / FILE
        self._known: dict[str, Any] = {}
        if self._path.exists():
            self._read()

    def take_over(self, other: Ledger, wanted: Callable[[str], bool]) -> None:
        """Use what another ledger holds under the wanted keys; it stays in that one's file."""
        self._known = {key: value for key, value in other._known.items() if wanted(key)} | (
            self._known
        )

    def get(self, key: str, compute: Callable[[], Any]) -> Any:
        """Return the value kept under `key`, or else compute it and keep it.

        The value must be one that JSON can hold; a ledger gives it back as JSON does.
        """
        if key not in self._known:
            value = compute()
            # NaN is refused here, since no JSON reader but Python's would take the ledger any more.
            line = json.dumps({"key": key, "value": value}, allow_nan=False)
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
                stream.flush()
                # A fit took minutes or hours, so its result must survive a power failure.
                os.fsync(stream.fileno())
            self._known[key] = value
        return self._known[key]

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def _read(self) -> None:
        # Not splitlines, which would not tell whether the last line has its end.
        lines = self._path.read_text(encoding="utf-8").split("\n")
        # A last line without an end was being written when the process stopped.
        if lines[-1]:
            os.truncate(self._path, self._path.stat().st_size - len(lines[-1].encode()))
        for number, line in enumerate(lines[:-1], start=1):
            try:
                entry = json.loads(line)
                self._known[entry["key"]] = entry["value"]
            except (ValueError, KeyError, TypeError):
                raise CcnvrError(
                    f"{self._path} line {number} is damaged; delete that line, and it is computed "
                    "again"
                ) from None
