"""The command that adds packages to the installation of ccnvr that is running."""

from __future__ import annotations

import sys
from pathlib import Path

_CONSTRAINTS = "constraints.txt"


def extra_command(extra: str) -> str:
    """Return the command line that installs an extra of ccnvr, to be shown to a user.

    pip takes the installed ccnvr as it is, wherever it came from, and adds what the extra needs.
    """
    return pip_command(f"ccnvr[{extra}]")


def pip_command(*words: str) -> str:
    """Return the command line by which pip installs packages beside this ccnvr.

    It names this interpreter, because a bare `pip` may be another environment's. The versions that
    the tests ran with are taken where ccnvr was installed from a copy of the repository that still
    exists; someone who installed a wheel has no file that lists them.
    """
    import shlex  # only for a message, and every command imports this module

    constraints = _constraints()
    pinned = [] if constraints is None else ["-c", str(constraints)]
    return shlex.join([sys.executable, "-m", "pip", "install", *pinned, *words])


def _constraints() -> Path | None:
    # Only for a message too: importlib.metadata takes long to import.
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import unquote, urlsplit

    try:
        # PEP 610: where an installation came from, if that was no package index.
        stated = distribution("ccnvr").read_text("direct_url.json")
        place = urlsplit(str(json.loads(stated or "{}").get("url", "")))
    except (PackageNotFoundError, OSError, ValueError, AttributeError):
        return None
    path = Path(unquote(place.path)) / _CONSTRAINTS
    return path if place.scheme == "file" and path.is_file() else None
