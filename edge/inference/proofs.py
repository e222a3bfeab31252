"""Proofs that a bundle has passed its trial on this machine with a given engine.

A bundle with a proof skips the trial in a child process. A proof is a small file in the user's
state folder, named by a hash of what was proved; after the folder is deleted, each bundle is tried
again. The folder is trusted only while it belongs to the user and nobody else can write to it. If
it cannot be kept, each start makes the trial.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import numpy as np

from ccnvr.edge.atomic_files import write_atomically
from ccnvr.edge.bundle.archive import Bundle
from ccnvr.edge.engines.registry import Choice
from ccnvr.edge.versions import installed_version
from ccnvr.firmware_bridge.errors import CcnvrError


def known(bundle: Bundle, choice: Choice) -> bool:
    """Return whether the bundle has passed its trial here before, with this engine."""
    folder = _folder()
    return folder is not None and _is_ours(folder) and (folder / _name(bundle, choice)).is_file()


def remember(bundle: Bundle, choice: Choice) -> None:
    """Keep a proof that the bundle has passed its trial, if that is possible."""
    folder = _folder()
    try:
        if folder is None:
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_ours(folder):
            with write_atomically(folder / _name(bundle, choice)) as stream:
                stream.write(json.dumps(_statement(bundle, choice), indent=1).encode())
    except (OSError, CcnvrError):
        return  # without a proof the next start makes the trial again, which is no reason to fail


def _folder() -> Path | None:
    try:
        home = os.environ.get("XDG_STATE_HOME", "") or Path.home() / ".local" / "state"
    except RuntimeError:  # the user has no home folder, as in some containers
        return None
    return Path(home) / "ccnvr" / "proved"


def _is_ours(folder: Path) -> bool:
    # lstat does not follow a link, which somebody else might have put there.
    try:
        status = folder.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.geteuid()
        and not status.st_mode & 0o022
    )


def _statement(bundle: Bundle, choice: Choice) -> dict[str, str]:
    """Return everything on which the outcome of a trial depends."""
    return {
        "bundle": bundle.digest,
        "part": choice.model_file,
        "engine": choice.engine.version,
        "ccnvr": installed_version("ccnvr") or "",
        "numpy": np.__version__,
        # Home folders may be shared between machines by a network file system.
        "machine": f"{os.uname().machine} {os.uname().nodename}",
    }


def _name(bundle: Bundle, choice: Choice) -> str:
    return hashlib.sha256(json.dumps(_statement(bundle, choice)).encode()).hexdigest()
