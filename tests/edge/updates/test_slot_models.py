"""The models of slots: which one is opened, what counts in its trial, and what ends it."""

from __future__ import annotations

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ccnvr.edge.bundle import archive
from ccnvr.edge.chemometrics.grid import WavelengthError
from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.daemon import config, main_loop
from ccnvr.edge.daemon.config import Config
from ccnvr.edge.inference.models import load_bundle
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.service.run_signals import RunSignals
from ccnvr.edge.storage.health import Health, Patience
from ccnvr.edge.storage.trouble import StoreError
from ccnvr.edge.updates import slots as slots_module
from ccnvr.edge.updates.slots import TRIAL_PREDICTIONS, Slots, SlotState, version_of
from ccnvr.edge.updates.stored_spectra import check_on_stored
from ccnvr.edge.updates.trial import SlotModels
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from tests.edge.updates.test_trial import MODELS, changed

GOOD = Prediction({"OC": Estimate(1.0, "%", 0.5, 1.5)})


@pytest.fixture(autouse=True)
def no_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlotModels, "_watch", lambda self: None)


@pytest.fixture
def slots(tmp_path: Path, bundle: Path) -> Slots:
    """A folder with a proved bundle, and one on trial."""
    return slots_in(tmp_path / "models", bundle, changed(bundle, tmp_path / "b.ccnvr", keep))


def keep(test: dict[str, Any]) -> None:
    """Change nothing of a self-test."""


def slots_in(folder: Path, *bundles: Path) -> Slots:
    """Make a folder of slots; all bundles but the last are proved."""
    folder.mkdir()
    made = Slots(folder)
    for bundle in bundles:
        if made.state.trial:
            made.confirm()
        made.install(bundle)
    return made


def settings(bundle: Path, **more: dict[str, Any]) -> Config:
    named: dict[str, dict[str, object]] = {
        "instrument": {"url": "sim://?pace=0"},
        "model": {"bundle": str(bundle)},
    }
    # Of the test's own folder, where there is none unless it makes one.
    return config.load(None, {**named, "store": {"path": str(bundle.parent / "s")}, **more})


def test_another_folder_of_the_configuration_is_opened_and_told(
    tmp_path: Path, slots: Slots, bundle: Path
) -> None:
    other = changed(bundle, tmp_path / "c.ccnvr", keep)
    two = slots_in(tmp_path / "two", other, other)
    models = SlotModels(slots, RunSignals())
    earlier = models.open(settings(slots.folder))
    models.open(settings(two.folder))
    told = models.status()
    assert told["bundle"] == str(two.folder / "b.ccnvr")
    assert told["running"] == told["latest"] == version_of(archive.read(other))
    for _ in range(TRIAL_PREDICTIONS):
        models.succeeded(GOOD)
    assert Slots(two.folder).state == SlotState("b")
    assert Slots(slots.folder).state == SlotState("a", "b")
    # The instrument of the new configuration does not answer, so the earlier one goes on.
    models.went_back(earlier)
    assert models.status()["bundle"] == str(slots.folder / "b.ccnvr")
    assert not models.renewed


def test_a_plain_bundle_of_the_configuration_ends_no_trial(slots: Slots, bundle: Path) -> None:
    models = SlotModels(slots, RunSignals())
    models.open(settings(slots.folder))
    models.open(settings(bundle))
    told = models.status()
    assert told["bundle"] == str(bundle)
    version = version_of(archive.read(bundle))
    assert told["running"] == told["installed"] == told["latest"] == version
    assert not told["on_trial"] and not told["predictions_left"] and not models.renewed
    for _ in range(TRIAL_PREDICTIONS):
        models.succeeded(GOOD)
    assert not models.failed(WavelengthError("it does not suit"))
    assert Slots(slots.folder).state == SlotState("a", "b")


def test_scans_without_estimates_prove_nothing(slots: Slots) -> None:
    models = SlotModels(slots, RunSignals())
    models.open(settings(slots.folder))
    for _ in range(TRIAL_PREDICTIONS):
        models.succeeded(Prediction({}, ("rescan:saturated",)))
        models.succeeded(Prediction({}, ("rescan:no_reference",)))
    assert models.status()["predictions_left"] == TRIAL_PREDICTIONS
    models.succeeded(GOOD)
    models.succeeded(Prediction({}, ("rescan:not_finite",)))
    state = Slots(slots.folder).state
    assert (state.active, state.trial) == ("a", "")
    assert "no plausible answer" in state.refused


def test_a_store_that_cannot_be_read_refuses_no_bundle(
    slots: Slots, caplog: pytest.LogCaptureFixture
) -> None:
    configured = settings(slots.folder)
    store = configured.store_path
    store.write_bytes(b"no database" * 1000)
    models = SlotModels(slots, RunSignals())
    models.open(configured)
    assert "is tried without the stored spectra" in caplog.text
    # With a model to go on with, the bundle waits until the store can be read.
    slots.install(slots.chosen)
    with pytest.raises(StoreError):
        models.open(configured)
    assert Slots(slots.folder).state == SlotState("a", "b")
    assert models.renewed
    store.unlink()
    models.open(configured)
    assert not models.renewed


def test_a_locked_store_is_waited_for(slots: Slots, caplog: pytest.LogCaptureFixture) -> None:
    configured, signals, health = settings(slots.folder), RunSignals(), Health()
    models = SlotModels(slots, signals, Patience(health, signals.stopping))
    with (
        closing(sqlite3.connect(configured.store_path, isolation_level=None)) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        other.execute("CREATE TABLE locked (id)")
        other.execute("BEGIN EXCLUSIVE")
        opened = pool.submit(models.open, configured)
        end = time.monotonic() + 20
        while health.status()["state"] == "ok" and time.monotonic() < end:
            time.sleep(0.01)
        assert not opened.done()
        other.execute("DROP TABLE locked")
        other.execute("COMMIT")
        opened.result(20)
    assert "another program has locked it" in caplog.text
    assert models.status()["on_trial"]
    assert "tried without" not in caplog.text


def test_a_configuration_that_suits_no_bundle_refuses_none(slots: Slots) -> None:
    models = SlotModels(slots, RunSignals())
    with pytest.raises(UsageError, match="Unobtainium"):
        models.open(settings(slots.folder, accept={"Unobtainium": 3.0}))
    assert Slots(slots.folder).state == SlotState("a", "b")


def test_stored_scans_of_another_instrument_are_passed_over_and_each_is_bound_once(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = settings(bundle, store={"path": str(tmp_path / "s.sqlite")})
    main_loop.run(configured, 3, lambda record: None)
    bound, bind = [], ProvedModel.bind

    def counted(self: ProvedModel, wavelengths_nm: Any) -> Any:
        bound.append(self)
        return bind(self, wavelengths_nm)

    monkeypatch.setattr(ProvedModel, "bind", counted)
    check_on_stored(load_bundle(bundle), configured.store_path)
    assert len(bound) == 1
    other = next(
        path
        for path in sorted(MODELS.glob("*.ccnvr"))
        if archive.read(path).manifest.preprocessing.grid.start_nm < 900.0
    )
    check_on_stored(load_bundle(other), configured.store_path)
    assert len(bound) == 4


@pytest.mark.parametrize("trouble", ["unreadable", "unwritable"])
def test_a_state_that_cannot_be_read_or_written_ends_nothing(
    slots: Slots, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = SlotModels(slots, RunSignals())
    models.open(settings(slots.folder))

    def full(path: Path) -> None:
        raise CcnvrError(f"{path} cannot be written")

    with monkeypatch.context() as patched:
        if trouble == "unwritable":
            patched.setattr(slots_module, "write_atomically", full)
        else:
            (slots.folder / "slots.json").write_text("{")
            assert not models.renewed
        assert models.failed(WavelengthError("it does not suit"))
        # What failed is not opened again, although the file still says that it is on trial.
        models.open(settings(slots.folder))
        assert models.status()["bundle"] == str(slots.folder / "a.ccnvr")
        assert models.status()["refused"] == "it does not suit"
        assert not models.renewed
    assert not models.renewed
    assert Slots(slots.folder).state == SlotState("a", "", "it does not suit", "b")
    # A newer one is tried all the same.
    Slots(slots.folder).install(slots.chosen)
    assert models.renewed


def test_what_is_put_in_the_place_of_a_bundle_on_trial_gets_a_trial_of_its_own(
    tmp_path: Path, bundle: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    slots = Slots(folder)
    slots.install(bundle)
    slots.confirm()
    second, third = (changed(bundle, tmp_path / f"{name}.ccnvr", keep) for name in "bc")
    slots.install(second)
    models = SlotModels(Slots(folder), RunSignals())
    settings = config.load(
        None, {"instrument": {"url": "sim://"}, "model": {"bundle": str(folder)}}
    )
    models.open(settings)
    assert not models.renewed
    slots.install(third)
    assert models.renewed
    for _ in range(TRIAL_PREDICTIONS):
        models.succeeded(GOOD)
    assert Slots(folder).state == SlotState("a", "b")
    assert models.status()["running"] == version_of(archive.read(second))
    assert models.status()["latest"] == version_of(archive.read(third))
    models.open(settings)
    for _ in range(TRIAL_PREDICTIONS):
        models.succeeded(GOOD)
    assert Slots(folder).state == SlotState("b")
    assert models.status()["installed"] == version_of(archive.read(third))
