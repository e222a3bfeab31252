"""`ccnvr record` between a host and an instrument, and `ccnvr simulate --replay` in its place."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.firmware_bridge.connect.registry import open_instrument
from ccnvr.firmware_bridge.errors import CcnvrError, LinkLost, UsageError
from ccnvr.firmware_bridge.instrument import ScanKind, Settings
from ccnvr.firmware_bridge.link.driver import LinkInstrument
from ccnvr.firmware_bridge.serving import recording as recording_files
from ccnvr.firmware_bridge.serving.port import PtyPort, ServedPort, TcpPort
from ccnvr.firmware_bridge.serving.recording import (
    FROM_INSTRUMENT,
    TO_INSTRUMENT,
    Event,
    Recorder,
    Recording,
    read_recording,
)
from ccnvr.firmware_bridge.serving.relay import relay
from ccnvr.firmware_bridge.serving.replay import (
    ByteReplay,
    LinkReplay,
    ReplayError,
    replay_of,
    serve,
)
from ccnvr.firmware_bridge.transport import SerialTransport
from tests.support.helpers import CCNVR, assert_one_sentence, run_ccnvr


@pytest.fixture
def process() -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Start `ccnvr` in the background; yields it and the first line that it prints."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> tuple[subprocess.Popen[str], str]:
        command = [*CCNVR, *map(str, arguments)]
        started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        stdout = started[-1].stdout
        assert stdout is not None
        return started[-1], stdout.readline().strip()

    yield start
    for one in started:
        one.kill()
        one.communicate()


def counts(store: Path) -> list[bytes]:
    connection = sqlite3.connect(store)
    rows = connection.execute("SELECT counts FROM scans ORDER BY id").fetchall()
    connection.close()
    return [row[0] for row in rows]


@pytest.mark.slow
def test_a_session_of_the_daemon_plays_again(
    process: Callable[..., tuple[subprocess.Popen[str], str]],
    simulator_process: Callable[..., str],
    tmp_path: Path,
) -> None:
    recording = tmp_path / "session.rec"
    recorder, url = process("record", simulator_process(), "--out", recording)
    live = run_ccnvr("run", "--instrument", url, "--store", tmp_path / "live.sqlite", "--count", 12)
    assert live.returncode == 0, live.stderr
    recorder.send_signal(signal.SIGTERM)
    _, errors = recorder.communicate(timeout=20)
    assert recorder.returncode == 0, errors
    assert str(recording) in errors

    _, url = process("simulate", "--replay", recording, "--pace", 0)
    again = run_ccnvr(
        "run", "--instrument", url, "--store", tmp_path / "again.sqlite", "--count", 12
    )
    assert again.returncode == 0, again.stderr
    assert counts(tmp_path / "again.sqlite") == counts(tmp_path / "live.sqlite")
    seen, replayed = (
        [json.loads(line) for line in result.stdout.splitlines()] for result in (live, again)
    )
    for key in ("scan_id", "predictions", "flags"):
        assert [record[key] for record in seen] == [record[key] for record in replayed]


@pytest.mark.slow
def test_a_host_that_asks_for_more_than_was_recorded_ends_the_replay(
    process: Callable[..., tuple[subprocess.Popen[str], str]],
    simulator_process: Callable[..., str],
    tmp_path: Path,
) -> None:
    recorder, url = process("record", simulator_process(), "--out", tmp_path / "session.rec")
    assert (
        run_ccnvr(
            "run", "--instrument", url, "--store", tmp_path / "a.sqlite", "--count", 2
        ).returncode
        == 0
    )
    recorder.terminate()
    recorder.communicate()
    player, url = process("simulate", "--replay", tmp_path / "session.rec", "--pace", 0)
    instrument = open_instrument(url)
    for _ in range(2):
        # A second handshake starts the recording over.
        assert instrument.identify().serial == "SIM-512"
        instrument.configure(Settings(10_000, 16))
        assert instrument.scan(ScanKind.DARK).number == 1
    with pytest.raises(LinkLost):
        instrument.scan(ScanKind.DARK)
    instrument.close()
    _, errors = player.communicate(timeout=20)
    assert player.returncode == 1
    assert errors.startswith("ccnvr: the recording has no further answer to SCAN; ")
    assert errors.count("\n") == 1


@pytest.fixture
def playing() -> Iterator[Callable[[ServedPort, Recording, float], list[BaseException]]]:
    """Play recordings in threads of this process; returns the list of what ended each."""
    stop, threads, ports = threading.Event(), [], []

    def start(port: ServedPort, recording: Recording, pace: float) -> list[BaseException]:
        errors: list[BaseException] = []

        def body() -> None:
            try:
                serve(port, replay_of(recording), pace, stop)
            except BaseException as error:
                errors.append(error)

        threads.append(threading.Thread(target=body))
        ports.append(port)
        threads[-1].start()
        return errors

    yield start
    stop.set()
    for thread in threads:
        thread.join()
    for port in ports:
        port.close()


TEXT_SESSION = Recording(
    "serial:///dev/ttyUSB0",
    [
        Event(0.0, FROM_INSTRUMENT, b"READY\r\n"),
        Event(0.1, TO_INSTRUMENT, b"*ID"),
        Event(0.1, TO_INSTRUMENT, b"N?\r"),
        Event(0.2, FROM_INSTRUMENT, b"ACME"),
        Event(0.5, FROM_INSTRUMENT, b" 1\r\n"),
        Event(0.6, TO_INSTRUMENT, b"S\r"),
        Event(0.7, FROM_INSTRUMENT, b"\x00\xff\r\n"),
    ],
)


@pytest.mark.parametrize("listen", [False, True])
def test_any_protocol_plays_back_byte_for_byte(
    playing: Callable[[ServedPort, Recording, float], list[BaseException]], listen: bool
) -> None:
    served = TcpPort("127.0.0.1", 0) if listen else PtyPort()
    errors = playing(served, TEXT_SESSION, 0.0)
    with serial.serial_for_url(served.url.removeprefix("serial://"), timeout=10) as port:
        port.write(b"*IDN?\r")
        # The banner may have been sent before this host connected.
        assert port.read_until(b"1\r\n").removeprefix(b"READY\r\n") == b"ACME 1\r\n"
        port.write(b"S\r")
        assert port.read_until(b"\n") == b"\x00\xff\r\n"
        # After its last request the session starts over.
        port.write(b"*IDN?\r")
        assert port.read_until(b"1\r\n") == b"READY\r\nACME 1\r\n"
        port.write(b"Q\r")
        deadline = time.monotonic() + 10
        while not errors and time.monotonic() < deadline:
            time.sleep(0.01)
    assert str(errors[0]) == (
        "the host sent 0x51 as byte 1 of request 3 of 3, where the recording has 0x53; use the "
        "settings of the recorded session"
    )


def test_the_original_timing_is_kept(
    playing: Callable[[ServedPort, Recording, float], list[BaseException]],
) -> None:
    port = PtyPort()
    with serial.Serial(port.url.removeprefix("serial://"), timeout=10) as host:
        playing(port, TEXT_SESSION, 1.0)
        assert host.read_until(b"\n") == b"READY\r\n"
        start = time.monotonic()
        host.write(b"*IDN?\r")
        assert host.read_until(b"\n") == b"ACME 1\r\n"
        # Only a lower limit, because a busy machine may add to it.
        assert time.monotonic() - start >= 0.4


@given(
    st.lists(
        st.tuples(
            st.sampled_from([TO_INSTRUMENT, FROM_INSTRUMENT]), st.binary(min_size=1, max_size=5)
        ),
        max_size=20,
    ),
    st.data(),
)
def test_however_the_bytes_are_cut_the_answers_are_the_recorded_ones(
    session: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    events = [
        Event(float(index), direction, payload)
        for index, (direction, payload) in enumerate(session)
    ]
    replay = ByteReplay(events)
    asked = b"".join(payload for direction, payload in session if direction == TO_INSTRUMENT)
    answered = b"".join(answer.data for answer in replay.receive(b""))
    while asked:
        size = data.draw(st.integers(1, len(asked)))
        answered += b"".join(answer.data for answer in replay.receive(asked[:size]))
        asked = asked[size:]
    assert answered == b"".join(
        payload for direction, payload in session if direction == FROM_INSTRUMENT
    )


def test_a_lost_answer_is_lost_again_and_a_repeated_request_takes_no_second_scan(
    simulated: Callable[..., str],
) -> None:
    """Replay a session that lost the answer to its first SCAN, which the host repeated."""
    events = record_link(simulated())
    player = LinkReplay(events)
    requests = [event.data for event in events if event.direction == TO_INSTRUMENT]
    answers = [b"".join(answer.data for answer in player.receive(request)) for request in requests]
    assert b"".join(answers) == b"".join(
        event.data for event in events if event.direction == FROM_INSTRUMENT
    )
    scan = next(index for index, request in enumerate(requests) if request == requests[-1])
    lost = [event for event in events if event.data != answers[scan]]
    repeated = [
        *lost,
        Event(9.0, TO_INSTRUMENT, requests[scan]),
        Event(9.5, FROM_INSTRUMENT, answers[scan]),
    ]
    player = LinkReplay(repeated)
    for request in requests[:scan]:
        player.receive(request)
    assert player.receive(requests[scan]) == []
    assert [answer.data for answer in player.receive(requests[scan])] == [answers[scan]]
    assert [answer.data for answer in player.receive(requests[scan])] == [answers[scan]]


def record_link(url: str) -> list[Event]:
    """Return a handshake and the request for one dark scan, as they pass."""

    class Tap(SerialTransport):
        def read(self, timeout_s: float) -> bytes:
            data = super().read(timeout_s)
            if data:
                note(FROM_INSTRUMENT, data)
            return data

        def write(self, data: bytes) -> None:
            note(TO_INSTRUMENT, data)
            super().write(data)

    events: list[Event] = []

    def note(direction: str, data: bytes) -> None:
        events.append(Event(float(len(events)), direction, data))

    instrument = LinkInstrument(Tap(url))
    instrument.identify()
    instrument.configure(Settings(1_000, 1))
    instrument.scan(ScanKind.DARK)
    instrument.close()
    return events


def test_unplugging_ends_the_recording_and_keeps_it(tmp_path: Path) -> None:
    device, host, stop = PtyPort(), PtyPort(), threading.Event()
    transport = SerialTransport(device.url)
    recorder = Recorder(tmp_path / "session.rec", device.url)
    caught: list[BaseException] = []

    def body() -> None:
        try:
            relay(transport, host, recorder, stop)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    with serial.Serial(host.url.removeprefix("serial://"), timeout=10) as port:
        port.write(b"hello")
        assert device.read(10.0) == b"hello"
        device.write(b"world", stop)
        assert port.read(5) == b"world"
        device.close()
        thread.join(10)
    assert isinstance(caught[0], LinkLost)
    recorder.close()
    transport.close()
    host.close()
    recording = read_recording(tmp_path / "session.rec")
    assert recording.url == device.url
    assert [(event.direction, event.data) for event in recording.events] == [
        (TO_INSTRUMENT, b"hello"),
        (FROM_INSTRUMENT, b"world"),
    ]


@given(
    st.lists(
        st.tuples(st.sampled_from([TO_INSTRUMENT, FROM_INSTRUMENT]), st.binary(max_size=10_000)),
        max_size=4,
    )
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, passed: list[tuple[str, bytes]]
) -> None:
    path = tmp_path_factory.mktemp("recording") / "session.rec"
    recorder = Recorder(path, "serial:///dev/µ\n>")
    for direction, data in passed:
        recorder.note(direction, data)
    recorder.close()
    recording = read_recording(path)
    assert recording.url == "serial:///dev/\\xb5\\n>"
    for wanted in (TO_INSTRUMENT, FROM_INSTRUMENT):
        assert b"".join(
            event.data for event in recording.events if event.direction == wanted
        ) == b"".join(data for direction, data in passed if direction == wanted)


HEAD = "ccnvr recording 1 serial:///dev/x\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not begin with"),
        ("ccnvr recording 2 x\n", "does not begin with"),
        (HEAD + "0.0 > 00\n0.1 ? 00\n", r"line 3 is '0.1 \? 00'"),
        (HEAD + "0.0 > 0\n", "line 2 is"),
        (HEAD + "0.0 >\n", "line 2 is"),
        (HEAD + "0.5 > 00\n0.4 > 00\n", "line 3 is"),
        (HEAD + "nan > 00\n", "line 2 is"),
        (HEAD + "inf > 00\n", "line 2 is"),
        (HEAD + "0.0 > " + "00" * 4097 + "\n", "line 2 is"),
        (HEAD + "0.0 > " + "00" * 100_000, "line 2 is"),
        (HEAD + "µ\n", "is not text"),
    ],
)
def test_a_malformed_recording_is_named_by_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.rec"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        read_recording(path)


def test_a_line_cut_short_by_a_crash_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "cut.rec"
    path.write_text(HEAD + "0.0 > 00ff\n0.1 < 01")
    assert read_recording(path).events == [Event(0.0, TO_INSTRUMENT, b"\0\xff")]


def test_wrong_use(tmp_path: Path, simulated: Callable[..., str]) -> None:
    (tmp_path / "there.rec").write_text("precious")
    url = simulated()
    # Also where there is no instrument: nothing is opened before.
    for place in (url, "serial:///dev/ttyNONE"):
        assert_one_sentence(
            run_ccnvr("record", place, "--out", tmp_path / "there.rec"),
            2,
            "there.rec exists already; give another --out",
        )
        assert_one_sentence(
            run_ccnvr("record", place, "--out", tmp_path / "none" / "new.rec"),
            2,
            "there is no folder",
        )
    assert (tmp_path / "there.rec").read_text() == "precious"
    with pytest.raises(UsageError, match=r"cannot be made .*; name a new file"):
        Recorder(tmp_path / "there.rec", url)
    assert_one_sentence(
        run_ccnvr("record", "serial:///dev/ttyNONE", "--out", tmp_path / "a.rec"),
        1,
        "no port /dev/tty",
    )
    assert not os.path.exists(tmp_path / "a.rec")
    assert_one_sentence(
        run_ccnvr("simulate", "--replay", tmp_path / "none.rec"), 2, "none.rec", "cannot be read"
    )
    both = run_ccnvr(
        "simulate", "--replay", tmp_path / "there.rec", "--spectra", tmp_path / "s.csv"
    )
    assert_one_sentence(both, 2, "--replay", "--spectra")
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UsageError, match="cannot listen"),
    ):
        TcpPort("127.0.0.1", taken.getsockname()[1])
    assert_one_sentence(
        run_ccnvr("simulate", "--link", tmp_path / "there.rec"), 2, "--link", "File exists"
    )
    assert (tmp_path / "there.rec").read_text() == "precious"
    assert_one_sentence(
        run_ccnvr("simulate", "--link", "x", "--listen", "127.0.0.1:0"), 2, "choose one"
    )


def test_a_host_that_asks_something_else_is_told_where() -> None:
    with pytest.raises(
        ReplayError, match="0x00 as byte 3 of request 1 of 1, where the recording has 0x02"
    ):
        ByteReplay([Event(0.0, TO_INSTRUMENT, b"\0\1\2")]).receive(b"\0\1\0")


def test_a_short_session_repeats_as_often_as_it_is_asked() -> None:
    replay = ByteReplay([Event(0.0, TO_INSTRUMENT, b"?"), Event(0.1, FROM_INSTRUMENT, b"!")])
    assert [answer.data for answer in replay.receive(b"?" * 3_000)] == [b"!"] * 3_000


def test_an_instrument_that_only_spoke_cannot_be_asked() -> None:
    replay = ByteReplay([Event(0.5, FROM_INSTRUMENT, b"1,2,3\r\n")])
    assert [(answer.delay_s, answer.data) for answer in replay.receive(b"")] == [
        (0.5, b"1,2,3\r\n")
    ]
    assert replay.receive(b"") == []
    with pytest.raises(ReplayError, match="nothing was sent"):
        replay.receive(b"?")


@pytest.mark.parametrize("limit", ["LARGEST_FILE", "MOST_EVENTS"])
def test_a_recording_stops_at_what_a_replay_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(recording_files, limit, 1_000 if limit == "LARGEST_FILE" else 50)
    recorder = Recorder(tmp_path / "r.rec", "serial:///x")
    with pytest.raises(CcnvrError, match="all that a replay reads; go on in another file"):
        for _ in range(1_000):
            recorder.note("<", b"\0")
    recorder.close()
    # What was written until then is read.
    events = read_recording(tmp_path / "r.rec").events
    assert len(events) == recorder.passed["<"] > 30
    with open(tmp_path / "r.rec", "a") as stream:
        stream.write("9.9 < 00\n" * 200)
    with pytest.raises(UsageError, match="record a shorter session"):
        read_recording(tmp_path / "r.rec")
