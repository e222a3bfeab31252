"""Two processes change a folder of slots in turn: an update, and a daemon or another update."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from ccnvr.edge.bundle import archive
from ccnvr.edge.bundle.archive import BundleError
from ccnvr.edge.updates import slot_lock
from ccnvr.edge.updates import slots as slots_module
from ccnvr.edge.updates.slot_lock import LOCK_FILE, locked
from ccnvr.edge.updates.slots import Slots, SlotState
from ccnvr.firmware_bridge.errors import CcnvrError
from tests.support.helpers import NETWORK_FILE, assert_one_sentence, run_ccnvr
from tests.support.modes import modes_hold

# `ccnvr update` without the imports of the other commands. It stops where the new bundle is written
# and the state is not, says so, and goes on when it is told.
STOPPING = """
import sys
from pathlib import Path
from ccnvr.edge.updates import slots

verify = slots._verify

def stop(written, source):
    print("stopped", flush=True)
    sys.stdin.readline()
    verify(written, source)

slots._verify = stop
slots.Slots(Path(sys.argv[1])).install(Path(sys.argv[2]))
print("installed", flush=True)
"""


@contextmanager
def stopped_update(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of an update, which holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPING, str(folder), str(NETWORK_FILE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == "stopped\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "installed\n"


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    """A folder with a proved bundle, and one on trial."""
    (tmp_path / "models").mkdir()
    slots = Slots(tmp_path / "models")
    slots.install(NETWORK_FILE)
    slots.confirm()
    slots.install(NETWORK_FILE)
    return slots


@pytest.mark.parametrize("ended", ["confirmed", "refused"])
def test_the_end_of_a_trial_waits_for_an_update_and_does_not_touch_its_bundle(
    slots: Slots, ended: str
) -> None:
    tried = slots.stamp()
    with stopped_update(slots.folder) as update:
        end = threading.Thread(
            target=lambda: (
                slots.confirm(tried)
                if ended == "confirmed"
                else slots.roll_back("it gave no finite numbers", tried)
            )
        )
        end.start()
        end.join(0.1)
        assert end.is_alive() and Slots(slots.folder).state == SlotState("a", "b")
        go_on(update)
        end.join(5.0)
        assert not end.is_alive()
    # What was tried is gone; of the new bundle in its place nothing is known yet.
    assert Slots(slots.folder).state == slots.state == SlotState("a", "b")
    assert slots.stamp() != tried
    archive.read(slots.chosen)


def test_an_update_that_waits_in_vain_says_so_and_changes_nothing(
    slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_lock, "PATIENCE_S", 0.1)
    tried, known = slots.stamp(), slots.state
    with stopped_update(slots.folder):
        refused = run_ccnvr("update", NETWORK_FILE, "--models", slots.folder)
        assert_one_sentence(refused, 1, f"changing {slots.folder} for 0.1 s", "try again")
        assert Slots(slots.folder).state == known
        # A trial that fails meanwhile ends in this process, and is noted as soon as it can be.
        slots.roll_back("it gave no finite numbers", tried)
        assert slots.chosen == slots.path("a") and Slots(slots.folder).state == known
    slots.refresh()
    assert Slots(slots.folder).state.refused == "it gave no finite numbers"
    # The update that was killed left no lock, and the next one cleans up after it.
    done = run_ccnvr("update", NETWORK_FILE, "--models", slots.folder)
    assert done.returncode == 0 and Slots(slots.folder).state == SlotState("a", "b")
    assert sorted(path.name for path in slots.folder.iterdir()) == [
        ".slots.lock",
        "a.ccnvr",
        "b.ccnvr",
        "slots.json",
    ]


def test_threads_of_one_process_take_turns_too(slots: Slots) -> None:
    twice = pytest.raises(CcnvrError, match="another ccnvr update")
    with locked(slots.folder), twice, locked(slots.folder, 0.0):
        pass
    with locked(slots.folder, 0.0):
        pass


def test_a_folder_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    named = pytest.raises(CcnvrError, match=r"\.slots\.lock cannot be opened \(No such file")
    with named, locked(tmp_path / "none"):
        pass


@pytest.mark.parametrize(("mode", "taken"), [(0o444, True), (0o000, False)])
def test_reading_suffices_for_a_lock_of_another_user(mode: int, taken: bool) -> None:
    # Not pytest's folder, which only its user may enter.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / LOCK_FILE).touch()
        (folder / LOCK_FILE).chmod(mode)
        refused = pytest.raises(CcnvrError, match=r"cannot be opened .*allow this user to read it")
        with modes_hold(), nullcontext() if taken else refused, locked(folder):
            assert taken


def test_a_lock_in_a_closed_folder_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0o000)
    named = pytest.raises(CcnvrError, match=r"cannot be opened \(Permission denied")
    with modes_hold(), named, locked(closed):
        pass


def test_a_link_is_not_followed_to_the_lock(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CcnvrError, match="delete it, as it is a link"), locked(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_refused_bundle_is_told_though_the_lock_is_held(
    slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_lock, "PATIENCE_S", 0.0)
    monkeypatch.setattr(slots_module, "LARGEST_BYTES", 8)
    known = slots.state
    with locked(slots.folder), pytest.raises(BundleError, match="is larger than 8 bytes"):
        slots.install(NETWORK_FILE)
    assert Slots(slots.folder).state == known
