"""The first proof of a new bundle: it predicts the last spectra of the daemon's store."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from pathlib import Path

from ccnvr.edge.bundle.archive import BundleError
from ccnvr.edge.chemometrics.grid import WavelengthError
from ccnvr.edge.history.stored_scans import StoredScans
from ccnvr.edge.inference.models import Model
from ccnvr.edge.inference.pipeline import Pipeline
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.edge.storage.health import Patience
from ccnvr.firmware_bridge.errors import InstrumentError

STORED_SPECTRA = 20
"""So many of the last stored spectra must be predicted before a new bundle sees an instrument."""

USELESS = "rescan:not_finite"
"""The flag of a spectrum for which a model has no plausible answer."""


def check_on_stored(model: Model, store: Path, patience: Patience | None = None) -> None:
    """Check that a model predicts the last stored spectra that were predicted before.

    Raises:
        BundleError: it has no plausible answer for one of them.
        StoreError: the store cannot be read.
    """
    if not store.is_file():
        return
    bound: dict[bytes, Predictor] = {}
    with closing(StoredScans(store, patience=patience)) as scans:
        scans.after = max(0, scans.database.newest_scan() - 4 * STORED_SPECTRA)
        for scan in islice(scans, STORED_SPECTRA):
            # One that the former bundle could not predict either says nothing against this one.
            if not scan.record["predictions"]:
                continue
            bands = scan.info.wavelengths_nm
            try:
                # Once for each instrument, because it takes longer than a prediction.
                if bands.tobytes() not in bound:
                    bound[bands.tobytes()] = model.bind(bands)
                pipeline = Pipeline(bound[bands.tobytes()], scan.info, scan.references)
                prediction = pipeline(scan.scan)
            except (WavelengthError, InstrumentError):
                # Perhaps from another instrument; the first round shows which one is here.
                continue
            if USELESS in prediction.flags:
                raise BundleError(
                    f"it has no plausible answer for the stored scan {scan.record['scan_id']}"
                )
