"""The exit code of a tool, by the rules of ccnvr's commands."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ccnvr.firmware_bridge.errors import CcnvrError


def explained(work: Callable[[], None]) -> int:
    """Return the exit code of a tool's work; an error that has an explanation is one sentence."""
    try:
        work()
    except CcnvrError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0
