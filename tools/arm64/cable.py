"""The test of a USB serial cable that is pulled three times while the daemon reads from it.

The daemon runs on an emulated Raspberry Pi; the instrument is simulated here. The cable is QEMU's
usb-serial, which Linux drives with its own ftdi_sio: a connection to QEMU's socket plugs the cable
in, and closing the connection pulls it out. The instrument keeps its power and its scans meanwhile.
"""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ccnvr.firmware_bridge.instrument import ScanKind, Settings
from ccnvr.firmware_bridge.link.device import Device
from ccnvr.firmware_bridge.link.messages import ScanRequest
from ccnvr.firmware_bridge.link.spectrometer import Exposure
from ccnvr.firmware_bridge.simulators.handheld import SimulatedSpectrometer, synthetic_soils
from tools.arm64 import host, lab

SCANS = 40
SEED = 5
PULLED_AFTER = (9, 20, 31)
"""Numbers of samples after which the cable is pulled, while the next sample is on the wire."""

_BOOT_S, _STEP_S = 300.0, 120.0


class Spectrometer(SimulatedSpectrometer):
    """The instrument at the end of the cable, which counts the samples that it took."""

    def __init__(self) -> None:
        super().__init__(synthetic_soils(7, 1), seed=SEED, boot=1, pace=0.0)
        self.taken = 0

    def expose(self, request: ScanRequest, number: int) -> Exposure:
        """Take a scan; see `link.spectrometer.Spectrometer`."""
        self.taken += request.kind is ScanKind.SAMPLE
        return super().expose(request, number)


class Console:
    """The emulated computer's console, read in a thread."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._process = process
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait(self, words: str, seconds: float, times: int = 1) -> None:
        """Wait until `times` lines contain these words.

        Raises:
            LabError: they do not within `seconds`, or the computer has ended.
        """
        deadline = time.monotonic() + seconds
        with self._news:
            while sum(words in line for line in self.lines) < times:
                ended = not self._thread.is_alive()
                if ended or not self._news.wait(deadline - time.monotonic()):
                    raise host.LabError(
                        f"the computer did not say {words!r}; its last words: {self.lines[-5:]}"
                    )

    def said(self, words: str) -> bool:
        """Return whether a line contains these words."""
        return any(words in line for line in self.lines)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.lines.append(line.strip())
                self._news.notify_all()
        with self._news:
            self._news.notify_all()


@dataclass
class Outcome:
    """The outcome of the test.

    Attributes:
        seen: the lines of `ccnvr instruments --json`.
        pulled: how often the daemon noticed that the cable was pulled.
        stored: scan id and CRC-32 of the counts of each stored scan.
        taken: how many samples the instrument took.
        seconds: how long the test took.
    """

    seen: list[dict[str, object]]
    pulled: int
    stored: list[tuple[str, int]]
    taken: int
    seconds: float


def run(machine: lab.Installed) -> Outcome:
    """Boot, pull the cable three times in the middle of a scan, and read what was stored.

    Raises:
        LabError: the computer is too slow, or fails.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=host.FOLDER) as name:
        folder = Path(name)
        process = subprocess.Popen(
            _boot_command(machine, folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        try:
            console = Console(process)
            console.wait("GUEST-READY", _BOOT_S)
            taken = _play(folder / "cable", console)
            console.wait("GUEST-RC", _STEP_S)
        finally:
            process.terminate()
            process.wait()
    return _outcome(console.lines, taken, time.monotonic() - start)


def _boot_command(machine: lab.Installed, folder: Path) -> list[str]:
    """Build the computer's files in a folder, and return the command that boots it there."""
    app = folder / "app"
    app.mkdir()
    (app / "run.sh").write_text((host.HERE / "guest_app.sh").read_text())
    (app / "stored.py").write_text((host.HERE / "stored.py").read_text())
    (app / "count").write_text(str(SCANS))
    machine.initramfs(app, folder / "initramfs")
    cable = f"socket,id=cable,path={folder}/cable,server=on,wait=off"
    adapter = "usb-serial,chardev=cable,bus=xhci.0"
    usb = ["-device", "qemu-xhci,id=xhci", "-chardev", cable, "-device", adapter]
    return machine.boot_command(folder / "initramfs", *usb)


def _outcome(lines: list[str], taken: int, seconds: float) -> Outcome:
    """Return what the lines of the console say."""
    stored = [line.split()[1:] for line in lines if line.startswith("GUEST-STORED")]
    return Outcome(
        seen=[
            json.loads(line.partition(" ")[2]) for line in lines if line.startswith("GUEST-SEES")
        ],
        pulled=sum("went away" in line for line in lines),
        stored=[(scan_id, int(crc)) for scan_id, crc in stored],
        taken=taken,
        seconds=seconds,
    )


def _play(cable: Path, console: Console) -> int:
    """Play the instrument; return how many samples it took."""
    spectrometer = Spectrometer()
    device = Device(spectrometer)
    for number, samples in enumerate(PULLED_AFTER, start=1):
        _serve(cable, device, console, partial(_has_taken_more, spectrometer, samples))
        # Plugged in again only after the computer has noticed, so that the adapter gets its old
        # name back.
        console.wait("went away", _STEP_S, number)
        time.sleep(1.0)
    _serve(cable, device, console, lambda: False)
    return spectrometer.taken


def _has_taken_more(spectrometer: Spectrometer, samples: int) -> bool:
    return spectrometer.taken > samples


def _serve(cable: Path, device: Device, console: Console, pull_now: Callable[[], bool]) -> None:
    """Plug the cable in and answer, until `pull_now` in the middle of an answer or the end."""
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(str(cable))
        end.settimeout(0.5)
        while not console.said("GUEST-STORED"):
            try:
                request = end.recv(4_096)
            except TimeoutError:
                continue
            if not request:
                return  # the computer has ended; its console will show why
            answer = device.receive(request)
            if pull_now() and len(answer) > 100:
                end.sendall(answer[: len(answer) // 2])
                time.sleep(0.5)
                return
            end.sendall(answer)


def check(outcome: Outcome) -> list[str]:
    """Return what is wrong, in sentences.

    Every scan must be stored once, in order, with the counts that the detector gave.
    """
    wrong = []
    if outcome.pulled != len(PULLED_AFTER):
        wrong.append(f"the daemon noticed {outcome.pulled} of {len(PULLED_AFTER)} unplugs")
    # Scans 1 and 2 are the references.
    expected = [(f"SIM-512-1-{number}", crc) for number, crc in enumerate(_truth(SCANS), start=3)]
    if outcome.stored != expected:
        wrong.append(
            f"{len(outcome.stored)} scans are stored, not the {SCANS} that the instrument took, "
            "each once and in order"
        )
    ftdi = [
        port
        for port in outcome.seen
        if isinstance(port["port"], dict) and port["port"]["vid"] == 0x0403
    ]
    if [port["driver"] for port in ftdi] != ["ccnvr"]:
        wrong.append(
            f"ccnvr instruments did not find the instrument behind its FTDI adapter: {outcome.seen}"
        )
    return wrong


def _truth(scans: int) -> list[int]:
    """Return the CRC-32 of each sample's counts, from a second instrument with the same seed."""
    again, settings = Spectrometer(), Settings(10_000, 16)
    kinds = [ScanKind.DARK, ScanKind.WHITE, *[ScanKind.SAMPLE] * scans]
    requests = [ScanRequest(kind, settings.integration_us, settings.averages) for kind in kinds]
    sums = [again.expose(request, number).sums for number, request in enumerate(requests, start=1)]
    return [zlib.crc32((counts / settings.averages).astype("<f8").tobytes()) for counts in sums[2:]]
