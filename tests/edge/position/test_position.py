"""Positions from a fake gpsd on loopback and from a real pseudo-terminal that speaks NMEA."""

from __future__ import annotations

import json
import math
import os
import pty
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.edge.position import keeper as module
from ccnvr.edge.position.gpsd import MOST_LINE, GpsdParser
from ccnvr.edge.position.keeper import PositionConfig, PositionKeeper
from ccnvr.edge.position.nmea import NmeaParser
from ccnvr.edge.storage.context import GeoPosition

TPV = {"class": "TPV", "mode": 3, "lat": -33.5, "lon": 151.25, "eph": 2.5}


def sentence(body: str) -> bytes:
    checksum = 0
    for byte in body.encode():
        checksum ^= byte
    return f"${body}*{checksum:02X}\r\n".encode()


GGA = sentence("GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,")
"""The example that most descriptions of NMEA 0183 print."""

RMC = sentence("GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W")


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class FakeGpsd:
    """A gpsd that sends what it is given, once it is told to watch."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.peer: socket.socket | None = None

    def accept(self) -> None:
        self._listener.settimeout(10)
        self.peer, _ = self._listener.accept()
        self.peer.settimeout(10)
        self.send({"class": "VERSION", "release": "3.25"})
        assert self.peer.recv(100).startswith(b'?WATCH={"enable":true')

    def send(self, report: dict[str, object]) -> None:
        self.send_bytes(json.dumps(report).encode() + b"\n")

    def send_bytes(self, data: bytes) -> None:
        assert self.peer is not None
        self.peer.sendall(data)

    def hang_up(self) -> None:
        assert self.peer is not None
        self.peer.close()

    def close(self) -> None:
        if self.peer is not None:
            self.peer.close()
        self._listener.close()


@pytest.fixture
def gpsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpsd]:
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.02)
    server = FakeGpsd()
    yield server
    server.close()


@contextmanager
def following(**settings: object) -> Iterator[PositionKeeper]:
    keeper = PositionKeeper(PositionConfig(**settings))  # type: ignore[arg-type]
    keeper.start()
    try:
        yield keeper
    finally:
        keeper.close()


def test_gpsd_is_followed_and_followed_again(gpsd: FakeGpsd) -> None:
    with following(source="gpsd", gpsd=gpsd.address) as keeper:
        gpsd.accept()
        gpsd.send(TPV)
        until(keeper.position)
        assert keeper.position() == GeoPosition(-33.5, 151.25, 2.5)
        assert keeper.status()["position"] == {
            "latitude": -33.5,
            "longitude": 151.25,
            "accuracy_m": 2.5,
        }
        gpsd.hang_up()
        gpsd.accept()
        gpsd.send(TPV | {"lat": 1.0})
        until(lambda: keeper.position() == GeoPosition(1.0, 151.25, 2.5))


def test_a_lost_fix_and_an_old_position_are_absent(gpsd: FakeGpsd) -> None:
    with following(source="gpsd", gpsd=gpsd.address, max_age_s=0.5) as keeper:
        gpsd.accept()
        gpsd.send(TPV)
        until(keeper.position)
        gpsd.send({"class": "TPV", "mode": 1})
        until(lambda: keeper.position() is None)
        gpsd.send(TPV)
        until(keeper.position)
        until(lambda: keeper.position() is None)
        assert keeper.status()["position"] is None


def test_what_gpsd_must_not_say_is_no_position(gpsd: FakeGpsd) -> None:
    with following(source="gpsd", gpsd=gpsd.address) as keeper:
        gpsd.accept()
        for wrong in (
            b"\xff\xfe{}\n",
            b"[" * 10_000 + b"\n",
            b'{"class": "TPV", "mode": 3, "lat": 1' + b"0" * 500 + b', "lon": 1}\n',
            b'{"class": "TPV", "mode": 3, "lat": NaN, "lon": Infinity}\n',
            b'{"class": "TPV", "mode": true, "lat": 1, "lon": 1}\n',
            b'{"class": "TPV", "mode": 3, "lat": 91, "lon": 1}\n',
            b'{"class": "TPV", "mode": 3, "lat": 1, "lon": 1, "eph": -1}\n',
            b"x" * (MOST_LINE + 5_000) + b"\n",
        ):
            gpsd.send_bytes(wrong)
        time.sleep(0.2)
        assert keeper.position() is None
        gpsd.send(TPV)
        until(keeper.position)


def test_without_gpsd_nothing_waits(gpsd: FakeGpsd) -> None:
    gpsd.close()
    with following(source="gpsd", gpsd=gpsd.address) as keeper:
        time.sleep(0.1)
        assert keeper.position() is None
        assert keeper.status()["age_s"] is None


def test_a_receiver_on_a_real_port_is_followed_until_it_is_unplugged() -> None:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    url = f"serial://{os.ttyname(theirs)}?baud=9600"
    with following(source="nmea", port=url) as keeper:
        assert keeper.position() is None

        def sent_again() -> object:
            # What comes before the port is open is lost, and a receiver sends again and again.
            with suppress(BlockingIOError):
                os.write(ours, GGA)
            return keeper.position()

        os.set_blocking(ours, False)
        # Half a sentence first, as when a receiver is plugged in.
        os.write(ours, GGA[20:])
        until(sent_again)
        found = keeper.position()
        assert found is not None
        assert found.latitude == pytest.approx(48 + 7.038 / 60)
        assert found.longitude == pytest.approx(11 + 31.0 / 60)
        assert found.accuracy_m == pytest.approx(0.9 * 15.0)
        os.close(theirs)
        os.close(ours)
        time.sleep(0.1)
        assert keeper.is_alive()


def read(*sentences: bytes) -> list[GeoPosition | None]:
    return list(NmeaParser().feed(b"".join(sentences)))


def test_rmc_serves_where_there_is_no_gga() -> None:
    (found,) = read(RMC)
    assert found is not None and math.isnan(found.accuracy_m)
    assert found.latitude == pytest.approx(48.1173)
    assert len(read(GGA, RMC)) == 1
    assert read(RMC.replace(b",A,", b",V,").replace(RMC[-4:-2], b"7D")) == [None]


def test_gst_states_the_accuracy() -> None:
    gst = sentence("GNGST,123519,1.0,1.0,1.0,0.0,3.0,4.0,5.0")
    (found,) = read(gst, GGA)
    assert found is not None and found.accuracy_m == 10.0


def test_the_southern_and_western_halves_are_negative() -> None:
    (found,) = read(sentence("GNGGA,1,3330.0,S,15115.0,W,2,08,1.0,0,M,0,M,,"))
    assert found == GeoPosition(-33.5, -151.25, 3.75)


@pytest.mark.parametrize(
    "wrong",
    [
        GGA.replace(b"4807", b"4817"),  # the checksum of other digits
        GGA.replace(b"*", b"#"),
        GGA[1:],
        sentence("GPGGA,1,4860.0,N,01131.0,E,1,08,0.9,0,M,0,M,,"),
        sentence("GPGGA,1,4807.0,X,01131.0,E,1,08,0.9,0,M,0,M,,"),
        sentence("GPGGA,1,,,,,1,08,0.9,0,M,0,M,,"),
        sentence("GPGGA,1"),
        sentence("GPGGA,1,4807.0,N,01131.0,E,1,08,0.9," + "0" * 200),
        b"\x00\xff" * 10_000 + b"\n",
    ],
)
def test_damaged_sentences_say_nothing(wrong: bytes) -> None:
    assert read(wrong) == []


@pytest.mark.parametrize("quality", ["0", "6", "7", "8", ""])
def test_what_is_estimated_or_simulated_is_no_fix(quality: str) -> None:
    assert read(sentence(f"GPGGA,1,4807.0,N,01131.0,E,{quality},08,0.9,0,M,0,M,,")) == [None]


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_no_bytes_break_the_parsers(pieces: list[bytes]) -> None:
    for parser in (NmeaParser(), GpsdParser()):
        for piece in pieces:
            list(parser.feed(piece))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": "gps"}, "not one of none, gpsd, nmea"),
        ({"gpsd": "nowhere"}, "is not HOST:PORT"),
        ({"gpsd": "h:" + "9" * 5000}, "is not HOST:PORT"),
        ({"source": "nmea"}, "port names no receiver"),
        ({"max_age_s": 0.0}, "max_age_s = 0.0 is outside"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PositionConfig(**settings)  # type: ignore[arg-type]


def test_no_thread_is_left() -> None:
    assert not [one for one in threading.enumerate() if one.name == "position"]
