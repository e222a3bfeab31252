"""The SQLite file of a store: opened, repaired if it is damaged, and written with patience."""

from __future__ import annotations

import ctypes
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from ccnvr.edge.storage import salvage, schema, wal
from ccnvr.edge.storage.health import Health, Patience
from ccnvr.edge.storage.owner_lock import MODE, OwnerLock, Whereabouts
from ccnvr.edge.storage.trouble import (
    ErrorsExplained,
    StoreDamaged,
    StoreError,
    StoreMoved,
    StoreTrouble,
    damaged,
    explain,
)

_LOCK_TIMEOUT_S = 10.0
"""How long a thread waits for another's transaction; a commit takes milliseconds."""

_PATIENT_TIMEOUT_S = 1.0
"""The same for one who tries again anyway, but must end soon when told to."""

CHECKED_AT_START_BYTES = 32 << 20
"""Up to this size a store is checked whole at each start, in about a second on a Raspberry Pi."""

_MARK_CLOSED = "UPDATE state SET value = 0 WHERE name = 'open'"

Statement = tuple[str, tuple[object, ...]]
_Result = TypeVar("_Result")


class Database:
    """The SQLite file of a store, open in one thread.

    Args:
        path: the file; it is made if it does not exist.
        owner: hold the lock that keeps other daemons out until `close`, and repair what is damaged.
            Other threads of the owning process open the file without it.
        patience: how to wait for trouble to pass; None raises it at once.

    Raises:
        StoreError: another daemon owns the file, it is not a store, or the disk refuses it.
    """

    def __init__(
        self, path: Path, *, owner: bool = False, patience: Patience | None = None
    ) -> None:
        self.path = path
        self._patience = patience
        self._errors_explained = ErrorsExplained(path)
        self._moved = False
        self.log_lost = False
        """Whether log or file were damaged when the owner opened the store."""
        self._lock: OwnerLock | None = None
        self._connection: sqlite3.Connection | None = None
        self._whereabouts: Whereabouts | None = None
        try:
            self._persist(lambda: self._open(owner))
        except BaseException:
            self.close()
            raise

    def newest_scan(self) -> int:
        """Return the number of the newest record of a scan; 0 if there is none."""
        ((number,),) = self.query("SELECT coalesce(max(id), 0) FROM scans")
        return int(number)

    def query(self, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Run a SELECT statement and return its rows.

        Raises:
            StoreError: the file cannot be read.
        """
        return self._persist(lambda: self._connected.execute(sql, values).fetchall())

    def change(self, *statements: Statement) -> int:
        """Run statements in one transaction; return how many rows the last one changed.

        The change is on disk, and the file still in its place, when this returns.

        Raises:
            StoreMoved: the file was removed or replaced.
            StoreError: the file cannot be written.
        """
        changed = self._persist(lambda: self._change(statements))
        if self._whereabouts is not None:
            try:
                self._whereabouts.check()
            except StoreMoved:
                # Closing would delete the log by its name, which may be another store's by now.
                # Only a connection that is never closed does not.
                self._moved = True
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
                raise
        return changed

    def rescue(self) -> Path:
        """Copy a store that was removed or replaced, and return the copy's path.

        The deleted file lives on as long as it is open, so nothing is lost.

        Raises:
            StoreError: the copy cannot be written.
        """
        target = self.path
        if target.exists():
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
            target = target.with_name(f"{target.name}.rescued-{stamp}")
        # A log that is still there belongs to the store that was taken away.
        with suppress(OSError):
            wal.path_of(target).unlink()
        with self._errors_explained:
            self._connected.execute("VACUUM INTO ?", (str(target),))
            target.chmod(MODE)
            # The copy needs no log: it was closed in order.
            with closing(sqlite3.connect(target, isolation_level=None)) as copy:
                copy.execute(_MARK_CLOSED)
        return target

    def close(self) -> None:
        """Close the file and release its lock."""
        if self._connection is not None and not self._moved:
            if self._lock is not None:
                with suppress(sqlite3.Error, UnicodeError):
                    self._connection.execute(_MARK_CLOSED)
            self._connection.close()
        if self._lock is not None:
            self._lock.close()
        self._connection = self._lock = None

    @property
    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"store {self.path} is closed; open it again")
        return self._connection

    def _open(self, owner: bool) -> None:
        self.close()
        if owner:
            self._lock = OwnerLock(self.path)
            self._open_as_owner()
        else:
            self._connect()
        self._whereabouts = Whereabouts(self.path)

    def _open_as_owner(self) -> None:
        """Open the file; what is damaged is repaired, and told."""
        health = self._patience.health if self._patience else Health()
        log = wal.examine(wal.path_of(self.path))
        if self._needs_repair(log):
            self._repair(health)
            log = wal.LogState()
        # Before SQLite has the file open: closing any descriptor of it would drop SQLite's locks.
        saved = list(salvage.log_records(log, self.path)) if log.unreachable else []
        try:
            self._connect()
            self._check_small(health)
        except StoreDamaged:
            self._repair(health)
            self._connect()
            log = wal.LogState()
        if log.unreachable:
            self.log_lost = True
            self._recover(log, saved, health)
        self._mark_open(bool(log.frames), health)

    def _needs_repair(self, log: wal.LogState) -> bool:
        """Return whether SQLite must not open the file as it is.

        Raises:
            StoreError: the file is no database and holds no records.
        """
        assert self._lock is not None
        start = self._lock.start(len(salvage.MAGIC))
        if start == salvage.MAGIC:
            return False
        if not start:
            # SQLite would delete a log beside an empty file.
            return bool(log.frames)
        if not salvage.holds_records(self.path):
            raise StoreError(f"{self.path} is not a database; name another file as the store")
        return True

    def _repair(self, health: Health) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        assert self._lock is not None
        self._lock.close()
        repair_store(self.path, health)
        self.log_lost = True
        # The lock lies on the file, which is another one now.
        self._lock = OwnerLock(self.path)

    def _connect(self) -> None:
        timeout = _PATIENT_TIMEOUT_S if self._patience else _LOCK_TIMEOUT_S
        with self._errors_explained:
            # isolation_level=None commits each statement when it returns.
            self._connection = sqlite3.connect(self.path, timeout=timeout, isolation_level=None)
            # Text of a damaged record must not end a query.
            self._connection.text_factory = lambda data: data.decode("utf-8", "replace")
            self._prepare(self._connection)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Check that the file is a store, and bring it to the present schema."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        # All checks come before the first write: a file that is refused stays as it is.
        if application != schema.APPLICATION_ID and (tables or version):
            if salvage.holds_records(self.path):
                raise damaged(self.path, "it has lost its mark as a store")
            raise StoreError(
                f"{self.path} is a database of another program; name another file as the store"
            )
        if version > schema.SCHEMA:
            raise StoreError(
                f"store {self.path} has schema {version} and this ccnvr knows {schema.SCHEMA}; "
                "update ccnvr"
            )
        difference = schema.first_difference(connection, version)
        if application == schema.APPLICATION_ID and difference:
            if version >= schema.FIRST_WITH_CHECKSUMS and salvage.holds_records(self.path):
                raise damaged(self.path, difference)
            raise StoreError(
                f"store {self.path} was made by an older development version of ccnvr "
                f"({difference}); move it away, and read its scans with the version that made it"
            )
        # FULL syncs at every commit: a prediction that a stream has shown must survive a power
        # cut. WAL lets streams read while the main loop writes. The page size holds for a new file
        # only; erasing what is deleted would write it again.
        for pragma in (
            f"page_size = {schema.PAGE_BYTES}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "secure_delete = OFF",
            "wal_autocheckpoint = 4000",
        ):
            connection.execute(f"PRAGMA {pragma}")
        if version < schema.SCHEMA:
            schema.migrate(connection)

    def _check_small(self, health: Health) -> None:
        """Check a store of moderate size whole, and tell of damaged records.

        Raises:
            StoreDamaged: SQLite cannot follow the file.
        """
        if self.path.stat().st_size > CHECKED_AT_START_BYTES:
            return
        with self._errors_explained:
            ((found,),) = self._connected.execute("PRAGMA integrity_check(1)").fetchall()
            if found != "ok":
                raise damaged(self.path, found)
            unsound = salvage.unsound_ids(self._connected)
        if unsound:
            health.note(
                f"{len(unsound)} records of store {self.path} are damaged and are skipped; ccnvr "
                f"doctor {self.path} --repair removes them"
            )

    def _recover(
        self, log: wal.LogState, saved: list[tuple[str, salvage.Record]], health: Health
    ) -> None:
        """Add what the damaged log still holds, and tell what it may have lost."""
        added = 0
        with self._errors_explained:
            # A scan stays one where its references are lost.
            self._connected.execute("PRAGMA foreign_keys = OFF")
            self._connected.execute("BEGIN IMMEDIATE")
            for table, record in saved:
                if table == salvage.CURSORS:
                    continue  # delivered twice is better than not at all
                with suppress(sqlite3.IntegrityError):
                    added += salvage.add_record(self._connected, table, record)
            self._connected.execute("COMMIT")
            self._connected.execute("PRAGMA foreign_keys = ON")
        most = max(0, log.transactions_unreachable - added)
        health.note(
            f"the log of store {self.path} was damaged: {log.transactions_unreachable} commits "
            f"could not be read, {added} scans and references of them were saved, at most {most} "
            "are lost"
        )

    def _mark_open(self, log_found: bool, health: Health) -> None:
        """Note in the main file that the store is in use, so that a lost log will be noticed."""
        with self._errors_explained:
            rows = self._connected.execute("SELECT value FROM state WHERE name = 'open'").fetchall()
            if rows == [(1,)] and not log_found:
                self.log_lost = True
                last = self._connected.execute(
                    "SELECT max(time) FROM scans WHERE id = (SELECT max(id) FROM scans)"
                ).fetchone()[0]
                health.note(
                    f"the log of store {self.path} was removed or emptied while the store was not "
                    f"closed: scans after {last or 'its beginning'} may be lost"
                )
            self._connected.execute("INSERT OR REPLACE INTO state VALUES ('open', 1)")
            # Into the main file, where it stays if the log is lost.
            self._connected.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _change(self, statements: tuple[Statement, ...]) -> int:
        connection = self._connected
        if len(statements) == 1:
            return connection.execute(*statements[0]).rowcount
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                changed = connection.execute(*statement).rowcount
            connection.execute("COMMIT")
        except BaseException:
            # After an error of the disk, SQLite may have rolled back already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return changed

    def _persist(self, action: Callable[[], _Result]) -> _Result:
        """Do something until it succeeds, as long as patience lasts."""
        tries = 0
        while True:
            try:
                with self._errors_explained:
                    result = action()
            except StoreTrouble as trouble:
                if self._patience is None or not self._patience.wait(str(trouble), tries):
                    raise
                tries += 1
                continue
            if tries and self._patience is not None:
                self._patience.health.restored()
            return result


def repair_store(path: Path, health: Health) -> salvage.Salvaged:
    """Save what a damaged store holds into a new one in its place, and tell what was saved.

    Raises:
        StoreError: a daemon uses the store, or the new one cannot be written.
    """
    lock = OwnerLock(path)
    try:
        saved = salvage.repair(path)
    except (sqlite3.Error, OSError) as error:
        raise explain(path, error) from error
    finally:
        lock.close()
    health.note(f"store {path} was damaged and is repaired: {saved}")
    return saved


__all__ = ["Database", "Statement", "StoreError", "repair_store"]
