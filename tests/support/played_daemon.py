"""A daemon without an instrument, for the page: a real store, a real control, played scans."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.storage.context import CHECK, GeoPosition, SampleIdentity, ScanContext
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from ccnvr.edge.workflow.activity import Activity
from ccnvr.edge.workflow.control import Control, JobCancelled
from ccnvr.edge.workflow.requests import CheckRequest, ReferenceRequest, SampleRequest
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings

WAVELENGTHS = np.linspace(1100.0, 2500.0, 300)
INFO = InstrumentInfo("handheld", "S1", "f", 2, WAVELENGTHS, 65_535, 1, 2, 3)
SETTINGS = Settings(10_000, 16)
CHECK_NAME, BUNDLE = "jar 1", "b" * 64


class PlayedDaemon(threading.Thread):
    """The daemon's part with control and store; `on_commit` is called after each commit."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="played-daemon", daemon=True)
        self.control = Control()
        self.on_commit: Callable[[], None] = lambda: None
        self.committed: list[str] = []
        self.ready = threading.Event()
        self._path = path
        self._number = 2
        self._ended = threading.Event()
        self.control.show("references", lambda: {"age_s": 65.0, "due": None})
        self._checks = 0
        limits = {"OC": {"mean": 23.0, "low": 22.0, "high": 24.0}}
        of = {"name": CHECK_NAME, "instrument": INFO.serial, "bundle": BUNDLE}
        self.control.show(
            "check_sample",
            lambda: {**of, "text": "fine", "measured": self._checks, "limits": limits},
        )
        self.control.show("instrument", lambda: {"model": "handheld", "serial": "S1", "boot": 2})

    def end(self) -> None:
        """End the thread."""
        self._ended.set()
        self.control.wake()
        self.join()

    def run(self) -> None:
        """Carry out jobs until `end`."""
        store = Store(self._path, owner=True)
        dark, white = (
            store.references.add(
                INFO, Scan(number, kind, np.full(300, level), SETTINGS, False, 20.0)
            ).id
            for number, kind, level in ((1, ScanKind.DARK, 100.0), (2, ScanKind.WHITE, 40_000.0))
        )
        self.control.activity.change(Activity.RECOVERING)
        self.control.activity.change(Activity.READY)
        self.ready.set()
        while not self._ended.is_set():
            job = self.control.next_job(0.2)
            if job is None:
                continue
            try:
                if isinstance(job.request, ReferenceRequest):
                    job.prompt("put the white panel under the probe", self._ended)
                    job.finish("references taken")
                else:
                    store.add(self._scan(job.request, (dark, white)))
                    self._checks += isinstance(job.request, CheckRequest)
                    self.committed.append(INFO.scan_id(self._number))
                    self.on_commit()
                    job.finish("scanned")
            except JobCancelled as cancelled:
                job.fail(str(cancelled))
        store.close()

    def _scan(self, request: SampleRequest | CheckRequest, references: tuple[int, int]) -> NewScan:
        self._number += 1
        context = ScanContext(
            request.sample if isinstance(request, SampleRequest) else SampleIdentity(CHECK_NAME),
            GeoPosition(50.56 + self._number * 1e-4, 4.69 + self._number * 2e-4, 3.0),
            CHECK if isinstance(request, CheckRequest) else None,
        )
        slope = 0.2 + 0.4 * (WAVELENGTHS - 1100.0) / 1400.0
        noise = np.random.default_rng(self._number).normal(0.0, 0.002, WAVELENGTHS.size)
        counts = 100.0 + 39_900.0 * (slope + noise)
        value = 20.0 + self._number
        estimates = {
            "OC": Estimate(value, "g/kg", value - 6.0, value + 6.0),
            "pH": Estimate(6.5, "pH", 5.9, 7.1),
            "clay": Estimate(31.0, "%", None, None),
        }
        flags = ("out_of_domain:Q",) if self._number % 3 == 0 else ()
        scan = Scan(self._number, ScanKind.SAMPLE, counts, SETTINGS, False, 20.0)
        return NewScan(INFO, scan, Prediction(estimates, flags), references, BUNDLE, 2.0, context)
