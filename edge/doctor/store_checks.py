"""The examination of a store for `ccnvr doctor`; only a repair changes anything."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ccnvr.edge.doctor.findings import Finding
from ccnvr.edge.storage import salvage, schema, trouble, wal
from ccnvr.edge.storage.context import CHECK
from ccnvr.edge.storage.database import repair_store
from ccnvr.edge.storage.health import Health
from ccnvr.edge.storage.owner_lock import OwnerLock
from ccnvr.edge.storage.trouble import StoreError
from ccnvr.edge.workflow import check_sample
from ccnvr.edge.workflow.settings import CheckSampleConfig
from ccnvr.firmware_bridge.errors import UsageError

_LEAST_FREE_BYTES = 50_000_000
"""Room for some 20,000 scans; below it, someone should look."""


def examine(path: Path) -> list[Finding]:
    """Return what there is to say about a store.

    Raises:
        UsageError: there is no such file, or it is no store.
        OSError: the file cannot be read.
    """
    if not path.is_file():
        raise UsageError(f"there is no store {path}; name the file that ccnvr run --store names")
    log = wal.examine(wal.path_of(path))
    findings = [*_of_log(log), *_of_records(path, log), *_of_file(path)]
    # The lock comes last: closing it would drop what SQLite's connections hold on the file.
    return [*findings, _of_lock(path)]


def repair(path: Path) -> Finding:
    """Save what a damaged store holds into a new one in its place; the damaged one is kept.

    Raises:
        StoreError: a daemon uses the store, or the disk refuses the new one.
    """
    return Finding(True, f"repaired: {repair_store(path, Health(silent=True))}")


def _of_log(log: wal.LogState) -> Iterator[Finding]:
    if log.unreachable:
        yield Finding(
            False,
            f"the log is damaged: {log.transactions_unreachable} commits cannot be read in order",
            repairable=True,
        )
    else:
        yield Finding(True, f"the log is whole ({len(log.frames)} pages)")


def _of_records(path: Path, log: wal.LogState) -> Iterator[Finding]:
    if not path.stat().st_size and log.frames:
        yield Finding(False, "the file is empty and its log is not", repairable=True)
        return
    try:
        # Read-only, so that nothing is changed, not even the log. as_uri() quotes the path. Without
        # a log nobody has the store open, and SQLite need not make one to read it.
        alone = "" if wal.path_of(path).exists() else "&immutable=1"
        address = f"{path.absolute().as_uri()}?mode=ro{alone}"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            ((whole,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if not (tables or version):
                # The daemon makes the file before it fills it, which takes a moment.
                yield Finding(True, "the store is new and holds nothing yet")
                return
            if application != schema.APPLICATION_ID and not salvage.holds_records(path):
                raise UsageError(f"{path} is not a store of ccnvr; name another file")
            if version > schema.SCHEMA:
                yield Finding(False, f"its schema {version} is newer than this ccnvr; update ccnvr")
            elif whole != "ok":
                yield Finding(False, f"the file is damaged ({whole})", repairable=True)
            elif version < schema.SCHEMA:
                yield Finding(True, f"schema {version}: ccnvr run brings it to {schema.SCHEMA}")
            else:
                yield _of_checksums(connection)
                yield from _of_check_samples(connection)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and not salvage.holds_records(path):
            raise StoreError(f"store {path} cannot be read ({error}); correct that") from error
        if not salvage.holds_records(path):
            raise UsageError(f"{path} is not a store of ccnvr; name another file") from error
        yield Finding(False, f"the file is damaged ({error})", repairable=True)


def _of_checksums(connection: sqlite3.Connection) -> Finding:
    damaged = salvage.unsound_ids(connection)
    (scans,) = connection.execute("SELECT count(*) FROM scans").fetchone()
    if damaged:
        table, identifier = damaged[0]
        return Finding(
            False,
            f"{len(damaged)} records are damaged, the first is {identifier} of {table}",
            repairable=True,
        )
    return Finding(True, f"all records are as they were stored ({scans} scans)")


def _of_check_samples(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Yield the state of each check sample with the bundle that it was last measured with."""
    query = "SELECT value FROM state WHERE name = ?"
    learnt = connection.execute(query, (check_sample.LEARNT_FROM,)).fetchone()
    names = list(schema.columns(salvage.SCANS))
    rows = connection.execute(
        f"SELECT {', '.join(names)} FROM scans WHERE purpose = ? ORDER BY id",  # noqa: S608
        (CHECK,),
    )
    history: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in rows:
        record = dict(zip(names, row, strict=True))
        # Damaged rows are counted with the records; they are not measurements.
        if salvage.is_sound(record):
            measured = history.setdefault((record["instrument"], record["sample_id"]), [])
            measured.append((record["bundle_sha256"], record["predictions"]))
    for (instrument, name), measured in history.items():
        newest = measured[-1][0]
        chart = check_sample.chart_of(
            [json.loads(text) for bundle, text in measured if bundle == newest],
            learnt[0] if learnt else CheckSampleConfig().learn,
        )
        yield Finding(not chart.outside, f"check sample {name!r} of {instrument} is {chart}")


def _of_file(path: Path) -> Iterator[Finding]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & stat.S_IRWXO:
        yield Finding(False, f"others may use the file (mode {mode:04o}); chmod 640 {path}")
    problem = trouble.probe(path)
    if problem:
        remedy = trouble.SENTENCES.get(problem, f"{os.strerror(problem)}; correct that")
        yield Finding(
            False, f"the store's folder {path.absolute().parent} refuses writing: {remedy}"
        )
    free = shutil.disk_usage(path.absolute().parent).free
    if free < _LEAST_FREE_BYTES:
        yield Finding(False, f"its disk has {free / 1e6:.0f} MB left; free disk space")


def _of_lock(path: Path) -> Finding:
    try:
        OwnerLock(path).close()
    except StoreError:
        return Finding(True, f"a daemon uses it now{_holder(path)}")
    return Finding(True, "no daemon uses it now")


def _holder(path: Path) -> str:
    """Return which process holds the lock on a file, as far as the kernel tells."""
    try:
        inode, lines = path.stat().st_ino, Path("/proc/locks").read_text("ascii").splitlines()
        for fields in map(str.split, lines):
            # NUMBER: FLOCK ADVISORY WRITE PROCESS MAJOR:MINOR:INODE START END
            if fields[1] == "FLOCK" and fields[5].rsplit(":", 1)[1] == str(inode):
                return f" (process {fields[4]})"
    except (OSError, IndexError, UnicodeDecodeError):
        pass
    return ""
