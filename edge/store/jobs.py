"""The note of the job that the daemon carries out, for the case that it dies before its end."""

from __future__ import annotations

import json
from dataclasses import asdict

from ccnvr.edge.storage.context import SampleIdentity
from ccnvr.edge.storage.database import Database, Statement
from ccnvr.edge.typed import build
from ccnvr.firmware_bridge.instrument import InstrumentInfo

FORGET: Statement = ("DELETE FROM jobs", ())
"""The statement that ends a job; the store runs it together with the job's last scan."""


class JobNote:
    """The table `jobs` of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, info: InstrumentInfo, sample: SampleIdentity, replicates: int) -> None:
        """Note which sample is about to be scanned, in case the daemon dies before its record."""
        self._database.change(
            (
                # A fixed key, because the daemon carries out one job at a time.
                "INSERT OR REPLACE INTO jobs VALUES (1, ?, ?, ?, ?)",
                (info.serial, info.boot, replicates, json.dumps(asdict(sample))),
            )
        )

    def begun(self, info: InstrumentInfo) -> tuple[SampleIdentity, int] | None:
        """Return sample and number of replicates of a job that did not end, or None.

        Only a job of this power-on of the instrument counts.
        """
        rows = self._database.query(
            "SELECT sample, replicates FROM jobs WHERE serial = ? AND boot = ?",
            (info.serial, info.boot),
        )
        try:
            return (build(SampleIdentity, json.loads(rows[0][0])), rows[0][1]) if rows else None
        except ValueError:  # damaged: the scans are kept, without the sample's name
            return None

    def end(self) -> None:
        """Forget the job that `begin` noted, if there is one."""
        if self._database.query("SELECT 1 FROM jobs"):
            self._database.change(FORGET)
