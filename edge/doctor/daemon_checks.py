"""Checks of what `ccnvr run` needs with its configuration: model, store, instrument, references."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from ccnvr.edge.daemon.config import Config
from ccnvr.edge.doctor import store_checks
from ccnvr.edge.doctor.findings import Finding
from ccnvr.edge.doctor.host_checks import examine_host
from ccnvr.edge.doctor.stream_checks import examine_streams
from ccnvr.edge.inference.models import load_bundle
from ccnvr.edge.storage import host_clock
from ccnvr.edge.storage.records import stored_reference
from ccnvr.edge.storage.schema import columns
from ccnvr.edge.updates.slots import Slots, is_folder_of_slots
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.connect.registry import open_instrument
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.firmware_bridge.transport import split_url


def examine_daemon(config: Config) -> Iterator[Finding]:
    """Yield what there is to say about a configuration and all that it names."""
    port = _port(config)
    yield from examine_host(port)
    yield from _of_port_name(port)
    path, in_use = config.store_path, False
    if path.is_file():
        findings = store_checks.examine(path)
        in_use = any("a daemon uses it now" in finding.text for finding in findings)
        yield from findings
        yield from _of_references(config)
    elif path.absolute().parent.is_dir():
        yield Finding(True, f"there is no store {path} yet; ccnvr run makes it")
    else:
        yield Finding(
            False, f"the folder of store {path} does not exist; make it, or name another store"
        )
    wavelengths_nm = None
    if in_use:
        # Two hosts would take each other's replies, and many instruments serve one only.
        yield Finding(True, "the instrument was not asked, because the daemon serves it")
    else:
        finding, wavelengths_nm = _of_instrument(config)
        yield finding
    yield _of_model(config, wavelengths_nm)
    yield from _of_update(config)
    yield from examine_streams(config)


def _of_model(config: Config, wavelengths_nm: Array | None) -> Finding:
    """Examine the bundle, and whether it serves the bands of the instrument if that answers."""
    told: list[str] = []
    bundle = config.model.bundle
    try:
        if is_folder_of_slots(bundle):
            bundle = str(Slots(Path(bundle)).chosen)
        model = load_bundle(bundle, config.model.engine, config.model.profile, tell=told.append)
        if wavelengths_nm is None:
            return Finding(True, f"the bundle {bundle} can be used here")
        model.bind(wavelengths_nm)
    except CcnvrError as error:
        return Finding(False, str(error))
    chosen = f"{told[0]}," if told else f"the bundle {bundle}"
    return Finding(True, f"{chosen} serves the instrument and passes its self-test here")


def _of_update(config: Config) -> Iterator[Finding]:
    """Tell of a bundle that ccnvr update brought and the daemon or the command refused."""
    if is_folder_of_slots(config.model.bundle):
        with suppress(CcnvrError):  # which the check of the model has told
            state = Slots(Path(config.model.bundle)).state
            if state.refused:
                text = f"the update {state.refused_name} was refused: {state.refused}"
                yield Finding(True, text, note=True)


def _port(config: Config) -> Path | None:
    parts, _ = split_url(config.instrument.url)
    return Path(parts.path) if parts.scheme == "serial" else None


def _of_port_name(port: Path | None) -> Iterator[Finding]:
    if port is not None and port.name.startswith(("ttyUSB", "ttyACM")):
        yield Finding(
            True,
            f"{port} may name another device after a reboot; use its name in /dev/serial/by-id, "
            "or write rules with ccnvr instruments --udev",
            note=True,
        )


def _of_instrument(config: Config) -> tuple[Finding, Array | None]:
    """Examine the instrument; return its wavelengths in nm as well if it answers."""
    url = config.instrument.url
    try:
        # The daemon's own way, so that it fails here for the reasons that it would fail there.
        instrument = open_instrument(url)
        try:
            info = instrument.identify()
        finally:
            instrument.close()
    except CcnvrError as error:
        return Finding(False, str(error)), None
    answer = f"instrument {info.serial} ({info.model}) answers at {url}"
    return Finding(True, answer), info.wavelengths_nm


def _of_references(config: Config) -> Iterator[Finding]:
    names = list(columns("reference_scans"))
    # Without the classes of the daemon, which would migrate and mark the store.
    address = f"{config.store_path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            row = connection.execute(
                f"SELECT {', '.join(names)} FROM reference_scans ORDER BY id DESC LIMIT 1"  # noqa: S608 - our own text
            ).fetchone()
        newest = stored_reference(dict(zip(names, row, strict=True))) if row else None
    except (sqlite3.Error, ValueError, TypeError):
        return  # the store's own checks say what is wrong with it
    if newest is None:
        yield Finding(True, "no references are stored; the daemon takes them when it starts")
        return
    age_s = host_clock.age_s(newest.moment, host_clock.now())
    if age_s is None:
        yield Finding(
            False,
            "the age of the newest references is unknown, since the clock was set or not "
            "synchronised; have the white panel ready, and start ccnvr run again",
        )
    elif age_s >= config.reference.max_age_s:
        yield Finding(
            False,
            f"the newest references are {age_s / 60:.0f} minutes old, and may be "
            f"{config.reference.max_age_s / 60:.0f}; have the white panel ready, and start ccnvr "
            "run again",
        )
    else:
        yield Finding(True, f"the newest references are {age_s / 60:.0f} minutes old")
