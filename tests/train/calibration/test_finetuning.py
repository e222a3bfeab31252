"""What fine-tuning changes of a network, and what it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ccnvr.train.calibration import finetuning
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.recipe import recipe_file
from tests.support import recipes


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_fine_tuning_keeps_the_scale_of_the_bands(tmp_path: Path) -> None:
    text = recipes.SMALL.replace("[network]", "[network]\nstandardise = true")
    small = recipe_file.load(recipes.write(tmp_path, text))
    pool = load_soils(("UL.120:train",), small)
    calibration = fitting.fit(Fitting(small, 1), pool.spectra, pool.values)
    tuned = finetuning.finetune(Fitting(small, 1), calibration, pool.spectra[:9], pool.values[:9])
    before, after = calibration.network.state_dict(), tuned.network.state_dict()
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith("scale."), name


def test_the_linear_path_belongs_to_the_head(tmp_path: Path) -> None:
    small = recipe_file.load(
        recipes.write(tmp_path, recipes.SMALL.replace("[network]", "[network]\nlinear = true"))
    )
    pool = load_soils(("UL.120:train",), small)
    calibration = fitting.fit(Fitting(small, 1), pool.spectra, pool.values)
    tuned = finetuning.finetune(
        Fitting(small, 1), calibration, pool.spectra[:9], pool.values[:9], "head"
    )
    before, after = calibration.network.state_dict(), tuned.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        "dense.weight",
        "dense.bias",
        "output.weight",
        "output.bias",
        "linear.weight",
    }
