"""A running daemon takes a new bundle between two scans, or goes on with the former one."""

from __future__ import annotations

import dataclasses
import json
import signal
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from ccnvr.edge.bundle import archive
from ccnvr.edge.bundle.archive import SELF_TEST
from ccnvr.edge.updates.slots import Slots, SlotState, version_of
from tests.edge.updates.test_slots import sign
from tests.support.brokers import Broker, Subscriber, free_port
from tests.support.helpers import CCNVR, run_ccnvr

MODELS = Path(archive.__file__).parents[1] / "models"


def changed(source: Path, place: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Write a bundle whose self-test was changed; its checksums are right."""
    bundle = archive.read(source)
    parts = dict(bundle.parts)
    test = json.loads(parts[SELF_TEST])
    change(test)
    parts[SELF_TEST] = json.dumps(test).encode()
    manifest = dataclasses.replace(
        bundle.manifest,
        name=place.stem,
        parts={name: archive.part_of(content) for name, content in parts.items()},
    )
    archive.write(place, manifest, parts)
    return place


def spoil(test: dict[str, Any]) -> None:
    test["expected"] = [[value + 1.0 for value in row] for row in test["expected"]]


class Daemon:
    """`ccnvr run` on an instrument of `ccnvr simulate`, with a page and a broker."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder = folder
        self.models = folder / "models"
        self.models.mkdir()
        slots = Slots(self.models)
        slots.install(bundle)
        slots.confirm()
        link, self._port = folder / "handheld", free_port()
        self._broker = Broker(folder)
        self.subscriber = Subscriber(self._broker.port)
        (folder / "ccnvr.toml").write_text(
            f'[instrument]\nurl = "serial://{link}?baud=921600"\n[scan]\ninterval_s = 0.05\n'
            f'[model]\nbundle = "{self.models}"\n[web]\nport = {self._port}\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {self._broker.port}\ndevice = "d"\n'
        )
        simulate = [*CCNVR, "simulate", "--pace", "0", "--link", str(link)]
        self._simulator = subprocess.Popen(simulate, stdout=subprocess.PIPE)
        assert self._simulator.stdout is not None
        self._simulator.stdout.readline()
        self._log = (folder / "log").open("wb")
        self.start()

    def start(self) -> None:
        """Start the daemon, and wait for a prediction."""
        self.process = subprocess.Popen(
            [*CCNVR, "run", "-c", "ccnvr.toml"],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
        )
        before = len(self.digests())
        self.wait_until(lambda: len(self.digests()) > before)

    def end(self) -> None:
        """End all processes."""
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(20) == 0
        self._simulator.terminate()
        self._simulator.wait(20)
        assert self._simulator.stdout is not None
        self._simulator.stdout.close()
        self._log.close()
        self.subscriber.close()
        self._broker.stop()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def state(self) -> SlotState:
        return Slots(self.models).state

    def health(self) -> dict[str, Any]:
        """Return what the page tells of the model."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=20) as answer:
            told: dict[str, Any] = json.loads(answer.read())["model"]
        return told

    def told(self) -> dict[str, Any]:
        """Return what the broker was told last of the model."""
        messages = self.subscriber.on("d/model")
        return dict(json.loads(messages[-1].payload)) if messages else {}

    def digests(self) -> list[str]:
        """Return the digest of the bundle of each prediction."""
        return [digest for _, digest in self._rows()]

    def nothing_is_missing(self) -> bool:
        """Return whether each scan between the first and the last is stored once."""
        numbers = [int(scan_id.rpartition("-")[2]) for scan_id, _ in self._rows()]
        return numbers == list(range(numbers[0], numbers[0] + len(numbers)))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.05)

    def goes_on(self) -> None:
        """Wait for two more predictions."""
        before = len(self.digests())
        self.wait_until(lambda: len(self.digests()) > before + 1)

    def _rows(self) -> list[tuple[str, str]]:
        path = self.folder / "ccnvr.sqlite"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path)) as store:
            try:
                rows = store.execute("SELECT scan_id, bundle_sha256 FROM scans ORDER BY id")
                return rows.fetchall()
            except sqlite3.OperationalError:
                return []  # it is being made


@pytest.fixture
def daemon(tmp_path: Path, bundle: Path) -> Iterator[Daemon]:
    with ExitStack() as stack:
        made = Daemon(tmp_path, bundle)
        stack.callback(made.end)
        yield made


@pytest.mark.slow
def test_a_refused_bundle_leaves_the_former_one_and_everybody_is_told_why(
    daemon: Daemon, bundle: Path, tmp_path: Path
) -> None:
    new = changed(bundle, tmp_path / "new.ccnvr", lambda test: None)
    spoilt = changed(bundle, tmp_path / "spoilt.ccnvr", spoil)
    key = sign(tmp_path, spoilt)
    wrong = (tmp_path / "spoilt.ccnvr.sig").rename(tmp_path / "new.ccnvr.sig")
    done = run_ccnvr("update", new, "--models", daemon.models, "--public-key", key)
    wrong.unlink()
    assert done.returncode == 1
    refused(daemon, bundle, "new.ccnvr", "is not that of the pinned key")

    assert run_ccnvr("update", spoilt, "--models", daemon.models).returncode == 0
    refused(daemon, bundle, "spoilt", "self-test")
    assert "is not kept" in daemon.log
    daemon.goes_on()
    assert daemon.nothing_is_missing()
    # Home Assistant makes an entity of it, which cannot be told to install anything.
    config = json.loads(daemon.subscriber.wait_for("/config", 1)[-1].payload)["cmps"]["model"]
    assert config["p"] == "update"
    assert config["state_topic"] == "ccnvr/d/model"
    assert "command_topic" not in config


def refused(daemon: Daemon, bundle: Path, name: str, reason: str) -> None:
    """Wait until state, page and broker tell that a bundle was refused."""
    daemon.wait_until(lambda: daemon.state.refused_name == name)
    state = daemon.state
    assert (state.active, state.trial) == ("a", "")
    assert reason in state.refused
    daemon.wait_until(lambda: daemon.told().get("refused_name") == name)
    for told in (daemon.told(), daemon.health()):
        assert told["refused"] == state.refused
        assert told["running"] == told["installed"] == version_of(archive.read(bundle))
        assert told["latest"] == f"{name} (refused)"
        assert not told["on_trial"]
    assert set(daemon.digests()) == {archive.read(bundle).digest}


@pytest.mark.slow
def test_a_good_bundle_is_taken_between_two_scans_and_kept(
    daemon: Daemon, bundle: Path, tmp_path: Path
) -> None:
    new = changed(bundle, tmp_path / "new.ccnvr", lambda test: None)
    former, latest = (version_of(archive.read(path)) for path in (bundle, new))
    assert run_ccnvr("update", new, "--models", daemon.models).returncode == 0
    daemon.wait_until(lambda: archive.read(new).digest in daemon.digests())
    # A trial that the daemon does not outlive begins anew.
    if daemon.state.trial:
        daemon.process.kill()
        daemon.process.wait()
        daemon.start()
    daemon.wait_until(lambda: daemon.state == SlotState(active="b"))
    daemon.wait_until(lambda: daemon.told().get("installed") == latest)
    assert "has proved itself" in daemon.log
    assert daemon.told()["latest"] == latest
    messages = [json.loads(one.payload) for one in daemon.subscriber.on("d/model")]
    assert messages[0] == {
        "running": former, "installed": former, "latest": former, "on_trial": False,
        "refused": None, "refused_name": None,
    }  # fmt: skip
    trial = {"running": latest, "installed": former, "latest": latest, "on_trial": True}
    assert any(trial.items() <= message.items() for message in messages)
    assert list(dict.fromkeys(daemon.digests())) == [
        archive.read(bundle).digest,
        archive.read(new).digest,
    ]
    kill_while_it_writes([*CCNVR, "update", str(bundle), "--models", str(daemon.models)], daemon)
    daemon.goes_on()
    assert daemon.nothing_is_missing()
    assert daemon.state.active
    assert len(set(daemon.digests())) == 2


def kill_while_it_writes(command: list[str], daemon: Daemon) -> None:
    """Kill an update as soon as the new bundle begins to appear in its folder."""
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as update:
        while update.poll() is None and not list(daemon.models.glob(".a.ccnvr.*.part")):
            pass
        update.kill()
    # On a fast disk it may have been done by then, which is as good.
    if update.returncode == -signal.SIGKILL:
        assert daemon.state == SlotState(active="b")


@pytest.mark.slow
def test_a_bundle_for_other_wavelengths_is_not_kept(daemon: Daemon, bundle: Path) -> None:
    reaching_lower = (
        path
        for path in sorted(MODELS.glob("*.ccnvr"))
        if archive.read(path).manifest.preprocessing.grid.start_nm < 900.0
    )
    other = next(reaching_lower, None)
    if other is None:
        pytest.skip("the family has no bundle for other wavelengths")
    assert run_ccnvr("update", other, "--models", daemon.models).returncode == 0
    refused(daemon, bundle, archive.read(other).manifest.name, "nm")
    daemon.goes_on()
    assert daemon.nothing_is_missing()
