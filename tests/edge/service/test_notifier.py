"""systemd's protocol with a real socket: ready, reload, watchdog, and a daemon that is stuck."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ccnvr.edge.service.liveness import Liveness
from ccnvr.edge.service.notifier import Notifier
from tests.support.helpers import CCNVR


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        yield listening


def until(manager: socket.socket, wanted: str) -> list[str]:
    """Return the messages up to the first that begins with `wanted`."""
    seen: list[str] = []
    while not seen or not seen[-1].startswith(wanted):
        seen.append(manager.recv(4096).decode())
    return seen


def environment(tmp_path: Path, watchdog_s: float) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": str(int(watchdog_s * 1e6))}


def test_a_thread_is_late_only_by_its_own_word(monkeypatch: pytest.MonkeyPatch) -> None:
    progress, now = Liveness(), 100.0
    monkeypatch.setattr("ccnvr.edge.service.liveness.time.monotonic", lambda: now)
    progress.doing(10.0)
    now = 109.0
    assert progress.late() == []
    now = 111.0
    assert progress.late() == [threading.current_thread().name]
    progress.waiting()
    assert progress.late() == []


def test_the_watchdog_is_fed_by_progress_alone(
    tmp_path: Path, manager: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    notifier, progress = Notifier(environment(tmp_path, 0.3)), Liveness()
    assert notifier.watchdog_s == 0.3
    with notifier.watching(progress):
        until(manager, "WATCHDOG=1")
        progress.status = "measuring"
        until(manager, "STATUS=measuring")
        progress.doing(-1.0)
        time.sleep(0.2)
        manager.setblocking(False)
        while True:
            try:
                manager.recv(4096)
            except BlockingIOError:
                break
        manager.settimeout(0.5)
        with pytest.raises(TimeoutError):
            manager.recv(4096)
        progress.doing(60.0)
        until(manager, "WATCHDOG=1")
    until(manager, "STOPPING=1")
    late = [record.getMessage() for record in caplog.records]
    assert len(late) == 1 and "has not moved for too long" in late[0]


def test_without_a_service_manager_nothing_is_sent_and_a_lost_one_stops_nothing(
    tmp_path: Path,
) -> None:
    Notifier({}).send("READY=1")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).send("READY=1")
    another = {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    assert Notifier(another).watchdog_s == 0.0


def service(tmp_path: Path, url: str) -> subprocess.Popen[str]:
    (tmp_path / "c.toml").write_text(
        f'[instrument]\nurl = "{url}"\n[run]\ninterval_s = 0.05\n'
        f'[store]\npath = "{tmp_path / "s.sqlite"}"\n'
    )
    return subprocess.Popen(
        [*CCNVR, "run", "-c", str(tmp_path / "c.toml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment(tmp_path, 2.0)},
    )


@pytest.mark.slow
def test_the_daemon_as_a_service(
    simulator_process: Callable[..., str], tmp_path: Path, manager: socket.socket
) -> None:
    process = service(tmp_path, simulator_process())
    until(manager, "READY=1")
    # Nobody may be there at the start of a computer, and no earlier white tells the panel.
    asked = until(manager, "STATUS=instrument SIM-512 has no references since it was switched on")
    assert "send SIGHUP (systemctl reload ccnvr)" in asked[-1]
    until(manager, "WATCHDOG=1")
    process.send_signal(signal.SIGHUP)
    seen = until(manager, "READY=1")
    assert any("RELOADING=1\nMONOTONIC_USEC=" in message for message in seen)
    until(manager, "STATUS=measuring")
    process.send_signal(signal.SIGTERM)
    until(manager, "STOPPING=1")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert [json.loads(line)["scan_id"] for line in out.splitlines()]
    # The references of this power-on serve again, and nobody is asked.
    process = service(tmp_path, (tmp_path / "c.toml").read_text().split('"')[1])
    until(manager, "STATUS=measuring")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


@pytest.mark.slow
def test_a_service_waits_for_an_instrument_that_is_not_there_yet(
    tmp_path: Path, manager: socket.socket
) -> None:
    process = service(tmp_path, "serial:///dev/ttyNONE")
    until(manager, "READY=1")
    until(manager, "STATUS=there is no port")
    time.sleep(2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0
