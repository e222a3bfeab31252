"""`ccnvr doctor` on a store: what it finds, and what it repairs."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ccnvr.edge.store.store import Store
from tests.edge.store.test_store import add
from tests.support.helpers import assert_one_sentence, run_ccnvr


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "s.sqlite"
    opened = Store(path, owner=True)
    for number in range(1, 11):
        add(opened, number)
    opened.close()
    return path


def test_a_whole_store_is_well_and_left_as_it_is(store: Path) -> None:
    before = store.read_bytes()
    result = run_ccnvr("doctor", store)
    assert result.returncode == 0, result.stdout
    assert "ok  all records are as they were stored (10 scans)" in result.stdout
    assert run_ccnvr("doctor", store, "--repair").returncode == 0
    assert [file.name for file in store.parent.iterdir()] == ["s.sqlite"]
    assert store.read_bytes() == before


@pytest.mark.parametrize("damage", ["record", "page"])
def test_damage_is_found_and_repaired(store: Path, damage: str) -> None:
    if damage == "record":
        with closing(sqlite3.connect(store)) as connection:
            connection.execute("UPDATE scans SET latency_ms = 2 WHERE id = 4")
            connection.commit()
        words = "1 records are damaged, the first is 4 of scans"
    else:
        data = bytearray(store.read_bytes())
        data[2 * 512 : 3 * 512] = bytes(512)
        store.write_bytes(data)
        words = "the file is damaged"
    found = run_ccnvr("doctor", store, "--json")
    assert found.returncode == 1
    (finding,) = [
        finding for finding in map(json.loads, found.stdout.splitlines()) if not finding["well"]
    ]
    assert words in finding["text"] and finding["repairable"]
    repaired = run_ccnvr("doctor", store, "--repair")
    assert repaired.returncode == 0, repaired.stdout
    assert "references were saved" in repaired.stdout
    assert run_ccnvr("doctor", store).returncode == 0
    assert list(store.parent.glob("s.sqlite.damaged-*"))


def test_a_store_in_use_is_not_repaired(store: Path) -> None:
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("UPDATE scans SET latency_ms = 2 WHERE id = 4")
        connection.commit()
    owner = Store(store, owner=True)
    assert "a daemon uses it now" in run_ccnvr("doctor", store).stdout
    assert_one_sentence(run_ccnvr("doctor", store, "--repair"), 1, "another daemon uses store")
    owner.close()


def test_a_store_that_a_daemon_is_making_is_no_fault(tmp_path: Path) -> None:
    new = tmp_path / "new.sqlite"
    new.touch(0o640)
    found = run_ccnvr("doctor", new)
    assert found.returncode == 0 and "holds nothing yet" in found.stdout


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    assert_one_sentence(run_ccnvr("doctor", tmp_path / "none"), 2, "there is no store")
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"\xff\xd8 photo" * 1000)
    assert_one_sentence(run_ccnvr("doctor", photo), 2, "is not a store of ccnvr")
