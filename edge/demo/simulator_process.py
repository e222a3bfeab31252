"""A simulated instrument in a process of its own, as `ccnvr simulate` starts it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ccnvr.firmware_bridge.errors import CcnvrError


@contextmanager
def simulator_process(table: Path, seed: int) -> Iterator[str]:
    """Run `ccnvr simulate` while the block runs; gives the URL of its pseudo-terminal.

    Args:
        table: a CSV file with the soils that the instrument sees in turn.
        seed: the seed of its noise.

    Raises:
        CcnvrError: it does not start; the message is its own.
    """
    # Not the script `ccnvr`, which need not be on the PATH.
    program = [sys.executable, "-m", "ccnvr.edge.cli", "simulate"]
    # The boot counter is fixed, so that two demos print the same scan ids.
    command = [*program, "--spectra", str(table), "--seed", str(seed), "--boot", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise CcnvrError(f"the simulator did not start: {process.stderr.read().strip()}")
        yield url
    finally:
        process.terminate()
        # This also reaps the process, and reads on so that it cannot block on a full pipe.
        process.communicate()
