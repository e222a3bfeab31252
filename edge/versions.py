"""The versions of installed packages, without the cost of importlib.metadata.

Importing that module takes a sixth of the instructions that NumPy and onnxruntime take together,
mostly for the parser of e-mails that it reads a package's description with.
"""

from __future__ import annotations

import os
import re
import sys
from functools import cache

_SUFFIX = ".dist-info"


@cache
def installed_version(package: str) -> str | None:
    """Return the version of an installed distribution; None if it is not installed."""
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:  # the path is not a folder, such as a zip file
            continue
        for name in names:
            if name.endswith(_SUFFIX):
                # The standard for these folders: name and version, neither of which holds a hyphen.
                found, _, version = name.removesuffix(_SUFFIX).partition("-")
                if version and _normal(found) == _normal(package):
                    return version
    return _by_metadata(package)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _by_metadata(package: str) -> str | None:
    """Return the version of a package that has no such folder: an egg or a zip file."""
    # Imported only here, because this module exists to avoid it.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None
