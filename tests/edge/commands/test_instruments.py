"""`ccnvr instruments`: pyserial's list of ports, real pseudo-terminals behind it, udev rules."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serial.tools.list_ports_common import ListPortInfo

from ccnvr.edge import cli
from ccnvr.firmware_bridge.connect.discovery import Found, Identification, Port, udev_rules
from ccnvr.firmware_bridge.serving.port import PtyPort
from ccnvr.firmware_bridge.transport import SerialTransport
from tests.support.helpers import assert_one_sentence, run_ccnvr

ADAPTER = {
    "vid": 0x0403,
    "pid": 0x6001,
    "serial_number": "A600X",
    "description": "FT232R",
    "location": "1-1.2",
}


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make pyserial list these ports: pairs of a URL and the fields of the USB adapter."""

    def plug(*seen: tuple[str, dict[str, object]]) -> None:
        infos = []
        for url, fields in seen:
            infos.append(ListPortInfo(url.removeprefix("serial://")))
            vars(infos[-1]).update(fields)
        monkeypatch.setattr("serial.tools.list_ports.comports", lambda: infos)

    return plug


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert cli.main(["instruments", "--json", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.slow
def test_what_answers_is_named_and_gets_a_rule(
    plugged: Callable[..., None],
    simulated: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    silent, url = PtyPort(), simulated()
    plugged((silent.url, {**ADAPTER, "serial_number": "OTHER"}), (url, ADAPTER))
    answers = {
        str(line["url"]): line for line in lines(capsys, "--udev", str(tmp_path / "90-ccnvr.rules"))
    }
    assert answers[url]["driver"] == "ccnvr"
    assert answers[url]["instrument"] == "ccnvr simulated NIR-512, serial number SIM-512"
    assert answers[silent.url]["driver"] is None
    assert "no driver recognises" in str(answers[silent.url]["problem"])
    rules = (tmp_path / "90-ccnvr.rules").read_text().splitlines()
    assert rules[1:] == [
        'SUBSYSTEM=="tty", ATTRS{idVendor}=="0403", ATTRS{idProduct}=="6001", '
        'ATTRS{serial}=="A600X", '
        'SYMLINK+="ccnvr-A600X", GROUP="dialout", ENV{ID_MM_DEVICE_IGNORE}="1", '
        'ENV{ID_MM_PORT_IGNORE}="1"',
        'SUBSYSTEM=="usb", ENV{DEVTYPE}=="usb_device", ATTR{idVendor}=="0403", '
        'ATTR{idProduct}=="6001", ATTR{serial}=="A600X", ENV{ID_MM_DEVICE_IGNORE}="1", '
        'ENV{BRLTTY_BRAILLE_DRIVER}="", ENV{SYSTEMD_WANTS}=""',
    ]
    assert cli.main(["instruments"]) == 0
    text = capsys.readouterr().out
    assert f"{url}  0403:6001 A600X  ccnvr: ccnvr simulated NIR-512, serial number SIM-512" in text
    silent.close()


def test_a_port_in_use_a_built_in_port_and_one_that_speaks_are_left_alone(
    plugged: Callable[..., None], simulated: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    taken, built_in, talker, stop = simulated(), PtyPort(), PtyPort(), threading.Event()
    holder = SerialTransport(taken)
    plugged((taken, ADAPTER), (built_in.url, {}), (talker.url, ADAPTER))

    def talk() -> None:
        while not stop.is_set():
            talker.write(b"$GPGGA,123519,4807\r\n", stop)
            time.sleep(0.02)

    thread = threading.Thread(target=talk)
    thread.start()
    problems = {line["url"]: str(line["problem"]) for line in lines(capsys)}
    stop.set()
    thread.join()
    assert "busy" in problems[taken]
    assert problems[built_in.url] == "not asked"
    assert problems[talker.url].startswith("speaks unasked (24 47 50")
    assert built_in.read(0.0) == talker.read(0.0) == b""
    holder.close()
    for port in (built_in, talker):
        port.close()


def test_list_opens_nothing(
    plugged: Callable[..., None],
    simulated: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    plugged((simulated(), ADAPTER), ("serial:///dev/ttyS0", {}))
    listed = lines(capsys, "--list", "--udev", str(tmp_path / "rules"))
    assert [line["problem"] for line in listed] == ["not asked", "not asked"]
    assert 'SYMLINK+="ccnvr-A600X"' in (tmp_path / "rules").read_text()
    assert (tmp_path / "rules").read_text().count("SYMLINK") == 1


def test_a_named_port_is_asked(simulated: Callable[..., str]) -> None:
    url = simulated()
    result = run_ccnvr("instruments", url, "--json")
    assert json.loads(result.stdout)["driver"] == "ccnvr"
    nowhere = run_ccnvr("instruments", "serial:///dev/ttyNONE")
    assert nowhere.returncode == 0
    assert "no port /dev/tty" in nowhere.stdout


def test_wrong_use(
    tmp_path: Path, plugged: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_sentence(run_ccnvr("instruments", "/dev/ttyUSB0"), 2, "is not serial:///dev/NAME")
    assert_one_sentence(
        run_ccnvr("instruments", "--list", "serial:///dev/ttyUSB0"), 2, "--list opens no port"
    )
    plugged()
    assert cli.main(["instruments", "--udev", str(tmp_path / "rules")]) == 2
    assert "no rule to write" in capsys.readouterr().err
    assert not os.path.exists(tmp_path / "rules")


def test_an_adapter_without_a_serial_number_is_known_by_its_socket() -> None:
    rules = udev_rules(
        [
            Found(
                "serial:///dev/ttyUSB0",
                Identification(),
                Port("/dev/ttyUSB0", "CH340", 0x1A86, 0x7523, None, "1-1.2"),
            )
        ]
    )
    assert 'KERNELS=="1-1.2"' in rules
    assert 'SYMLINK+="ccnvr-1a86-7523"' in rules
    assert "belongs to the USB socket" in rules


@given(st.text(max_size=40))
def test_whatever_a_device_says_of_itself_a_rule_stays_one_rule(usb_serial: str) -> None:
    found = Found(
        "serial:///dev/ttyUSB0",
        Identification("ccnvr", "x"),
        Port("/dev/x", "d", 1, 2, usb_serial, "1-1"),
    )
    comment, *rest = udev_rules([found]).splitlines()
    assert len(rest) == (2 if usb_serial else 3)
    for rule in rest[-2:]:
        assert re.fullmatch(r'([A-Z_]+(\{\w+\})?(==|\+=|=)"[^"$%*\[\]|\\]*"(, |$))+', rule)
    assert comment.startswith("#")
