"""Two slots: a bundle is verified, tried and kept, or the former one goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from ccnvr.edge.bundle import archive
from ccnvr.edge.bundle.archive import BundleError
from ccnvr.edge.bundle.checks_of_files import LARGEST_BYTES
from ccnvr.edge.updates.slots import Slots, SlotState
from ccnvr.firmware_bridge.errors import UsageError
from tests.support.helpers import assert_one_sentence, run_ccnvr

BUNDLE = next(Path(archive.__file__).parents[1].joinpath("models").glob("*.ccnvr"))


def sign(folder: Path, source: Path) -> Path:
    """Sign a bundle with a new key, by OpenSSL; return the public key."""
    private, public = folder / "private.pem", folder / "public.pem"

    def openssl(*words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    openssl("genpkey", "-algorithm", "ed25519", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    signature = source.with_name(source.name + ".sig")
    openssl("pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", source, "-out", signature)
    return public


@pytest.fixture
def source(tmp_path: Path) -> Path:
    copy = tmp_path / "new.ccnvr"
    copy.write_bytes(BUNDLE.read_bytes())
    return copy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models"
    made.mkdir()
    return made


def test_a_bundle_is_on_trial_until_it_is_confirmed(source: Path, folder: Path) -> None:
    slots = Slots(folder)
    with pytest.raises(UsageError, match="holds no bundle"):
        _ = slots.chosen
    first = slots.install(source)
    assert slots.state == SlotState(trial="a")
    assert Slots(folder).chosen == first
    slots.confirm()
    second = slots.install(source)
    assert slots.state == SlotState(active="a", trial="b")
    assert Slots(folder).chosen == second
    slots.confirm()
    assert Slots(folder).state == SlotState(active="b")


def test_a_failed_trial_goes_back_and_says_why(source: Path, folder: Path) -> None:
    slots = Slots(folder)
    slots.install(source)
    slots.confirm()
    slots.install(source)
    slots.roll_back("it gave no finite numbers")
    again = Slots(folder)
    assert again.chosen == folder / "a.ccnvr"
    assert again.state.refused == "it gave no finite numbers"
    assert again.state.refused_name == archive.read(source).manifest.name


def test_a_damaged_bundle_never_gets_a_slot(source: Path, folder: Path) -> None:
    slots = Slots(folder)
    slots.install(source)
    slots.confirm()
    content = bytearray(source.read_bytes())
    content[len(content) // 2] ^= 1
    source.write_bytes(content)
    with pytest.raises(BundleError) as told:
        slots.install(source)
    assert Slots(folder).state == SlotState("a", "", str(told.value), "new.ccnvr")
    assert [path.name for path in folder.glob("*.ccnvr")] == ["a.ccnvr"]


def test_only_the_pinned_key_s_signature_is_taken(
    source: Path, folder: Path, tmp_path: Path
) -> None:
    key = sign(tmp_path, source)
    slots = Slots(folder)
    slots.install(source, key)
    slots.confirm()
    other = tmp_path / "other"
    other.mkdir()
    stranger = sign(other, source)  # and its signature now lies beside the bundle
    with pytest.raises(BundleError, match="is not that of the pinned key"):
        slots.install(source, key)
    state = Slots(folder).state
    assert (state.active, state.trial, state.refused_name) == ("a", "", "new.ccnvr")
    # A bundle on trial is not disturbed by one that is refused.
    slots.install(source, stranger)
    with pytest.raises(BundleError):
        slots.install(source, key)
    assert Slots(folder).state.trial == "b"
    source.with_name("new.ccnvr.sig").unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        slots.install(source, key)
    (tmp_path / "rsa.pem").write_text("no key")
    with pytest.raises(UsageError, match="is not PEM"):
        slots.install(source, tmp_path / "rsa.pem")


def test_a_zip_bomb_gets_no_slot(source: Path, folder: Path) -> None:
    slots = Slots(folder)
    slots.install(source)
    slots.confirm()
    with zipfile.ZipFile(source, "a", zipfile.ZIP_DEFLATED) as archive_of_zeros:
        archive_of_zeros.writestr("bomb", bytes(LARGEST_BYTES))
    assert source.stat().st_size < 2 << 20
    with pytest.raises(BundleError, match="exceed"):
        slots.install(source)
    assert [path.name for path in folder.glob("*.ccnvr")] == ["a.ccnvr"]
    # One that is not compressed is not even read as a whole.
    with source.open("wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(BundleError, match="is larger than"):
        slots.install(source)
    assert Slots(folder).state.active == "a"


@pytest.mark.parametrize("proved", [True, False])
def test_a_damaged_bundle_leaves_the_slots_and_the_chosen_bundle(
    source: Path, folder: Path, proved: bool
) -> None:
    """Also while the first bundle is on trial, and while a second one is."""
    slots, content = Slots(folder), source.read_bytes()
    slots.install(source)
    if proved:
        slots.confirm()
    for _ in range(2):
        before, files = slots.state, sorted(path.name for path in folder.glob("*.ccnvr"))
        source.write_bytes(content[: len(content) // 2])
        with pytest.raises(BundleError, match=r"new\.ccnvr"):
            slots.install(source)
        after = Slots(folder).state
        assert (after.active, after.trial) == (before.active, before.trial)
        assert sorted(path.name for path in folder.glob("*.ccnvr")) == files
        assert slots.chosen.read_bytes() == content
        source.write_bytes(content)
        slots.install(source)


def test_a_second_bundle_leaves_the_first_one_to_go_back_to(source: Path, folder: Path) -> None:
    slots = Slots(folder)
    first = slots.install(source)
    second = slots.install(source)
    assert first != second == slots.chosen
    slots.roll_back("it gave no finite numbers")
    assert Slots(folder).chosen == first


@pytest.mark.parametrize("proved", [True, False])
def test_an_update_that_is_killed_leaves_the_former_bundle(
    source: Path, folder: Path, proved: bool
) -> None:
    slots = Slots(folder)
    slots.install(source)
    if proved:
        slots.confirm()
    killed = 0
    # What `ccnvr update` does, without the imports of the other commands.
    program = (
        "import sys, pathlib; from ccnvr.edge.updates.slots import Slots;"
        "Slots(pathlib.Path(sys.argv[1])).install(pathlib.Path(sys.argv[2]))"
    )
    for delay in (0.0, 0.003):
        former = Slots(folder).state
        process = subprocess.Popen([sys.executable, "-c", program, str(folder), str(source)])
        # The file of a process that was killed before lies there as well until it is removed.
        written = folder / f".b.ccnvr.{process.pid}.part"
        while process.poll() is None and not written.exists():
            time.sleep(0.0005)
        time.sleep(delay)
        process.kill()
        process.wait()
        if written.exists():
            killed += 1
            assert process.returncode == -signal.SIGKILL
            assert Slots(folder).state == former
        archive.read(Slots(folder).chosen)
        archive.read(folder / "a.ccnvr")
    assert killed


@pytest.mark.parametrize("text", ["", "[]", "{", '{"active": "c"}', '{"active": "a", "x": 1}'])
def test_a_state_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "slots.json").write_text(text)
    with pytest.raises(UsageError, match="does not say which bundle is active"):
        Slots(folder)


def test_the_command_installs_and_refuses(source: Path, tmp_path: Path) -> None:
    models = tmp_path / "made"
    done = run_ccnvr("update", source, "--models", models)
    assert done.returncode == 0, done.stderr
    assert json.loads((models / "slots.json").read_text())["trial"] == "a"
    source.write_bytes(b"no bundle")
    assert_one_sentence(run_ccnvr("update", source, "--models", models), 1)
    assert_one_sentence(run_ccnvr("update", tmp_path / "none", "--models", models), 2)
