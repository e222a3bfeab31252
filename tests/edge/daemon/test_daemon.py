"""`ccnvr run` as a user runs it: real processes, real pseudo-terminals and sockets, real
kill -9.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shlex
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from ccnvr.edge.daemon import config
from ccnvr.edge.daemon import main_loop as daemon
from ccnvr.edge.daemon.main_loop import CURSOR_EVERY
from ccnvr.firmware_bridge.connect.registry import open_instrument
from ccnvr.firmware_bridge.instrument import ScanKind, Settings
from ccnvr.firmware_bridge.link import frames as codec
from ccnvr.firmware_bridge.link.device import Device
from ccnvr.firmware_bridge.simulators.bench import Bench
from ccnvr.firmware_bridge.simulators.handheld import SimulatedSpectrometer, synthetic_soils
from tests.support.helpers import CCNVR, NETWORK_BUNDLE, assert_one_sentence, run_ccnvr

KEYS = [
    "scan_id",
    "time",
    "instrument",
    "predictions",
    "flags",
    "verdict",
    "latency_ms",
    "clock_synchronised",
]


def scan_ids(path: Path) -> list[str]:
    """Return the ids of the stored scans, in order."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT scan_id FROM scans ORDER BY id").fetchall()
    connection.close()
    return [scan_id for (scan_id,) in rows]


def expected_ids(count: int, first: int = 3) -> list[str]:
    """Return the ids of samples; scans 1 and 2 are the references."""
    return [f"SIM-512-1-{number}" for number in range(first, first + count)]


@pytest.mark.parametrize("listen", [None, "127.0.0.1:0"])
def test_five_predictions_from_a_simulator_in_another_process(
    simulator_process: Callable[..., str], soils_csv: Path, tmp_path: Path, listen: str | None
) -> None:
    url = simulator_process("--spectra", soils_csv, *(["--listen", listen] if listen else []))
    assert url.startswith("socket://" if listen else "serial:///dev/pts/")
    result = run_ccnvr(
        "run",
        "--bundle",
        NETWORK_BUNDLE,
        "--instrument",
        url,
        "--count",
        5,
        "--store",
        tmp_path / "s.sqlite",
    )
    assert result.returncode == 0, result.stderr
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["scan_id"] for record in records] == expected_ids(5)
    for record in records:
        assert list(record) == KEYS
        assert set(record["predictions"]) == {"OC", "N", "CEC", "pH", "clay"}
        for estimate in record["predictions"].values():
            assert list(estimate) == ["value", "unit", "low", "high", "places"]
            assert estimate["low"] <= estimate["value"] <= estimate["high"]
    # The fifth scan sees the first soil again, through other noise.
    assert records[4]["predictions"]["OC"]["value"] == pytest.approx(
        records[0]["predictions"]["OC"]["value"], rel=0.2
    )


@pytest.mark.slow
def test_killed_again_and_again_it_loses_and_repeats_no_scan(
    simulator_process: Callable[..., str], tmp_path: Path
) -> None:
    url, store, source = simulator_process(), tmp_path / "s.sqlite", random.Random(5)
    command = [*CCNVR, "run", "--instrument", url, "--store", str(store)]
    printed: list[str] = []
    for _ in range(8):
        out = tmp_path / "out.jsonl"
        with out.open("wb") as stdout:
            process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 30
            while out.stat().st_size < 2000 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(source.uniform(0.0, 0.2))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        # A line may be cut by the kill; it was not delivered, and comes again.
        printed += [
            json.loads(line)["scan_id"]
            for line in out.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]
    last = run_ccnvr("run", "--instrument", url, "--store", store, "--count", 3)
    assert last.returncode == 0, last.stderr
    printed += [json.loads(line)["scan_id"] for line in last.stdout.splitlines()]
    stored = scan_ids(store)
    assert len(stored) > 24
    assert stored == expected_ids(len(stored))
    # Each stored scan was printed. The cursor of the stream is committed with every eighth scan, so
    # the last ones before each of the 8 kills may have been printed twice.
    assert sorted(set(printed)) == sorted(stored)
    assert len(printed) - len(set(printed)) <= 8 * (CURSOR_EVERY + 1)


@pytest.mark.slow
def test_scans_left_in_the_instrument_are_read_first(
    simulator_process: Callable[..., str], tmp_path: Path
) -> None:
    url = simulator_process()
    first = run_ccnvr("run", "--instrument", url, "--store", tmp_path / "a.sqlite", "--count", 2)
    assert first.returncode == 0
    take_samples(url, 3, Settings(10_000, 16))
    second = run_ccnvr("run", "--instrument", url, "--store", tmp_path / "a.sqlite", "--count", 5)
    assert "reading scans that waited in the instrument" in second.stderr
    assert "reference" not in second.stderr
    assert scan_ids(tmp_path / "a.sqlite") == expected_ids(7)


def test_interrupted_it_ends_in_order(
    simulator_process: Callable[..., str], tmp_path: Path
) -> None:
    url, store = simulator_process(), tmp_path / "s.sqlite"
    command = [*CCNVR, "run", "--instrument", url, "--store", str(store)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    head = [process.stdout.readline() for _ in range(5)]
    process.send_signal(signal.SIGTERM)
    # `communicate` alone would lose what reading the lines before left in the buffer.
    tail, errors = process.stdout.read(), process.stderr.read()
    process.communicate(timeout=30)
    assert process.returncode == 0, errors
    printed = [json.loads(line)["scan_id"] for line in [*head, *tail.splitlines()]]
    assert printed == scan_ids(store) == expected_ids(len(printed))


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_it_with_one_sentence(
    simulator_process: Callable[..., str], tmp_path: Path
) -> None:
    command = [
        *CCNVR,
        "run",
        "--instrument",
        simulator_process(),
        "--store",
        str(tmp_path / "s.sqlite"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read().decode()
    assert process.wait(timeout=30) == 1
    assert "the reader of standard output went away; what was stored stays stored" in errors
    assert "Traceback" not in errors
    process.stderr.close()


@pytest.mark.slow
def test_two_daemons_on_one_port_or_one_store(
    simulator_process: Callable[..., str], tmp_path: Path
) -> None:
    url, store = simulator_process(), tmp_path / "s.sqlite"
    command = [*CCNVR, "run", "--instrument", url, "--store", str(store)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.readline()
    port = run_ccnvr("run", "--instrument", url, "--store", tmp_path / "other.sqlite", "--count", 1)
    assert_one_sentence(port, 1, url, "busy", "stop the other program")
    taken = run_ccnvr("run", "--instrument", "sim://", "--store", store, "--count", 1)
    assert_one_sentence(taken, 1, str(store), "another daemon")
    process.kill()
    process.communicate()


def test_no_such_port(tmp_path: Path) -> None:
    result = run_ccnvr(
        "run",
        "--instrument",
        "serial:///dev/ttyNONE",
        "--store",
        tmp_path / "s.sqlite",
        "--count",
        1,
    )
    assert_one_sentence(result, 1, "/dev/ttyNONE", "no port /dev/tty", "/dev/serial/by-id")


@pytest.mark.slow
def test_nothing_answers(tmp_path: Path) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    url = f"serial://{os.ttyname(slave)}"
    result = run_ccnvr("run", "--instrument", url, "--store", tmp_path / "s.sqlite", "--count", 1)
    assert_one_sentence(
        result, 1, f"nothing valid on {url} answered HELLO within 4.0 s", "baud rate"
    )
    os.close(master)
    os.close(slave)


def test_another_protocol_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulated: Callable[..., str]
) -> None:
    # The instrument runs in this process, the daemon in another: only the instrument speaks version
    # 7.
    with monkeypatch.context() as context:
        context.setattr(codec, "VERSION", 7)
        result = run_ccnvr(
            "run", "--instrument", simulated(), "--store", tmp_path / "s.sqlite", "--count", 1
        )
    assert_one_sentence(result, 1, "link version 7", "speaks 1", "update")


def test_an_instrument_of_another_range(
    tmp_path: Path, simulated: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ccnvr.firmware_bridge.simulators import handheld as simulator

    monkeypatch.setattr(simulator, "pixel_wavelengths", lambda: np.linspace(400.0, 1000.0, 512))
    url = simulated(soils=np.full((1, 512), 0.4))
    more = ["--store", tmp_path / "s.sqlite", "--count", 1, "--bundle", NETWORK_BUNDLE]
    result = run_ccnvr("run", "--instrument", url, *more)
    assert_one_sentence(result, 1, "400.0-1000.0 nm", "the model needs 1104.0-2492.0 nm")


def hanging_up(*sessions: tuple[Device, int]) -> tuple[str, threading.Thread]:
    """Return the URL of an instrument that answers so many requests of a session, then hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            for device, requests in sessions:
                with listener.accept()[0] as connection:
                    for _ in range(requests):
                        data = connection.recv(4096)
                        if not data:
                            return
                        connection.sendall(device.receive(data))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return f"socket://127.0.0.1:{listener.getsockname()[1]}", thread


def test_a_link_that_comes_back_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The instrument hangs up three times, and keeps its scans meanwhile."""
    device = Device(SimulatedSpectrometer(synthetic_soils(3, 1), pace=0.0))
    url, thread = hanging_up((device, 40), (device, 5), (device, 60), (device, 10**6))
    monkeypatch.setattr("ccnvr.edge.daemon.reader.RECONNECT_S", 0.01)
    settings = config.load(
        None, {"instrument": {"url": url}, "store": {"path": str(tmp_path / "s.sqlite")}}
    )
    records: list[dict[str, Any]] = []
    with caplog.at_level(logging.INFO, logger="ccnvr"):
        summary = daemon.run(settings, 50, records.append)
    notices = [record.getMessage() for record in caplog.records]
    assert [record["scan_id"] for record in records] == expected_ids(50)
    assert summary.predicted == 50
    assert sum("trying again" in notice for notice in notices) >= 2
    assert {record.levelno for record in caplog.records if "trying again" in record.message} == {
        logging.WARNING
    }
    assert "the instrument answers again" in notices
    thread.join(5)


def stored_flags(path: Path) -> list[list[str]]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT flags FROM scans ORDER BY id").fetchall()
    connection.close()
    return [json.loads(flags) for (flags,) in rows]


@pytest.mark.parametrize("when_expired", ["flag", "retake"])
def test_references_expire(
    simulated: Callable[..., str], tmp_path: Path, when_expired: str
) -> None:
    store = tmp_path / "s.sqlite"
    settings = config.load(
        None,
        {
            "instrument": {"url": simulated()},
            "store": {"path": str(store)},
            "reference": {"max_age_s": 1.0, "when_expired": when_expired},
            "run": {"interval_s": 0.15},
        },
    )
    daemon.run(settings, 12, lambda record: None)
    connection = sqlite3.connect(store)
    darks, whites = connection.execute(
        "SELECT count(*) FROM reference_scans GROUP BY kind ORDER BY kind"
    ).fetchall()
    pairs = connection.execute(
        "SELECT count(DISTINCT dark_id), count(DISTINCT white_id) FROM scans"
    ).fetchone()
    connection.close()
    flagged = ["reference_expired" in flags for flags in stored_flags(store)]
    if when_expired == "flag":
        assert pairs == (*darks, *whites) == (1, 1)
        assert not flagged[0] and flagged[-1]
    else:
        assert pairs == (*darks, *whites)
        assert darks[0] >= 2 and not any(flagged)


def take_samples(url: str, count: int, settings: Settings) -> None:
    """Take samples that no daemon has seen."""
    instrument = open_instrument(url)
    instrument.identify()
    instrument.configure(settings)
    for _ in range(count):
        instrument.scan(ScanKind.SAMPLE)
    instrument.close()


@pytest.mark.slow
def test_waiting_scans_are_predicted_with_the_references_of_their_own_settings(
    simulator_process: Callable[..., str], tmp_path: Path
) -> None:
    url, store = simulator_process(), tmp_path / "s.sqlite"
    assert run_ccnvr("run", "--instrument", url, "--store", store, "--count", 1).returncode == 0
    take_samples(url, 2, Settings(10_000, 16))
    take_samples(url, 1, Settings(5_000, 16))
    (tmp_path / "c.toml").write_text(f'[instrument]\nurl = "{url}"\nintegration_us = 9000\n')
    waiting = run_ccnvr("run", "-c", tmp_path / "c.toml", "--store", store, "--count", 2)
    assert "reference" not in waiting.stderr
    rest = run_ccnvr("run", "-c", tmp_path / "c.toml", "--store", store, "--count", 2)
    records = [json.loads(line) for line in (waiting.stdout + rest.stdout).splitlines()]
    # The simulator's soils are synthetic, and flagged for that.
    assert [
        [flag for flag in record["flags"] if not flag.startswith("out_of_domain")]
        for record in records
    ] == [
        ["read_later"],
        ["read_later"],
        ["rescan:no_reference", "read_later"],
        [],
    ]
    assert [bool(record["predictions"]) for record in records] == [True, True, False, True]


@pytest.mark.slow
def test_a_bad_reference_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulated: Callable[..., str]
) -> None:
    url, light = simulated(), Bench._light
    arguments = ("run", "--instrument", url, "--store", tmp_path / "s.sqlite", "--count", 1)
    with monkeypatch.context() as lamp:
        lamp.setattr(Bench, "_light", lambda self, kind, soil: 0.0)
        assert_one_sentence(run_ccnvr(*arguments), 1, "counts above dark", "check lamp and panel")
    assert Bench._light is light
    repaired = run_ccnvr(*arguments)
    assert repaired.returncode == 0, repaired.stderr
    assert "taking the white reference" in repaired.stderr


@pytest.mark.slow
def test_new_references_on_demand(simulator_process: Callable[..., str], tmp_path: Path) -> None:
    url, taken = simulator_process(), []
    for option in ([], [], ["--new-references"]):
        result = run_ccnvr(
            "run", "--instrument", url, "--store", tmp_path / "s.sqlite", "--count", 1, *option
        )
        assert result.returncode == 0, result.stderr
        taken.append("taking the white reference" in result.stderr)
    assert taken == [True, False, True]


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(
    simulator_process: Callable[..., str], tmp_path: Path
) -> None:
    url = simulator_process("--pace", 30)
    command = [*CCNVR, "run", "--instrument", url, "--store", str(tmp_path / "s.sqlite")]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while "reference" not in process.stderr.readline():
        pass
    # The dark reference now takes 5 s; the first signal waits for it, the second does not.
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == -signal.SIGTERM
    process.communicate()


@pytest.mark.slow
def test_an_instrument_that_does_not_count_its_starts_is_named(
    simulator_process: Callable[..., str], tmp_path: Path
) -> None:
    for expected in (0, 1):
        result = run_ccnvr(
            "run",
            "--instrument",
            simulator_process(),
            "--store",
            tmp_path / "s.sqlite",
            "--count",
            5,
        )
        assert result.returncode == expected, result.stderr
    assert_one_sentence(
        result, 1, "SIM-512-1-3", "boot counter did not change", "name another store"
    )


@pytest.mark.slow
def test_a_simulator_counts_its_starts(tmp_path: Path) -> None:
    for _ in range(2):
        result = run_ccnvr(
            "run", "--instrument", "sim://?pace=0", "--store", tmp_path / "s.sqlite", "--count", 2
        )
        assert result.returncode == 0, result.stderr
    assert len(scan_ids(tmp_path / "s.sqlite")) == 4


@pytest.mark.slow
def test_a_saturated_scan_is_stored_and_answered_with_rescan(
    simulator_process: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "bright.csv").write_text("sample_id,1100,2500\nmirror,1.4,1.4\nsoil,0.4,0.5\n")
    url = simulator_process("--spectra", tmp_path / "bright.csv")
    (tmp_path / "c.toml").write_text(f'[instrument]\nurl = "{url}"\nintegration_us = 14000\n')
    result = run_ccnvr(
        "run", "-c", tmp_path / "c.toml", "--store", tmp_path / "s.sqlite", "--count", 2
    )
    assert result.returncode == 0, result.stderr
    mirror, soil = map(json.loads, result.stdout.splitlines())
    assert (mirror["predictions"], mirror["flags"]) == ({}, ["rescan:saturated"])
    assert soil["predictions"]["OC"]["value"] is not None


@pytest.mark.slow
def test_a_full_disk_is_waited_for_and_loses_nothing(tmp_path: Path) -> None:
    """On a real file system of 600 kB, in a mount namespace of its own, which then grows."""
    disk = tmp_path / "disk"
    disk.mkdir()
    private = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=600k none {disk}"
    if subprocess.run([*private, mount], capture_output=True).returncode != 0:
        pytest.skip("this machine lets no test mount a file system")
    run = shlex.join(
        [*CCNVR, "run", "--instrument", "sim://?pace=0", "--store", f"{disk}/s.sqlite"]
    )
    script = (
        f"{run} --count 600 2>{tmp_path}/err & daemon=$!; "
        f"until grep -q full {tmp_path}/err; do sleep 0.1; done; sleep 2; "
        f"mount -o remount,size=8m {disk}; "
        f"wait $daemon; code=$?; cp {disk}/s.sqlite* {tmp_path}; exit $code"
    )
    result = subprocess.run(
        [*private, f"{mount} && {{ {script}; }}"], capture_output=True, text=True, timeout=120
    )
    errors = (tmp_path / "err").read_text()
    assert result.returncode == 0, errors
    assert errors.count("its disk is full; free disk space; trying again") == 1
    assert errors.count("the store can be used again after") == 1
    stored = scan_ids(tmp_path / "s.sqlite")
    numbers = [int(scan_id.rsplit("-", 1)[1]) for scan_id in stored]
    assert numbers == list(range(3, 603))
    assert [json.loads(line)["scan_id"] for line in result.stdout.splitlines()] == stored


@pytest.mark.slow
def test_four_thousand_scans_none_lost_none_repeated_memory_flat(
    simulator_process: Callable[..., str], tmp_path: Path
) -> None:
    url, store, count = simulator_process(), tmp_path / "s.sqlite", 4_000
    command = [*CCNVR, "run", "--instrument", url, "--store", str(store), "--count", str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    memory, printed = psutil.Process(process.pid), []
    after_500 = 0
    for line in process.stdout:
        printed.append(json.loads(line)["scan_id"])
        if len(printed) == 500:
            after_500 = memory.memory_info().rss
        if len(printed) == count - 1:
            growth = memory.memory_info().rss - after_500
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert printed == scan_ids(store) == expected_ids(count)
    # `tools.soak` does it for 100,000.
    assert growth < 2e6, f"{growth / 1e6:.1f} MB more after {count} scans than after 500"
