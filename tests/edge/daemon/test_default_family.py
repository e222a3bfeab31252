"""`ccnvr run` with each driver's simulator, looking at real soils, by the default family."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.bundle import family
from ccnvr.edge.cli import main
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.connect.registry import DRIVERS
from ccnvr.firmware_bridge.simulators import bench, handheld
from tests.support.instruments import OPTIONS

SOILS = 4
SERVED = {
    "ccnvr": ("asd", "nir", "neospectra"),
    "obp": ("sts-nir",),
    "nirscan": ("nir1700",),
    "ooi": ("vis", "c12880"),
    "chromation": ("c12880",),
    "as7265x": ("as7265x",),
    "nirone": ("nirone20",),
    "minispec": ("c12880",),
    "luxnode": ("c12880",),
    "c12880ma": ("c12880",),
    "asd": ("asd", "nir", "neospectra"),
}
"""The models that may serve each driver's simulator; which one is the best may change."""


LIGHT = {
    "as7265x": (60, 4),
    **dict.fromkeys(("chromation", "minispec", "luxnode", "c12880ma"), (10, 64)),
}
"""Milliseconds and averages for instruments whose lamp is dim at the ends of a model's range."""


@pytest.fixture
def real_soils(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated instruments look at the first soils of CV.98."""
    soils = limesoda.load("CV.98")

    def seen(wavelengths_nm: Array, count: int, seed: int) -> Array:
        rows = soils.reflectance[:count]
        return np.array([np.interp(wavelengths_nm, soils.wavelengths_nm, row) for row in rows])

    for module in (bench, handheld):
        monkeypatch.setattr(module, "made_up_soils", seen)


def run(driver: str, store: Path) -> int:
    """Run the daemon in this process."""
    options = {"driver": driver, "pace": "0", **OPTIONS.get(driver, {})}
    url = "sim://?" + "&".join(f"{name}={value}" for name, value in options.items())
    config = store.with_name("ccnvr.toml")
    milliseconds, averages = LIGHT.get(driver, (10, 4))
    config.write_text(
        f"[instrument]\nintegration_us = {1000 * milliseconds}\naverages = {averages}\n"
    )
    command = ["run", "-c", config, "--instrument", url, "--store", store, "--count", SOILS]
    return main([*map(str, command)])


def test_every_driver_is_served_or_known_not_to_be() -> None:
    assert {*SERVED, "multispeq"} == set(DRIVERS)


@pytest.mark.slow
@pytest.mark.usefixtures("real_soils")
@pytest.mark.parametrize("driver", SERVED)
def test_real_soils_are_predicted(
    driver: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(driver, tmp_path / "s.sqlite") == 0
    said = capfd.readouterr()
    (chosen,) = (line for line in said.err.splitlines() if line.startswith("ccnvr: model "))
    name = chosen.split()[2].partition(":")[2]
    assert name in SERVED[driver]
    (member,) = (one for one in family.members() if one.name == name)
    offered = [target.name for target in member.manifest.targets]
    records = [json.loads(line) for line in said.out.splitlines()]
    assert len(records) == SOILS
    for record in records:
        assert not [flag for flag in record["flags"] if flag.startswith("rescan:")]
        assert list(record["predictions"]) == offered
        for estimate in record["predictions"].values():
            assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert len({record["predictions"]["OC"]["value"] for record in records}) == SOILS


def test_bands_that_no_model_has_are_refused_in_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("multispeq", tmp_path / "s.sqlite") == 1
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "no default model serves 10 bands of 365.0-939.2 nm" in said
    assert "see ccnvr inspect default" in said
