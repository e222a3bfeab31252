"""The control socket: who may use it, and peers that break its rules."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from ccnvr.edge.storage.context import SampleIdentity
from ccnvr.edge.workflow import control_socket
from ccnvr.edge.workflow.client import ControlClient
from ccnvr.edge.workflow.control import MOST_WAITING, Control
from ccnvr.edge.workflow.control_socket import MOST_CONNECTIONS, ControlServer, short_address
from ccnvr.edge.workflow.messages import MOST_LINE
from ccnvr.edge.workflow.requests import JobFailed, JobFinished, OperatorPrompt, SampleRequest
from ccnvr.firmware_bridge.errors import CcnvrError
from tests.support.measuring import until


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def server(control: Control, store: Path) -> Iterator[ControlServer]:
    running = ControlServer(control, store)
    running.start()
    assert running.listening.wait(10.0)
    yield running
    running.close()
    assert not running.path.exists()
    assert not [one for one in threading.enumerate() if one.name.startswith("control")]


def connect(server: ControlServer) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(10)
    with short_address(server.path) as address:
        peer.connect(address)
    return peer


def answer(peer: socket.socket, line: bytes) -> dict[str, Any]:
    peer.sendall(line)
    return dict(json.loads(peer.makefile("rb").readline()))


def test_only_the_user_may_connect(server: ControlServer) -> None:
    mode = server.path.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"\n", "not JSON"),
        (b"\xff\n", "not JSON"),
        (b"[" * 5_000 + b"\n", "not JSON"),
        (b"[]\n", "not a JSON object"),
        (b"{}\n", "request None is not one of"),
        (b'{"request": ["scan"]}\n', "is not one of"),
        (b'{"request": "erase"}\n', "is not one of scan, reference, check-sample, status"),
        (b'{"request": "scan", "sample": {"name": "x"}}\n', "unknown key 'sample.name'"),
        (b'{"request": "scan", "sample": {"id": 7}}\n', "must be text"),
        (b'{"request": "scan", "sample": {"id": "%s"}}\n' % (b"x" * 101), "more than 100"),
        (b'{"request": "scan", "sample": {"top_cm": NaN}}\n', "finite"),
        (b'{"request": "scan", "replicates": 31}\n', "outside 1 to 30"),
        (b'{"request": "scan", "replicates": 1e999}\n', "whole number"),
        (b'{"request": "status", "x": 1}\n', "takes no"),
        (b'{"request": "proceed"}\n', "no job to proceed"),
    ],
)
def test_a_wrong_line_is_refused_and_the_next_one_answered(
    server: ControlServer, line: bytes, words: str
) -> None:
    with connect(server) as peer:
        refused = answer(peer, line)
        assert refused["event"] == "failed" and words in refused["text"], refused
        assert answer(peer, b'{"request": "status"}\n')["event"] == "status"


def test_a_line_without_an_end_ends_the_connection(server: ControlServer) -> None:
    with connect(server) as peer:
        lines = peer.makefile("rb")
        with suppress(OSError):
            peer.sendall(b"x" * (MOST_LINE + 10_000))
        assert b"more than" in lines.readline()
        with suppress(ConnectionResetError):
            assert lines.readline() == b""


def test_a_note_of_the_greatest_length_fits(control: Control, server: ControlServer) -> None:
    request = SampleRequest(
        SampleIdentity("x" * 100, -5.0, 10.0, "y" * 100, "\U0001f331" * 1000), 30
    )
    with closing(ControlClient(server.path.with_name("s.sqlite"))) as client:
        events = client.ask(request)
        thread = threading.Thread(target=lambda: control.next_job(10).finish("done", {"a": 1}))  # type: ignore[union-attr]
        thread.start()
        assert next(events) == JobFinished("done", {"a": 1})
        thread.join()


def test_a_job_s_request_prompts_and_end_pass_through(
    control: Control, server: ControlServer, store: Path
) -> None:
    stopping, requests = threading.Event(), []

    def work() -> None:
        job = control.next_job(10)
        assert job is not None
        requests.append(job.request)
        job.prompt("put it there", stopping)
        job.tell("half")
        job.fail("no")

    thread = threading.Thread(target=work)
    thread.start()
    request = SampleRequest(SampleIdentity("Plot 7", 0.0, None, "Ana"), 3)
    with closing(ControlClient(store)) as client:
        events = client.ask(request)
        assert next(events) == OperatorPrompt("put it there")
        client.proceed()
        assert [event.text for event in events] == ["half", "no"]
        assert client.status()["activity"] == "connecting"
    thread.join()
    assert requests == [request]


def test_peers_that_are_slow_silent_or_too_many_hold_nobody_up(
    control: Control, server: ControlServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_socket, "IDLE_S", 0.5)
    peers = [connect(server) for _ in range(MOST_CONNECTIONS)]
    peers[0].sendall(b'{"request": ')
    with connect(server) as late:
        assert b"too many programs" in late.makefile("rb").readline()
    # A peer that asks without end and reads nothing.
    deaf = peers[1]
    deaf.settimeout(0.2)
    with pytest.raises(OSError):
        while True:
            deaf.sendall(b'{"request": "status"}\n' * 1000)
    # The silent ones are sent away, so that others find room.
    until(lambda: _serves(store), 20)
    for peer in peers:
        peer.close()


def _serves(store: Path) -> bool:
    try:
        with closing(ControlClient(store, 2.0)) as client:
            return bool(client.status())
    except CcnvrError:
        return False


def test_jobs_beyond_those_that_may_wait_are_refused(
    control: Control, server: ControlServer, store: Path
) -> None:
    waiting = [control.submit(SampleRequest()) for _ in range(MOST_WAITING)]
    with closing(ControlClient(store)) as client:
        (event,) = client.ask(SampleRequest())
        assert isinstance(event, JobFailed) and "wait already" in event.text
    # Whoever goes away withdraws the request.
    waiting[0].cancel()
    assert control.next_job(1) is waiting[1]


def test_whoever_goes_away_withdraws_a_request_that_waits(
    control: Control, server: ControlServer
) -> None:
    peer = connect(server)
    peer.sendall(b'{"request": "scan"}\n')
    until(lambda: control.status()["jobs_waiting"] == 1)
    peer.close()
    until(lambda: not any(one.name == "control-peer" for one in threading.enumerate()))
    assert control.next_job(0.1) is None


def test_a_socket_of_a_killed_daemon_is_replaced_and_a_file_is_not(
    control: Control, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_socket, "_BIND_AGAIN_S", 0.05)
    path = control_socket.socket_path(store)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    server = ControlServer(control, store)
    server.start()
    until(lambda: _serves(store))
    server.close()
    path.write_text("mine")
    server = ControlServer(control, store)
    server.start()
    server.close()
    assert path.read_text() == "mine"


def test_a_long_path_has_a_socket_too(control: Control, tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    os.makedirs(folder)
    server = ControlServer(control, folder / "s.sqlite")
    server.start()
    until(lambda: _serves(folder / "s.sqlite"))
    server.close()


def test_a_job_that_nobody_answers_ends(monkeypatch: pytest.MonkeyPatch, control: Control) -> None:
    monkeypatch.setattr("ccnvr.edge.workflow.control.OPERATOR_S", 0.2)
    job = control.submit(SampleRequest())
    with pytest.raises(CcnvrError, match="nobody answered for"):
        job.prompt("put it there", threading.Event())
