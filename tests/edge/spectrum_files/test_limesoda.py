"""The NumPy reader of LimeSoDa against the package's own loader."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.spectrum_files import limesoda
from ccnvr.edge.spectrum_files.limesoda import DataError
from ccnvr.firmware_bridge.errors import UsageError


@pytest.mark.parametrize("name", limesoda.VISNIR_SETS)
@pytest.mark.filterwarnings("ignore")
def test_it_reads_what_the_package_s_own_loader_reads(name: str) -> None:
    from LimeSoDa import load_dataset

    ours, theirs = limesoda.load(name), load_dataset(name)
    table = theirs["Dataset"]
    bands = [column for column in table.columns if column.startswith("wl_")]
    np.testing.assert_array_equal(ours.wavelengths_nm, [float(column[3:]) for column in bands])
    np.testing.assert_array_equal(ours.reflectance, table[bands].to_numpy() / 100.0)
    np.testing.assert_array_equal(ours.folds, theirs["Folds"])
    np.testing.assert_array_equal(ours.properties["pH"], table["pH_target"])
    np.testing.assert_array_equal(ours.properties["clay"], table["Clay_target"])
    carbon = table["SOC_target"] * 10.0 if "SOC_target" in table else table["SOM_target"] * 5.8
    np.testing.assert_allclose(ours.properties["OC"], carbon, rtol=1e-12)
    assert ours.sample_ids[0] == f"{name}/1"


def test_unknown_sets_and_a_missing_package_are_wrong_use(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"'B\.204' is not one of"):
        limesoda.load("B.204")
    monkeypatch.setattr(limesoda, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install .*--no-deps LimeSoDa==0.1.5"):
        limesoda.load("CV.98")


def rewritten(source: Path, target: Path, change: dict[str, bytes | None]) -> None:
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as out:
        for name in archive.namelist():
            content = change.get(name, archive.read(name))
            if content is not None:
                out.writestr(name, content)


@pytest.mark.parametrize(
    "change",
    [
        {"folds.npy": None},
        {"dataset_columns.npy": None},
        {"dataset_columns.npy": b"\x93NUMPY"},
        {"dataset_columns.npy": b"x" * (2 << 20)},
    ],
)
def test_a_damaged_set_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, bytes | None]
) -> None:
    rewritten(limesoda.data_folder() / "SC.93.npz", tmp_path / "SC.93.npz", change)
    monkeypatch.setattr(limesoda, "data_folder", lambda: tmp_path)
    with pytest.raises(DataError, match=r"reinstall LimeSoDa==0\.1\.5"):
        limesoda.load("SC.93")


@pytest.mark.parametrize("other_set", ["SSP.58", "CV.98"])
def test_names_of_another_number_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_set: str
) -> None:
    """SSP.58 has fewer columns than SC.93, CV.98 more."""
    other = zipfile.ZipFile(limesoda.data_folder() / f"{other_set}.npz").read("dataset_columns.npy")
    rewritten(
        limesoda.data_folder() / "SC.93.npz", tmp_path / "SC.93.npz", {"dataset_columns.npy": other}
    )
    monkeypatch.setattr(limesoda, "data_folder", lambda: tmp_path)
    with pytest.raises(DataError, match="columns"):
        limesoda.load("SC.93")


def test_names_are_read_without_running_a_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle that would create a file when loaded is only read."""
    marker = tmp_path / "ran"
    code = f"cposix\nsystem\n(S'touch {marker}'\ntR.".encode()
    header = (
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '|O', 'fortran_order': False, 'shape': (2149,), }".ljust(117)
        + b"\n"
    )
    rewritten(
        limesoda.data_folder() / "SC.93.npz",
        tmp_path / "SC.93.npz",
        {"dataset_columns.npy": header + code},
    )
    monkeypatch.setattr(limesoda, "data_folder", lambda: tmp_path)
    with pytest.raises(DataError):
        limesoda.load("SC.93")
    assert not marker.exists()
