"""The port of lines, as QField and QGIS read it: over real sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.edge.streams import lines
from ccnvr.edge.streams.lines import MOST_READERS, LineServer, line_of
from ccnvr.edge.streams.settings import LinesConfig, check_installed, is_loopback
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from tests.support.brokers import free_port

RECORD: dict[str, Any] = {
    "scan_id": "S1-2-3",
    "predictions": {"OC": {"value": 21.437}, "pH": {"value": 6.0}},
    "flags": ["out_of_domain:Q", "OC:noisy"],
}


@pytest.fixture
def server() -> Iterator[LineServer]:
    made = LineServer(LinesConfig(port=free_port()))
    yield made
    made.close()


@pytest.fixture
def connect(server: LineServer) -> Iterator[Callable[[], Any]]:
    """Connections to the server, which end with the test."""
    with ExitStack() as opened:

        def reader() -> Any:
            connection = socket.create_connection(("127.0.0.1", server.port), 20)
            return opened.enter_context(opened.enter_context(connection).makefile("r"))

        yield reader


def test_a_line_has_the_id_the_values_and_the_flags() -> None:
    assert line_of(RECORD) == "S1-2-3;OC=21.44;pH=6;out_of_domain:Q OC:noisy"
    assert line_of(RECORD, ("pH", "N")) == "S1-2-3;pH=6;N=;out_of_domain:Q OC:noisy"


@given(st.text(), st.text())
def test_no_text_breaks_a_line_in_two(scan_id: str, flag: str) -> None:
    line = line_of({"scan_id": scan_id, "predictions": {}, "flags": [flag]})
    assert len(line.splitlines()) <= 1
    assert line.count(";") == 1


def test_all_readers_get_each_line_and_a_late_one_the_last(
    server: LineServer, connect: Callable[[], Any]
) -> None:
    first = connect()
    time.sleep(0.1)
    server.deliver(RECORD)
    assert first.readline() == line_of(RECORD) + "\n"
    late = connect()
    assert late.readline() == line_of(RECORD) + "\n"
    server.deliver({**RECORD, "scan_id": "S1-2-4"})
    assert first.readline().startswith("S1-2-4;")
    assert late.readline().startswith("S1-2-4;")


def test_a_reader_that_does_not_read_is_dropped_and_delays_nobody(
    server: LineServer, connect: Callable[[], Any]
) -> None:
    stuck = socket.create_connection(("127.0.0.1", server.port), 20)
    time.sleep(0.1)
    long = {**RECORD, "flags": ["x" * 4000]}
    # Far more than the buffers of a connection hold, so that each delivery would wait.
    for _ in range(5000):
        server.deliver(long)
    reader = connect()
    assert reader.readline().startswith("S1-2-3;")
    stuck.close()


def test_a_reader_that_talks_is_read_once_and_dropped(
    server: LineServer, connect: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def recorded(reader: socket.socket) -> bool:
        before = reader.recv(1000, socket.MSG_PEEK)
        asked.append(is_to_go(reader))
        # All but one byte is still there.
        assert reader.recv(1000, socket.MSG_PEEK) == before[1:]
        return asked[-1]

    is_to_go = lines._is_to_go
    monkeypatch.setattr(lines, "_is_to_go", recorded)
    server.deliver(RECORD)
    with socket.create_connection(("127.0.0.1", server.port), 20) as talker:
        assert talker.recv(100).startswith(b"S1-2-3;")
        talker.sendall(b"x" * 10)
        assert connect().readline()
        assert asked == [True]
        with suppress(ConnectionResetError):  # there are bytes that nobody read
            assert talker.recv(100) == b""


def test_readers_beyond_the_limit_are_turned_away_until_others_leave(
    server: LineServer, connect: Callable[[], Any]
) -> None:
    server.deliver(RECORD)
    others = [socket.create_connection(("127.0.0.1", server.port), 20) for _ in range(MOST_READERS)]
    for other in others:
        assert other.recv(100)
    assert connect().readline() == ""
    for other in others:
        other.close()
    time.sleep(0.1)
    assert connect().readline()


def test_a_port_in_use_is_refused_in_one_sentence(
    server: LineServer, connect: Callable[[], Any]
) -> None:
    with pytest.raises(CcnvrError, match=r"cannot be opened .* give another"):
        LineServer(LinesConfig(port=server.port))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.168.1.2", False),
        ("localhost.example.org", False),
    ],
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_settings_of_lines_are_checked() -> None:
    with pytest.raises(ValueError, match="is not a port"):
        LinesConfig(port=70_000)
    with pytest.raises(ValueError, match="is not an address"):
        LinesConfig(port=1, host="everywhere")


def test_a_table_whose_package_is_missing_says_what_to_install() -> None:
    with pytest.raises(UsageError, match=r"\[web\] needs .* pip install .*'ccnvr\[web\]'"):
        check_installed("web", "uvicorn", "ccnvr.no_such_module")
