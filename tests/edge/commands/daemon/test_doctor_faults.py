"""`ccnvr doctor -c FILE` finds each planted fault, and says in one sentence what to do."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ccnvr.edge.bundle.archive import BundleError
from ccnvr.edge.storage import host_clock
from ccnvr.edge.store.store import Store
from ccnvr.edge.updates.slots import Slots
from ccnvr.firmware_bridge.instrument import ScanKind
from tests.edge.store.test_store import INFO, add, scan
from tests.support.helpers import CCNVR, ROOT, assert_one_sentence, run_ccnvr

DIALOUT = 20

MODELS = next((ROOT / "edge" / "models").glob("*.ccnvr"))

Findings = list[dict[str, object]]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a configuration for a simulated instrument, with changes; return its path."""

    def write(url: str = "sim://?pace=0", store: object = "", model: str = "") -> Path:
        file = tmp_path / "c.toml"
        store = store or tmp_path / "s.sqlite"
        file.write_text(
            f'[instrument]\nurl = "{url}"\n[model]\n{model}\n[store]\npath = "{store}"\n'
        )
        return file

    return write


def doctor(file: Path, env: dict[str, str] | None = None) -> tuple[int, Findings]:
    result = run_ccnvr("doctor", "-c", file, "--json", env=env)
    assert "Traceback" not in result.stderr, result.stderr
    return result.returncode, [json.loads(line) for line in result.stdout.splitlines()]


def the_fault(found: tuple[int, Findings]) -> str:
    """Return the text of the only finding that is not well."""
    code, findings = found
    assert code == 1
    (text,) = [str(finding["text"]) for finding in findings if not finding["well"]]
    return text


def a_store(path: Path) -> Path:
    store = Store(path, owner=True)
    add(store, 1)
    store.close()
    return path


def test_all_is_well(write: Callable[..., Path], tmp_path: Path) -> None:
    a_store(tmp_path / "s.sqlite")
    code, findings = doctor(write())
    assert code == 0, findings
    texts = " ".join(str(finding["text"]) for finding in findings)
    for words in ("passes its self-test", "clock", "all records are as they were", "SIM-512"):
        assert words in texts
    assert_one_sentence(run_ccnvr("doctor"), 2, "name one store, or a configuration file")


def test_a_port_without_permission(write: Callable[..., Path], tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    master, slave = os.openpty()
    # As of a serial port: for its owner and the group dialout.
    os.chown(os.ttyname(slave), 0, DIALOUT)
    os.chmod(os.ttyname(slave), 0o660)
    os.chmod(tmp_path, 0o777)
    code = (
        "import os, sys\n"
        "from ccnvr.edge import cli\n"
        "import ccnvr.edge.doctor.daemon_checks, ccnvr.edge.commands.daemon.doctor\n"
        "import ccnvr.firmware_bridge.link.driver, ccnvr.edge.engines.numpy_reference\n"
        "import ccnvr.edge.engines.onnx, onnxruntime, ccnvr.firmware_bridge.port_advice\n"
        "from ccnvr.edge.doctor import daemon_checks\n"
        "from ccnvr.edge.daemon import config\n"
        "settings = config.load(None, {'instrument': {'url': sys.argv[1]}})\n"
        "os.setgroups([]); os.setuid(65534)\n"
        "print(daemon_checks._of_instrument(settings)[0].text)\n"
    )
    url = f"serial://{os.ttyname(slave)}"
    result = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True)
    said = f"no permission to open {url}; add your user to its group and log in again: sudo usermod"
    assert said in result.stdout, result
    os.close(master)
    os.close(slave)


def test_a_port_that_is_not_there_or_has_a_name_that_may_change(
    write: Callable[..., Path],
) -> None:
    found = doctor(write("serial:///dev/ttyUSB77"))
    assert "no port /dev/tty" in the_fault(found) and "/dev/serial/by-id" in the_fault(found)
    assert any(
        finding["note"] and "may name another device after a reboot" in str(finding["text"])
        for finding in found[1]
    )


def test_a_busy_port(write: Callable[..., Path], simulated: Callable[..., str]) -> None:
    url = simulated()
    descriptor = os.open(url.removeprefix("serial://"), os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert "is busy; stop the other program" in the_fault(doctor(write(url)))
    os.close(descriptor)


@pytest.mark.slow
def test_a_silent_instrument(write: Callable[..., Path]) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave, termios.TCSANOW)
    text = the_fault(doctor(write(f"serial://{os.ttyname(slave)}")))
    assert "answered HELLO" in text and "baud rate" in text
    os.close(master)
    os.close(slave)


@pytest.fixture
def process_named(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Start a real process of a name."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> None:
        program = tmp_path / name
        shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
        started.append(subprocess.Popen([str(program), "60"]))
        end = time.monotonic() + 10
        while Path(f"/proc/{started[-1].pid}/comm").read_text().strip() != name:
            assert time.monotonic() < end

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", ["ModemManager", "brltty"])
def test_a_program_that_takes_serial_ports(
    write: Callable[..., Path],
    simulated: Callable[..., str],
    process_named: Callable[[str], None],
    name: str,
) -> None:
    process_named(name)
    text = the_fault(doctor(write(simulated())))
    assert text.startswith(f"{name} runs, which") and "ccnvr instruments --udev" in text


def test_a_clock_that_is_not_synchronised_is_noted(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ccnvr.edge.doctor.host_checks import examine_host

    monkeypatch.setattr(host_clock, "clock_synchronised", lambda: False)
    (finding,) = examine_host(None)
    assert finding.note and finding.mark == "!!"
    assert "not synchronised" in finding.text and "connect a network once" in finding.text


def test_a_read_only_store(write: Callable[..., Path], tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("there is no C compiler")
    a_store(tmp_path / "s.sqlite")
    library, trigger = tmp_path / "shim.so", tmp_path / "trigger"
    source = ROOT / "tests" / "support" / "failing_writes.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    trigger.write_text("EROFS 0 1000000000")
    environment = {**os.environ, "LD_PRELOAD": str(library), "FAULT_TRIGGER": str(trigger)}
    text = the_fault(doctor(write(), environment))
    assert "refuses writing: its file system is read-only; mount it for writing" in text


def test_a_disk_that_is_nearly_full(write: Callable[..., Path], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    private = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=20m none {disk}"
    if subprocess.run([*private, mount], capture_output=True).returncode != 0:
        pytest.skip("this machine lets no test mount a file system")
    a_store(tmp_path / "s.sqlite")
    file = write(store=disk / "s.sqlite")
    script = f'{mount} && cp {tmp_path}/s.sqlite {disk} && exec "$@"'
    command = [*private, script, "-", *CCNVR, "doctor", "-c", str(file), "--json"]
    result = subprocess.run(command, capture_output=True, text=True)
    findings = [json.loads(line) for line in result.stdout.splitlines()]
    assert "MB left; free disk space" in the_fault((result.returncode, findings))


def test_no_folder_for_the_store(write: Callable[..., Path], tmp_path: Path) -> None:
    text = the_fault(doctor(write(store=tmp_path / "none" / "s.sqlite")))
    assert "does not exist; make it" in text


def test_a_damaged_bundle(write: Callable[..., Path], tmp_path: Path) -> None:
    bundle, data = tmp_path / "b.ccnvr", bytearray(MODELS.read_bytes())
    data[len(data) // 2] ^= 0xFF
    bundle.write_bytes(data)
    text = the_fault(doctor(write(model=f'bundle = "{bundle}"')))
    assert str(bundle) in text


def test_an_engine_that_is_not_installed(write: Callable[..., Path]) -> None:
    text = the_fault(doctor(write(model='engine = "tflite"')))
    assert "tflite" in text and "install" in text


def test_a_folder_of_updates_and_what_was_refused(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    slots = Slots(models)
    slots.install(MODELS.parent / "nir.ccnvr")
    slots.confirm()
    (tmp_path / "bad.ccnvr").write_bytes(b"no bundle")
    with pytest.raises(BundleError):
        slots.install(tmp_path / "bad.ccnvr")
    code, findings = doctor(write(model=f'bundle = "{models}"'))
    assert code == 0, findings
    assert any("a.ccnvr serves the instrument" in str(one["text"]) for one in findings)
    (note,) = [str(one["text"]) for one in findings if "refused" in str(one["text"])]
    assert note.startswith("the update bad.ccnvr was refused: ")


def test_streams_that_cannot_be_served(write: Callable[..., Path], tmp_path: Path) -> None:
    file = write()
    token = tmp_path / "token"
    token.write_text("short")
    more = f'[mqtt]\nhost = "broker.invalid"\nusername = "u"\npassword_file = "{token}"\n'
    with file.open("a") as stream:
        stream.write(f'{more}[web]\nport = 8080\ntoken_file = "{token}"\n')
    token.chmod(0o600)
    found = doctor(file)
    assert "holds no secret" in the_fault(found)
    texts = [str(one["text"]) for one in found[1]]
    assert any("broker.invalid port 1883 cannot be reached" in text for text in texts)
    assert any("travels without encryption" in text for text in texts)


def test_stale_references(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace
    from datetime import timedelta

    present = host_clock.now()
    assert present.uptime_s is not None
    for hours, words in ((2, "are 120 minutes old, and may be 30"), (None, "is unknown")):
        path = tmp_path / f"{hours}.sqlite"
        past = replace(
            present,
            wall=present.wall - timedelta(hours=hours or 100),
            uptime_s=present.uptime_s - 3600 * (hours or 1),
        )
        store = Store(path, owner=True)
        monkeypatch.setattr(host_clock, "now", lambda past=past: past)
        store.references.add(INFO, scan(1, kind=ScanKind.DARK))
        monkeypatch.undo()
        store.close()
        text = the_fault(doctor(write(store=path)))
        assert words in text and "have the white panel ready" in text


def test_another_owner_of_the_store_is_named(write: Callable[..., Path], tmp_path: Path) -> None:
    """The daemon's own use of store and port is no fault."""
    store = Store(tmp_path / "s.sqlite", owner=True)
    code, findings = doctor(write())
    store.close()
    assert code == 0, findings
    texts = [finding["text"] for finding in findings]
    assert f"a daemon uses it now (process {os.getpid()})" in texts
    assert "the instrument was not asked, because the daemon serves it" in texts


def test_a_wrong_configuration(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[instrumnt]\nurl = "sim://"\n')
    assert_one_sentence(run_ccnvr("doctor", "-c", file), 2, "instrumnt")
