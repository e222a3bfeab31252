"""A daemon and a simulated instrument in processes of their own, as the crash table drives them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CCNVR = [sys.executable, "-m", "ccnvr.edge.cli"]


@contextmanager
def simulator(*arguments: object) -> Iterator[str]:
    """Run `ccnvr simulate` without pauses; give its URL."""
    command = [*CCNVR, "simulate", "--pace", "0", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate()


class Daemon:
    """A `ccnvr run` whose lines are read, with their time, as they come.

    Args:
        folder: where the store, `s.sqlite`, and the log are.
        url: the instrument.
        configuration: TOML that follows the table of the instrument.
        environment: further variables.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        configuration: str = "",
        environment: dict[str, str] | None = None,
    ) -> None:
        self.store = folder / "s.sqlite"
        self.lines: list[tuple[float, str]] = []
        self._log = folder / "log"
        file = folder / "c.toml"
        file.write_text(
            f'[instrument]\nurl = "{url}"\n{configuration}\n[store]\npath = "{self.store}"\n'
        )
        self.started = time.monotonic()
        with open(self._log, "a") as log:
            self.process = subprocess.Popen(
                [*CCNVR, "run", "-c", str(file)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **(environment or {})},
            )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        self.process.kill()
        self._finish()

    def end(self) -> int:
        """Send SIGTERM, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self._finish()

    def wait_for_lines(self, count: int, timeout_s: float = 60.0) -> None:
        self._wait(lambda: len(self.lines) >= count, timeout_s, f"{count} lines")

    def back_after(self, moment: float, timeout_s: float = 60.0) -> float:
        """Return how long after a moment the next line came, in s."""
        self._wait(lambda: bool(self._after(moment)), timeout_s, "a line")
        return self._after(moment)[0] - moment

    def scan_ids(self) -> list[str]:
        return [scan_id for _, scan_id in self.lines]

    def _after(self, moment: float) -> list[float]:
        return [when for when, _ in list(self.lines) if when > moment]

    def _wait(self, done: Callable[[], bool], timeout_s: float, what: str) -> None:
        end = time.monotonic() + timeout_s
        while not done():
            ended = self.process.poll() is not None and not self._reader.is_alive()
            if time.monotonic() > end or ended:
                raise TimeoutError(f"no {what} within {timeout_s} s; the log:\n{self.log[-3000:]}")
            time.sleep(0.01)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("}\n"):  # a kill may cut the last one
                self.lines.append((time.monotonic(), json.loads(line)["scan_id"]))

    def _finish(self) -> int:
        code = self.process.wait(timeout=60)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code
