"""Ports that are missing, busy, silent or unplugged, and URLs that are wrong."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
import termios
import tty
from collections.abc import Callable
from pathlib import Path

import pytest

from ccnvr.firmware_bridge.connect.registry import open_instrument, resolve
from ccnvr.firmware_bridge.errors import LinkLost, UsageError
from ccnvr.firmware_bridge.instrument import ScanKind, Settings
from ccnvr.firmware_bridge.link.driver import LinkInstrument
from ccnvr.firmware_bridge.port_advice import advice
from ccnvr.firmware_bridge.transport import PortError, SerialTransport


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("/dev/ttyACM0", "is not serial:///dev/NAME"),
        ("serial://dev/ttyACM0", "is not serial:///dev/NAME"),
        ("serial:///dev/x?baud=fast", "baud 'fast'"),
        ("serial:///dev/x?baud=1", "baud '1'"),
        ("serial:///dev/x?speed=9600", "option 'speed'"),
        ("serial:///dev/x?driver=abc", "driver 'abc' is unknown; the drivers are ccnvr, obp"),
        ("serial:///dev/x?driver=asd", "over TCP only"),
        (
            "serial:///dev/x?driver=obp&slow=1",
            "this instrument's options are driver, baud, dtr, rts, hupcl, fast_baud, saturation",
        ),
        ("socket://127.0.0.1:9?baud=9600", "means nothing over TCP"),
        ("sim://?fast_baud=1e9", "fast_baud=1e9 is not a number from 0 to"),
        ("sim://?faults=smash@1", "fault 'smash@1' is not KIND"),
        ("sim://?driver=ooi&pace=0", "needs coefficients="),
        ("seabreeze:///x", "is not seabreeze://"),
        ("socket://host", "is not serial"),
        ("socket://host:port", "is not serial"),
        ("socket://host:99999", "is not serial"),
        ("serial://[abc", "is not a URL"),
        ("sim://[abc", "is not a URL"),
        ("sim://?seed=x", "must be numbers"),
        ("sim://?noise=1", "is not sim://"),
        ("sim://?pace=1000", "is not sim://"),
    ],
)
def test_a_malformed_url_is_wrong_use(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("?", r"\?")):
        open_instrument(url)


def test_no_such_port() -> None:
    with pytest.raises(PortError, match="no port /dev/tty"):
        open_instrument("serial:///dev/ttyNOSUCH9")


def test_a_pseudo_terminal_whose_program_has_ended() -> None:
    master, slave = os.openpty()
    name = os.ttyname(slave)
    os.close(slave)
    os.close(master)
    with pytest.raises(PortError, match=r"start ccnvr simulate again .* --link"):
        SerialTransport(f"serial://{name}")


def test_a_folder_or_a_file_is_not_a_port(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(UsageError, match=f"{place} in serial://{place} is no serial port"):
            open_instrument(f"serial://{place}")


def test_a_device_that_is_no_port() -> None:
    with pytest.raises(PortError, match="/dev/null in serial:///dev/null is no serial"):
        open_instrument("serial:///dev/null")


def test_a_host_that_nobody_knows() -> None:
    with pytest.raises(PortError, match="correct it, or give its address"):
        SerialTransport("socket://no-such-host.invalid:5000")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device, and be another user")
@pytest.mark.parametrize(
    ("mode", "member", "words"),
    [
        (0o660, False, "add your user to its group and log in again: sudo usermod -aG {group} "),
        (0o660, True, "is in its group {group} since the last log-in: log in again"),
        (0o600, False, "it is for its owner alone: run this command as user root"),
    ],
)
def test_a_port_that_this_user_may_not_open(
    mode: int, member: bool, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real device of a group, opened by a process of user nobody."""
    assert advice.__doc__  # imported, since nobody may not be able to read this tree
    port, group = tmp_path / "ttyTEST", grp.getgrgid(20)
    os.mknod(port, mode | stat.S_IFCHR, os.makedev(4, 64))
    port.chmod(mode)
    os.chown(port, 0, group.gr_gid)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and str(folder) != "/":
            folder.chmod(folder.stat().st_mode | 0o011)
    if member:
        user = pwd.getpwuid(65_534).pw_name
        known = grp.struct_group((group.gr_name, "x", group.gr_gid, [user]))
        monkeypatch.setattr(grp, "getgrgid", lambda number: known)
    assert words.format(group=group.gr_name) in said_to_nobody(f"serial://{port}")


def said_to_nobody(url: str) -> str:
    """Open a port as user nobody, in another process; return the message."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(65_534)
            os.setuid(65_534)
            SerialTransport(url)
        except PortError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading) as stream:
        return stream.read()


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        port = closing.getsockname()[1]
    with pytest.raises(PortError, match="nothing listens"):
        open_instrument(f"socket://127.0.0.1:{port}")


def test_a_port_serves_one_program(simulated: Callable[..., str]) -> None:
    url = simulated()
    first = SerialTransport(url)
    with pytest.raises(PortError, match="is busy"):
        SerialTransport(url)
    first.close()
    SerialTransport(url).close()


def test_a_silent_port_times_out() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    instrument = LinkInstrument(SerialTransport(f"serial://{os.ttyname(slave)}"), 0.02)
    with pytest.raises(LinkLost, match="nothing valid on serial:///dev/pts/"):
        instrument.identify()
    instrument.close()
    os.close(master)
    os.close(slave)


def test_unplugging_is_a_lost_link() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    transport = SerialTransport(f"serial://{os.ttyname(slave)}")
    os.close(slave)
    os.close(master)
    with pytest.raises(LinkLost, match="went away"):
        for _ in range(3):
            transport.write(b"x")
            transport.read(0.1)
    transport.close()


def test_the_simulator_behind_its_own_url() -> None:
    instrument = open_instrument("sim://?seed=4&pace=0")
    assert instrument.identify().model == "ccnvr simulated NIR-512"
    instrument.configure(Settings(10_000, 2))
    assert instrument.scan(ScanKind.SAMPLE).number == 1
    instrument.close()


def test_modem_lines_are_options_of_the_port() -> None:
    """hupcl=0 keeps DTR at the closing, so that the next opening does not restart a board."""
    with pytest.raises(UsageError, match="dtr '2'"):
        SerialTransport("serial:///dev/ttyNONE?dtr=2")
    driver, port, options = resolve("serial:///dev/ttyACM0?driver=obp&hupcl=0&saturation=60000")
    assert (driver.name, options) == ("obp", {"saturation": "60000"})
    assert port == "serial:///dev/ttyACM0?hupcl=0&baud=9600"
    master, slave = os.openpty()
    attributes = termios.tcgetattr(slave)
    attributes[2] |= termios.HUPCL
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    for url, hangs_up in (("", True), ("?dtr=0&rts=0", True), ("?hupcl=0", False)):
        transport = SerialTransport(f"serial://{os.ttyname(slave)}{url}")
        transport.set_baud(9_600)  # which must not undo it
        transport.close()
        assert bool(termios.tcgetattr(slave)[2] & termios.HUPCL) == hangs_up
    os.close(master)
    os.close(slave)
