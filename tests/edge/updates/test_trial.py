"""A running daemon takes a new bundle between two scans, or goes on with the former one."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from ccnvr.edge.bundle import archive
from ccnvr.edge.bundle.archive import SELF_TEST
from ccnvr.edge.updates.slots import Slots, SlotState
from tests.support.helpers import CCNVR

MODELS = Path(archive.__file__).parents[1] / "models"
SCANS = 90


def changed(source: Path, place: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Write a bundle whose self-test was changed; its checksums are right."""
    bundle = archive.read(source)
    parts = dict(bundle.parts)
    test = json.loads(parts[SELF_TEST])
    change(test)
    parts[SELF_TEST] = json.dumps(test).encode()
    manifest = dataclasses.replace(
        bundle.manifest,
        name="changed",
        parts={name: archive.part_of(content) for name, content in parts.items()},
    )
    archive.write(place, manifest, parts)
    return place


@pytest.fixture
def bundle() -> Path:
    """The bundle of the family that serves the simulated handheld."""
    from ccnvr.edge.bundle import family
    from ccnvr.firmware_bridge.connect.registry import open_instrument

    instrument = open_instrument("sim://?pace=0")
    try:
        name = family.choose(instrument.identify().wavelengths_nm).name
    finally:
        instrument.close()
    return MODELS / f"{name}.ccnvr"


@pytest.fixture
def slots(tmp_path: Path, bundle: Path) -> Slots:
    (tmp_path / "models").mkdir()
    made = Slots(tmp_path / "models")
    made.install(bundle)
    made.confirm()
    return made


@contextmanager
def daemon(folder: Path) -> Iterator[tuple[IO[str], subprocess.Popen[str]]]:
    link = folder / "handheld"
    simulate = [*CCNVR, "simulate", "--pace", "0", "--link", str(link)]
    command = [*CCNVR, "run", "--instrument", f"serial://{link}?baud=921600"]
    more = ["--count", str(SCANS), "--interval", "0.1", "--store", str(folder / "s.sqlite")]
    with subprocess.Popen(simulate, stdout=subprocess.PIPE) as simulator:
        assert simulator.stdout is not None
        simulator.stdout.readline()
        with subprocess.Popen(
            [*command, *more, "--bundle", str(folder / "models")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            yield process.stdout, process
        simulator.terminate()


def run_and_update(folder: Path, new: Path) -> tuple[list[str], str]:
    """Update a daemon after ten scans; return the ids that it printed, and what it said."""
    with daemon(folder) as (lines, process):
        first = [lines.readline() for _ in range(10)]
        Slots(folder / "models").install(new)
        rest, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    ids = [json.loads(line)["scan_id"] for line in [*first, *rest.splitlines()]]
    return ids, said


def digests(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "s.sqlite")) as store:
        rows = store.execute("SELECT bundle_sha256 FROM scans ORDER BY id").fetchall()
    return [digest for (digest,) in rows]


def all_there(ids: list[str]) -> bool:
    """Return whether no number between the first and the last is missing or comes twice."""
    numbers = [int(scan_id.rpartition("-")[2]) for scan_id in ids]
    return len(set(ids)) == SCANS and len(set(numbers)) == len(numbers)


@pytest.mark.slow
def test_a_good_bundle_is_taken_between_two_scans_and_kept(
    tmp_path: Path, slots: Slots, bundle: Path
) -> None:
    new = changed(bundle, tmp_path / "new.ccnvr", lambda test: None)
    ids, said = run_and_update(tmp_path, new)
    assert all_there(ids)
    assert "has proved itself" in said
    assert Slots(slots.folder).state == SlotState(active="b")
    used = digests(tmp_path)
    assert used[0] == archive.read(bundle).digest
    assert used[-1] == archive.read(new).digest
    assert len(set(used)) == 2


@pytest.mark.slow
def test_a_bundle_that_fails_its_self_test_is_not_kept(
    tmp_path: Path, slots: Slots, bundle: Path
) -> None:
    def break_it(test: dict[str, Any]) -> None:
        test["expected"] = [[value + 1.0 for value in row] for row in test["expected"]]

    ids, said = run_and_update(tmp_path, changed(bundle, tmp_path / "new.ccnvr", break_it))
    assert all_there(ids)
    assert "is not kept" in said
    state = Slots(slots.folder).state
    assert (state.active, state.trial, state.refused_name) == ("a", "", "changed")
    assert "self-test" in state.refused
    assert set(digests(tmp_path)) == {archive.read(bundle).digest}


@pytest.mark.slow
def test_a_bundle_for_other_wavelengths_is_not_kept(tmp_path: Path, slots: Slots) -> None:
    reaching_lower = (
        path
        for path in sorted(MODELS.glob("*.ccnvr"))
        if archive.read(path).manifest.preprocessing.grid.start_nm < 900.0
    )
    other = next(reaching_lower, None)
    if other is None:
        pytest.skip("the family has no bundle for other wavelengths")
    ids, said = run_and_update(tmp_path, other)
    assert all_there(ids)
    assert "is not kept" in said
    assert Slots(slots.folder).state.active == "a"
