"""Two slots for bundles, of which one is active; a new one is on trial until it has proved itself.

A folder holds `a.ccnvr`, `b.ccnvr`, `slots.json` and `.slots.lock`. Every file but the last is
written beside its place, verified, made durable and renamed, and `slots.json` comes last: whatever
is cut off half-way leaves the former bundle as it was. The daemon and `ccnvr update` change the
folder in turn, under the lock.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeAlias

from ccnvr.edge.atomic_files import remove_leftovers, write_atomically
from ccnvr.edge.bundle import archive
from ccnvr.edge.bundle.archive import BundleError
from ccnvr.edge.bundle.checks_of_files import LARGEST_BYTES
from ccnvr.edge.typed import build
from ccnvr.edge.updates.signature import SUFFIX, check_signature
from ccnvr.edge.updates.slot_lock import locked
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.firmware_bridge.frozen import frozen

_LOG = logging.getLogger(__name__)

NAMES = ("a", "b")

TRIAL_PREDICTIONS = 20
"""So many predictions in a row must succeed before a new bundle counts as proved."""

STATE_FILE = "slots.json"
MOST_STATE_BYTES = 16_384


Stamp: TypeAlias = tuple[Path, int, int]
"""A bundle's place, inode and time of change."""


@frozen
class SlotState:
    """Which slot is active, which is on trial, and why the last trial failed.

    `active` is what to go back to: "" while the first bundle is on trial, and the first bundle once
    a second one is on trial. `trial` is "" without a trial.
    `refused` is the reason why the last new bundle was not taken or kept, and `refused_name` its
    name, or that of its file if it could not be read.
    """

    active: str = ""
    trial: str = ""
    refused: str = ""
    refused_name: str = ""

    def __post_init__(self) -> None:
        for name in (self.active, self.trial):
            if name not in ("", *NAMES):
                raise ValueError(f"slot {name!r} is not one of {', '.join(NAMES)}")
        if self.active and self.active == self.trial:
            raise ValueError(f"slot {self.active} is active and on trial")


class Slots:
    """The slots of one folder.

    Args:
        folder: the folder.

    Raises:
        UsageError: it is no folder of slots.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = self._read()
        self._versions: dict[Path, tuple[int, str]] = {}
        self._unwritten: tuple[Stamp, SlotState] | None = None
        """The bundle whose trial ended, and the state after it, while that cannot be written."""

    def refresh(self) -> None:
        """Read again what another process may have changed.

        Raises:
            UsageError: the state cannot be read; that of before stays.
        """
        if self._unwritten is None:
            self.state = self._read()
            return
        stamp, ended = self._unwritten
        if not self._lies_on_trial(stamp):
            self._unwritten = None
            return
        self.state = ended
        # That it could not be written was logged when the trial ended. It is tried each second, so
        # there is no need to wait for the lock.
        with suppress(CcnvrError), locked(self.folder, 0.0):
            if self._lies_on_trial(stamp):
                self.state = ended
                self._write(ended)

    def is_on_trial(self, stamp: Stamp | None) -> bool:
        """Read the state again; return whether the bundle with this stamp is the one on trial.

        Another one may lie in its place by now, of which nothing is known. While the state cannot
        be read, the one of before holds.
        """
        try:
            self.refresh()
        except CcnvrError as error:
            _LOG.debug("the folder of bundles cannot be read now: %s", error)
        return bool(self.state.trial) and self.stamp() == stamp

    def _lies_on_trial(self, stamp: Stamp) -> bool:
        """Read the state again; return whether it says so, whatever is still to be written."""
        self.state = self._read()
        # Another bundle that was put in its place needs its own trial.
        return bool(self.state.trial) and self.stamp() == stamp

    def path(self, name: str) -> Path:
        """Return the bundle's file of a slot."""
        return self.folder / f"{name}.ccnvr"

    def stamp(self) -> Stamp:
        """Return what tells the chosen bundle from another one at the same place.

        Raises:
            UsageError: there is none.
        """
        path = self.chosen
        try:
            stated = path.stat()
        except OSError:
            return path, 0, 0
        return path, stated.st_ino, stated.st_mtime_ns

    def version(self, name: str) -> str:
        """Return the version of a slot's bundle; "" of no slot."""
        if not name:
            return ""
        path = self.path(name)
        try:
            changed = path.stat().st_mtime_ns
            # Kept, because it is asked for every second, and a bundle is read as a whole.
            if self._versions.get(path, (0, ""))[0] != changed:
                self._versions[path] = changed, version_of(archive.read(path))
            return self._versions[path][1]
        except (OSError, BundleError, UsageError):
            return path.name

    @property
    def former(self) -> Path | None:
        """The bundle to go back to from the one on trial; None if there is none."""
        return self.path(self.state.active) if self.state.active else None

    @property
    def chosen(self) -> Path:
        """The bundle to run: the one on trial, else the active one.

        Raises:
            UsageError: there is none.
        """
        name = self.state.trial or self.state.active
        if not name:
            raise UsageError(
                f"{self.folder} holds no bundle; put one there with ccnvr update FILE --models "
                f"{self.folder}"
            )
        return self.path(name)

    def install(self, source: Path, public_key: Path | None = None) -> Path:
        """Put a bundle into the slot that is not to be gone back to, and begin its trial.

        Args:
            source: the bundle.
            public_key: the pinned key; the signature is the file with `.sig` after its name.

        Returns:
            The bundle's new place.

        Raises:
            UsageError: a file cannot be read.
            BundleError: the bundle or its signature is wrong; `refused` then tells others too,
                unless the folder cannot be locked or written to.
        """
        try:
            return self._install(source, public_key)
        except BundleError as error:
            # The state is read again: a bundle may be on trial, which this one does not disturb.
            # Whoever brings the bundle has to learn of this error, also if it cannot be noted.
            with suppress(CcnvrError), locked(self.folder):
                self._write(replace(self._read(), refused=str(error), refused_name=source.name))
            raise

    def _install(self, source: Path, public_key: Path | None) -> Path:
        content = _content(source)
        if public_key is not None:
            check_signature(content, source.with_name(source.name + SUFFIX), public_key)
        # From reading the state to writing it: a trial that the daemon ends in between would come
        # to life again, or count for this bundle.
        with locked(self.folder):
            # Not those of the state, which the daemon writes as well.
            remove_leftovers(self.folder, "?.ccnvr")
            former, name = self._former_and_next()
            place = self.path(name)
            with write_atomically(place) as stream:
                stream.write(content)
                stream.flush()
                _verify(Path(stream.name), source)
            # Between the two renames a daemon finds the former bundle, or this one on trial
            # already.
            self._write(SlotState(former, trial=name))
        return place

    def _former_and_next(self) -> tuple[str, str]:
        """Return the slot to go back to, "" if there is none, and the slot for another bundle."""
        self.state = self._read()
        # A bundle on trial gives way to a newer one, but not the first one, which is all there is.
        former = self.state.active or self.state.trial
        return former, next(name for name in NAMES if name != former)

    def confirm(self, tried: Stamp | None = None) -> None:
        """Make the bundle on trial the active one.

        Args:
            tried: the bundle that was tried; nothing is done if it is not on trial any more. By
                default it is whichever is.

        Raises:
            CcnvrError: the state cannot be read, written or locked.
        """
        with locked(self.folder):
            if tried is not None and not self.is_on_trial(tried):
                return
            self._write(SlotState(active=self.state.trial or self.state.active))
        _LOG.info("the new bundle %s has proved itself", self.path(self.state.active))

    def roll_back(self, reason: str, tried: Stamp | None = None) -> None:
        """End a trial and go back to the active bundle.

        If that cannot be written, it holds in this process, and is written as soon as it can be.

        Args:
            reason: why the bundle is not kept.
            tried: the bundle that was tried; see `confirm`.
        """
        try:
            with locked(self.folder):
                self._go_back(reason, tried)
        except CcnvrError as error:
            _LOG.error("that a new bundle is not kept cannot be noted yet: %s", error)
            # Without the lock, unless that was done before the writing failed.
            self._go_back(reason, tried, written=False)

    def _go_back(self, reason: str, tried: Stamp | None, written: bool = True) -> None:
        if not (self.state.trial if tried is None else self.is_on_trial(tried)):
            return
        place = self.path(self.state.trial)
        _LOG.error("%s is not kept: %s; going on with the former bundle", place, reason)
        try:
            name = archive.read(place).manifest.name
        except (BundleError, UsageError):
            name = place.name
        # The file stays for whoever wants to know; the next update writes over it.
        ended = SlotState(self.state.active, refused=reason, refused_name=name)
        self._unwritten = self.stamp(), ended
        self.state = ended
        if written:
            self._write(ended)

    def _read(self) -> SlotState:
        path = self.folder / STATE_FILE
        try:
            # An empty folder is one whose first bundle is still to come.
            if not path.exists() and self.folder.is_dir():
                return SlotState()
            with path.open("rb") as stream:
                return build(SlotState, json.loads(stream.read(MOST_STATE_BYTES)))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{path} does not say which bundle is active ({error}); give a folder of ccnvr "
                "update, or install the bundle anew into an empty one"
            ) from error

    def _write(self, state: SlotState) -> None:
        with write_atomically(self.folder / STATE_FILE) as stream:
            stream.write(json.dumps(asdict(state)).encode())
        self.state = state


def is_folder_of_slots(bundle: str) -> bool:
    """Return whether a configuration's bundle is a folder of `ccnvr update`."""
    # Not by pathlib, which raises on a disk that cannot be read.
    return os.path.isfile(os.path.join(bundle, STATE_FILE))


def version_of(bundle: archive.Bundle) -> str:
    """Return a bundle's name with the start of its digest.

    It is no version in the sense of numbers: Home Assistant then shows any other one as newer.
    """
    return f"{bundle.manifest.name} {bundle.digest[:8]}"


def _verify(written: Path, source: Path) -> None:
    """Check that a bundle has been written whole and right.

    Raises:
        BundleError: it is not; names the source.
    """
    # As it lies on the disk, since that is what will run.
    try:
        archive.read(written)
    except (BundleError, UsageError) as error:
        raise BundleError(str(error).replace(str(written), str(source))) from error


def _content(source: Path) -> bytes:
    try:
        with source.open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"bundle {source} cannot be read ({error.strerror}); give an existing file"
        ) from error
    if len(content) > LARGEST_BYTES:
        raise BundleError(f"bundle {source} is larger than {LARGEST_BYTES} bytes")
    return content
