"""Why a port cannot be opened, and what its user does about it."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
from pathlib import Path

_PSEUDO_TERMINALS = "/dev/pts/"
_GROUP_MAY_USE = 0o060


def advice(url: str, path: Path | None, error: Exception) -> str:
    """Return a sentence on what is wrong with a port, and what to do next.

    Args:
        url: the URL of the port.
        path: its device; None of a socket.
        error: what pyserial or the system raised.
    """
    # pyserial wraps errors of the system, some with their number and some only with their text.
    number = getattr(error, "errno", None)
    text = str(error).lower()
    if number == errno.ENOENT or "no such file" in text:
        return _absent(url, path)
    if number == errno.EPERM:
        # A file's own permissions give EACCES, the control group of a service gives this.
        return (
            f"the service's limits on devices do not allow {url}; restart the service, which "
            "learns the numbers of devices as it starts"
        )
    if number == errno.EACCES:
        return f"no permission to open {url}; {_permission(path)}"
    # pyserial reports a lock of another program only in its text.
    if number in (errno.EBUSY, errno.EWOULDBLOCK) or "exclusively lock" in text:
        return f"the port of {url} is busy; stop the other program that uses it"
    if "refused" in text:
        return f"nothing listens at {url}; start the instrument's server or correct the address"
    # pyserial gives the number of a failed look-up of a name in its text alone.
    if path is None and f"[errno {socket.EAI_NONAME}]" in text:
        return f"the name of the host in {url} is not known here; correct it, or give its address"
    if "inappropriate ioctl" in text:
        return f"{path} in {url} is no serial port; name one that ccnvr instruments --list prints"
    return f"{url} cannot be opened ({error}); check the name and the cable"


def _absent(url: str, path: Path | None) -> str:
    if path is not None and str(path).startswith(_PSEUDO_TERMINALS):
        return (
            f"there is no port {path}; it is the pseudo-terminal of a program that has "
            "ended: start ccnvr simulate again and take the URL that it prints, or have it make a "
            "name that stays by --link"
        )
    return (
        f"there is no port {path or url}; plug the instrument in and look for its name in "
        "/dev/serial/by-id, or run ccnvr instruments --list"
    )


def _permission(path: Path | None) -> str:
    """Return what lets this user open a device that the user may not open now."""
    try:
        state = os.stat(path or "")
        group = grp.getgrgid(state.st_gid)
        user = pwd.getpwuid(os.geteuid()).pw_name
    except (OSError, KeyError):  # it went away, or is of no group or user that has a name
        return "add your user to the group that owns the port (often dialout)"
    if state.st_mode & _GROUP_MAY_USE != _GROUP_MAY_USE:
        return f"it is for its owner alone: run this command as user {_name_of(state.st_uid)}"
    # What the system has on record, not this process, whose groups are those of the log-in.
    if user in group.gr_mem:
        return f"{user} is in its group {group.gr_name} since the last log-in: log in again"
    return f"add your user to its group and log in again: sudo usermod -aG {group.gr_name} {user}"


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
