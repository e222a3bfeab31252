"""Signals to a real daemon in every state, and a log that nobody reads: it ends or goes on."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.helpers import CCNVR

pytestmark = pytest.mark.slow

END_S = 5.0


class Daemon:
    """A `ccnvr run` in a process of its own, with its log in a file."""

    def __init__(self, folder: Path, *arguments: object, **options: object) -> None:
        self.store, self._log = folder / "s.sqlite", folder / "log"
        given = [*map(str, arguments), "--store", str(self.store)]
        with open(self._log, "w") as log:
            self.process = subprocess.Popen(
                [*CCNVR, "run", *given],
                **{"stdout": subprocess.DEVNULL, "stderr": log, **options},  # type: ignore[call-overload]
            )

    def log(self) -> str:
        return self._log.read_text()

    def wait_for(self, words: str, times: int = 1) -> None:
        end = time.monotonic() + 90
        while self.log().count(words) < times:
            assert time.monotonic() < end and self.process.poll() is None, self.log()
            time.sleep(0.05)

    def wait_for_scans(self, count: int) -> None:
        end = time.monotonic() + 90
        while len(self.scan_ids()) < count:
            assert time.monotonic() < end and self.process.poll() is None, self.log()
            time.sleep(0.05)

    def scan_ids(self) -> list[str]:
        try:
            with closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True)) as connection:
                rows = connection.execute("SELECT scan_id FROM scans ORDER BY id")
                return [row[0] for row in rows]
        except sqlite3.OperationalError:
            return []

    def end(self) -> int:
        """Send SIGTERM, and return the exit code of an end in time."""
        before = len(self.log())
        self.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        code: int = self.process.wait(timeout=30)
        assert time.monotonic() - started < END_S, self.log()
        assert "Traceback" not in self.log()
        assert "SIGHUP" not in self.log()[before:]
        return code


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    started: list[Daemon] = []

    def start(*arguments: object, **options: object) -> Daemon:
        started.append(Daemon(tmp_path, *arguments, **options))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def full_pipe() -> tuple[int, int]:
    """Return a pipe that takes not one byte more."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, bytes(4096))
    return reading, writing


def test_a_reader_of_standard_output_that_is_stuck(
    simulator_process: Callable[..., str], daemon: Callable[..., Daemon]
) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    one = daemon("--instrument", simulator_process(), stdout=writing)
    # More than the pipe takes, so that the stream waits for its reader.
    one.wait_for_scans(30)
    assert one.end() == 0
    assert "nobody read the last records from standard output" in one.log()
    os.close(writing)
    with open(reading) as stream:
        whole = [json.loads(line)["scan_id"] for line in stream if line.endswith("}\n")]
    stored = one.scan_ids()
    assert whole == stored[: len(whole)] and len(whole) < len(stored)
    # The next run delivers the rest, so that nothing is lost.
    rest = daemon("--instrument", "sim://?pace=0", "--count", 1, stdout=subprocess.PIPE)
    out, _ = rest.process.communicate(timeout=60)
    again = [json.loads(line)["scan_id"] for line in out.decode().splitlines()]
    assert set(stored) <= {*whole, *again}


def test_a_panel_that_nobody_brings(
    simulator_process: Callable[..., str], daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """The instrument was started again; its white is refused for ever, and the daemon waits."""
    url = simulator_process("--faults", "reset@30,lamp@31+")
    one = daemon("--instrument", url)
    one.wait_for("was started again, so its references no longer hold; put the white panel")
    assert one.process.poll() is None
    assert one.end() == 0


def test_an_instrument_that_is_away(
    simulator_process: Callable[..., str], daemon: Callable[..., Daemon]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    command = [*CCNVR, "simulate", "--pace", "0", "--listen", f"127.0.0.1:{port}"]
    simulator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert simulator.stdout is not None
    one = daemon("--instrument", simulator.stdout.readline().strip())
    one.wait_for_scans(5)
    simulator.kill()
    simulator.communicate()
    one.wait_for("trying again")
    assert one.end() == 0


def test_an_instrument_that_takes_a_quarter_of_a_minute_for_a_scan(
    simulator_process: Callable[..., str], daemon: Callable[..., Daemon]
) -> None:
    one = daemon("--instrument", simulator_process("--pace", 99))
    one.wait_for("taking the dark reference")
    assert one.end() == 0


def test_an_instrument_that_does_not_answer(daemon: Callable[..., Daemon]) -> None:
    """It accepts the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one = daemon("--instrument", f"socket://127.0.0.1:{silent.getsockname()[1]}")
        with silent.accept()[0]:
            assert one.end() in (0, 1)


def test_a_broker_that_is_away_while_the_reader_of_standard_output_is_stuck(
    simulator_process: Callable[..., str], daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        file = tmp_path / "c.toml"
        file.write_text(
            f'[instrument]\nurl = "{simulator_process()}"\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\n'
        )
        reading, writing = full_pipe()
        one = daemon("-c", file, stdout=writing)
        one.wait_for_scans(5)
        assert one.end() == 0
    os.close(reading)
    os.close(writing)


def test_a_store_that_another_program_has_locked_before_the_start(
    tmp_path: Path, daemon: Callable[..., Daemon]
) -> None:
    first = daemon("--instrument", "sim://?pace=0", "--count", 1)
    assert first.process.wait(timeout=60) == 0
    with closing(sqlite3.connect(first.store, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        one = daemon("--instrument", "sim://?pace=0")
        one.wait_for("another program has locked it")
        assert one.end() == 1


def test_a_sighup_has_the_configuration_read_again_and_measuring_goes_on(
    simulator_process: Callable[..., str], daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    url, file = simulator_process(), tmp_path / "c.toml"
    file.write_text(f'[instrument]\nurl = "{url}"\n[run]\ninterval_s = 0.05\n')
    one = daemon("-c", file)
    one.wait_for_scans(5)
    file.write_text(f'[instrument]\nurl = "{url}"\naverages = 4\n[run]\ninterval_s = 0.05\n')
    one.process.send_signal(signal.SIGHUP)
    one.wait_for("SIGHUP: the configuration was read again")
    # Other settings need references of their own, which someone sees to who sends the signal.
    one.wait_for("taking the white reference", 2)
    before = len(one.scan_ids())
    one.wait_for_scans(before + 5)
    for wrong in (
        "[instrument\n",
        f'[instrument]\nurl = "{url}"\n[model]\nbundle = "/no/such.ccnvr"\n',
        '[instrument]\nurl = "nonsense"\n',
    ):
        told = one.log().count("going on with the former configuration")
        file.write_text(wrong)
        one.process.send_signal(signal.SIGHUP)
        one.wait_for("going on with the former configuration", told + 1)
        before = len(one.scan_ids())
        one.wait_for_scans(before + 5)
    assert one.end() == 0
    with closing(sqlite3.connect(one.store)) as connection:
        averages = [row[0] for row in connection.execute("SELECT averages FROM scans ORDER BY id")]
        numbers = [int(scan_id.rsplit("-", 1)[1]) for scan_id in one.scan_ids()]
        taken = [row[0] for row in connection.execute("SELECT number FROM reference_scans")]
    assert averages[0] == 16 and averages[-1] == 4
    # Draining loses no scan.
    assert sorted([*numbers, *taken]) == list(range(1, max(numbers) + 1))


def test_a_sighup_without_a_file_or_in_a_bad_moment_ends_nothing(
    simulator_process: Callable[..., str], daemon: Callable[..., Daemon]
) -> None:
    one = daemon("--instrument", simulator_process(), "--interval", 0.05)
    # From the imports on, before the configuration was read even.
    ignored = re.compile(r"^SigIgn:\s+[0-9a-f]*[13579bdf]$", re.M)
    end = time.monotonic() + 90
    while not ignored.search(Path(f"/proc/{one.process.pid}/status").read_text()):
        assert time.monotonic() < end
    for _ in range(5):
        one.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
    before = len(one.scan_ids())
    one.wait_for_scans(before + 5)
    assert one.end() == 0


@pytest.mark.parametrize("state", ["full", "blocked", "gone", "closed"])
def test_a_log_that_cannot_be_written_stops_nothing(
    simulator_process: Callable[..., str], tmp_path: Path, state: str
) -> None:
    """Ten scans come, and nothing but scans is on standard output."""
    arguments = ["run", "--instrument", simulator_process(), "--store", str(tmp_path / "s")]
    command = [*CCNVR, *arguments, "--count", "10"]
    redirection = {"full": "2>/dev/full", "closed": "2>&-"}.get(state, "")
    reading, writing = full_pipe()
    if state == "gone":
        os.close(reading)
    script = f"exec {shlex.join(command)} {redirection}"
    process = subprocess.Popen(
        ["bash", "-c", script], stdout=subprocess.PIPE, stderr=writing, text=True
    )
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert len([json.loads(line)["scan_id"] for line in out.splitlines()]) == 10
    os.close(writing)
    if state != "gone":
        os.close(reading)


def test_a_reader_of_the_log_that_goes_away_or_sleeps_in_mid_run(
    simulator_process: Callable[..., str], daemon: Callable[..., Daemon]
) -> None:
    for leaves in (True, False):
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        one = daemon("--instrument", simulator_process(), "--interval", 0.02, stderr=writing)
        os.close(writing)
        one.wait_for_scans(3)
        if leaves:
            os.close(reading)
        for _ in range(40):  # each has the daemon log two lines
            one.process.send_signal(signal.SIGHUP)
            time.sleep(0.05)
        before = len(one.scan_ids())
        one.wait_for_scans(before + 10)
        assert one.end() == 0
        if not leaves:
            os.close(reading)
        one.store.unlink()


def test_a_second_round_is_not_begun_outside_the_main_thread(tmp_path: Path) -> None:
    """Programs that use the daemon in a thread of their own keep their signal handlers."""
    from ccnvr.edge.service.run_signals import RunSignals

    before = signal.getsignal(signal.SIGHUP)
    seen = []

    def use() -> None:
        with RunSignals().handled():
            seen.append(signal.getsignal(signal.SIGHUP))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [before]
