"""Trouble that passes: failing disks, locks, a store that is taken away, and a size limit."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ccnvr.edge.daemon import config
from ccnvr.edge.daemon import main_loop as daemon
from ccnvr.edge.storage.database import StoreError
from ccnvr.edge.storage.health import Health, Patience
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from tests.edge.store.test_store import INFO, PREDICTION, add, scan
from tests.support.helpers import CCNVR, ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.sqlite"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library that lets writes fail."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("shim") / "failing_writes.so"
    source = ROOT / "tests" / "support" / "failing_writes.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def scan_ids(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [row[0] for row in connection.execute("SELECT scan_id FROM scans ORDER BY id")]


POWER_CUTS = """
import os, pathlib, sys
sys.path.insert(0, sys.argv[1])
from tests.edge.store.test_store import Store, add
folder, trigger = pathlib.Path(sys.argv[2]), pathlib.Path(os.environ["FAULT_TRIGGER"])
for what in ("CUT", "EIO"):
    for call in range(200):
        trigger.unlink(missing_ok=True)
        path = folder / f"{what}{call}.sqlite"
        store = Store(path, owner=True)
        add(store, 1)
        store.close()
        child = os.fork()
        if not child:
            store = Store(path, owner=True)
            trigger.write_text(f"{what} {call} 1")
            done = path.with_suffix(".done")
            try:
                add(store, 2)
                done.write_text("2")
                store.seal()
                add(store, 3)
                done.write_text("3")
            except Exception as error:
                os._exit(7)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(what, call, code, flush=True)
        if code == 0:
            break
"""


@pytest.mark.slow
def test_each_write_and_sync_of_a_scan_fails_in_turn_and_the_store_is_whole(
    shim: Path, tmp_path: Path
) -> None:
    """A power cut at each call, and an error of the disk at each call."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(shim),
        "FAULT_TRIGGER": str(tmp_path / "trigger"),
    }
    result = subprocess.run(
        [sys.executable, "-c", POWER_CUTS, str(ROOT), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    cases = [line.split() for line in result.stdout.splitlines()]
    for what, code in (("CUT", "9"), ("EIO", "7")):
        codes = [case[2] for case in cases if case[0] == what]
        assert len(codes) > 20
        assert codes == [code] * (len(codes) - 1) + ["0"]
    for what, call, _ in cases:
        path = tmp_path / f"{what}{call}.sqlite"
        done = path.with_suffix(".done")
        last = int(done.read_text()) if done.exists() else 1
        Store(path, owner=True).close()
        stored = scan_ids(path)
        # What was reported as committed is there; one more may be.
        assert stored[:last] == [f"S1-2-{number}" for number in range(1, last + 1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("EROFS", "its file system is read-only"),
        ("ENOSPC", "its disk is full; free disk space"),
        ("EIO", "the disk reports input/output errors"),
    ],
)
def test_a_failing_disk_is_waited_for_said_once_by_its_cause(
    simulator_process: Callable[..., str], shim: Path, tmp_path: Path, what: str, words: str
) -> None:
    url, trigger, store = simulator_process(), tmp_path / "trigger", tmp_path / "s.sqlite"
    environment = {**os.environ, "LD_PRELOAD": str(shim), "FAULT_TRIGGER": str(trigger)}
    process = subprocess.Popen(
        [*CCNVR, "run", "--instrument", url, "--store", str(store), "--count", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None and process.stderr is not None
    shown = [process.stdout.readline() for _ in range(10)]
    trigger.write_text(f"{what} 0 1000000000")
    time.sleep(2)
    assert process.poll() is None
    trigger.unlink()
    ended = time.monotonic()
    # `communicate` alone would lose what reading the lines before left in the buffer.
    rest, errors = process.stdout.read(), process.stderr.read()
    process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert time.monotonic() - ended < 15
    assert errors.count(f"{words}") == 1, errors
    assert errors.count("the store can be used again after") == 1
    printed = [json.loads(line)["scan_id"] for line in [*shown, *rest.splitlines()]]
    assert printed == scan_ids(store)
    assert len(printed) == 60


@pytest.mark.slow
def test_a_lock_of_another_program_is_waited_for_and_a_stop_is_obeyed_meanwhile(
    simulator_process: Callable[..., str], tmp_path: Path
) -> None:
    url, store = simulator_process(), tmp_path / "s.sqlite"
    process = subprocess.Popen(
        [*CCNVR, "run", "--instrument", url, "--store", str(store)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    with closing(sqlite3.connect(store, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        while "another program has locked it" not in process.stderr.readline():
            assert process.poll() is None
        process.terminate()
        started = time.monotonic()
        _, errors = process.communicate(timeout=30)
        assert time.monotonic() - started < 5
    assert process.returncode == 1
    assert "another program has locked it; close that program" in errors
    assert "Traceback" not in errors


def test_health_tells_the_present_problem_and_what_was_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    health, stopping = Health(), threading.Event()
    patience = Patience(health, stopping)
    stopping.set()
    with caplog.at_level(logging.INFO, logger="ccnvr"):
        assert not patience.wait("the disk is full", 0)
        assert not patience.wait("the disk is full", 1)
        status = health.status()
        assert (status["state"], status["problem"]) == ("degraded", "the disk is full")
        health.restored()
        health.note("1 scan is lost")
    assert health.status() == {
        "state": "ok",
        "problem": None,
        "since_s": None,
        "notes": ["1 scan is lost"],
    }
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


def test_a_hard_link_is_the_same_store_and_no_lock_file_is_needed(path: Path) -> None:
    store = Store(path, owner=True)
    link = path.with_name("link.sqlite")
    link.hardlink_to(path)
    with pytest.raises(StoreError, match="another daemon uses store"):
        Store(link, owner=True)
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "link.sqlite",
        "s.sqlite",
        "s.sqlite-shm",
        "s.sqlite-wal",
    ]
    store.close()
    Store(link, owner=True).close()


def test_a_store_is_not_for_others_to_read(path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store(path, owner=True)
        add(store, 1)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o640}
    store.close()


@pytest.mark.parametrize("what", ["removed", "replaced", "log removed"])
def test_a_store_that_is_taken_away_is_noticed_before_the_next_scan_is_confirmed(
    path: Path, what: str
) -> None:
    store = Store(path, owner=True)
    add(store, 1)
    if what == "log removed":
        path.with_name("s.sqlite-wal").unlink()
    else:
        for file in list(path.parent.iterdir()):
            file.unlink()
    if what == "replaced":
        other = Store(path, owner=True)
        add(other, 50)
    with pytest.raises(StoreError, match="was removed or replaced while ccnvr used it"):
        store.add(NewScan(INFO, scan(2), PREDICTION, None, "digest", 1.0))
    copy = store.database.rescue()
    store.close()
    # Nothing is lost, and what is now in its place is left alone.
    assert scan_ids(copy) == ["S1-2-1", "S1-2-2"]
    assert (copy == path) == (what == "removed")
    health = Health()
    Store(copy, owner=True, patience=Patience(health, threading.Event())).close()
    assert health.status()["notes"] == []
    if what == "replaced":
        add(other, 51)
        other.close()
        assert scan_ids(path) == ["S1-2-50", "S1-2-51"]


def test_a_run_whose_store_is_taken_away_copies_it_and_ends(
    simulated: Callable[..., str], tmp_path: Path
) -> None:
    store, shown = tmp_path / "s.sqlite", []
    settings = config.load(
        None, {"instrument": {"url": simulated()}, "store": {"path": str(store)}}
    )

    def deliver(record: dict[str, str]) -> None:
        shown.append(record["scan_id"])
        if len(shown) == 5:
            for file in tmp_path.glob("s.sqlite*"):
                file.unlink()

    with pytest.raises(StoreError, match="all its scans were copied to"):
        daemon.run(settings, 200, deliver)
    assert scan_ids(store)[: len(shown)] == shown


def test_a_full_store_loses_its_oldest_delivered_scans_first(path: Path) -> None:
    store = Store(path, owner=True)
    cap = 60_000
    for number in range(1, 401):
        store.add(
            NewScan(INFO, scan(number), PREDICTION, None, "digest", 1.0),
            delivered={"a": 300, "b": 350},
        )
        if number % 8 == 0:
            store.prune(cap, 300, 32)
    kept = [int(scan_id.rsplit("-", 1)[1]) for scan_id in scan_ids(path)]
    # Without a gap, and nothing that stream "a" has not delivered is gone, though the limit is met.
    assert kept == list(range(kept[0], 401))
    assert 1 < kept[0] <= 301
    for number in range(401, 1001):
        last = {"a": number - 1, "b": number - 1}
        store.add(NewScan(INFO, scan(number), PREDICTION, None, "digest", 1.0), delivered=last)
        if number % 8 == 0:
            store.prune(cap, number - 1, 32)
    store.close()
    assert path.stat().st_size < cap + 20_000
    assert scan_ids(path)[-1] == "S1-2-1000"
