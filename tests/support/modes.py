"""The modes of files, which root passes by."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_NOBODY = 65534


@contextmanager
def modes_hold() -> Iterator[None]:
    """Run the block as a user who is bound to the modes of files, also where root runs the tests.

    No module may be imported in the block for the first time, because the user may not be allowed
    to read it. Pytest's temporary folders are closed to the user.
    """
    if os.geteuid() != 0:
        yield
        return
    # The saved user stays root, so that the process can return to it.
    os.setresuid(_NOBODY, _NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
