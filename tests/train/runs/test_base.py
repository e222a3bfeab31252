"""The base of a fine-tuning: what a bundle must hold for one, and what is kept of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.chemometrics import correction as corrections
from ccnvr.edge.chemometrics.correction import projection
from ccnvr.edge.network.file import pack, unpack
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.export.proof_spectra import FEWEST_SPECTRA
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.network.convert import with_int8_weights
from ccnvr.train.runs import base as bases
from ccnvr.train.runs import finetune, own_soils
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.runs.base import Base
from ccnvr.train.runs.outcome import FinetuningSettings
from tests.support.helpers import NETWORK_BUNDLE
from tests.support.soil_files import write_soils


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def altered(
    tmp_path: Path,
    card: dict[str, Any] | None = None,
    without: str = "",
    parts: Mapping[str, bytes] = MappingProxyType({}),
) -> str:
    """The default bundle with another recipe in its card, without a part, or with more of them."""
    bundle = bundles.read(NETWORK_BUNDLE)
    training = bundle.manifest.card.training
    if card is not None:
        training = {**training, "recipe": {**training["recipe"], **card} if card else None}
    contents = {**{name: part for name, part in bundle.parts.items() if name != without}, **parts}
    manifest = dataclasses.replace(
        bundle.manifest,
        parts={name: bundles.part_of(content) for name, content in contents.items()},
        card=dataclasses.replace(bundle.manifest.card, training=training),
    )
    bundles.write(tmp_path / "altered.ccnvr", manifest, contents)
    return str(tmp_path / "altered.ccnvr")


def test_a_bundle_that_lacks_what_fine_tuning_needs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CcnvrError, match=r"no recipe in its card.*give the folder of the run"):
        bases.read_base(altered(tmp_path, card={}))
    with pytest.raises(CcnvrError, match=r"no part model\.fp32\.network"):
        bases.read_base(altered(tmp_path, without="model.fp32.network"))
    with pytest.raises(CcnvrError, match="is not that of its network"):
        bases.read_base(altered(tmp_path, card={"channels": [{}] * 4}))
    with pytest.raises(CcnvrError, match="cannot be fine-tuned: unknown key 'colour'"):
        bases.read_base(altered(tmp_path, card={"colour": "red"}))
    rounded = pack(
        with_int8_weights(unpack(bundles.read(NETWORK_BUNDLE).parts["model.fp32.network"]))
    )
    with pytest.raises(CcnvrError, match="its profile is weights"):
        bases.read_base(altered(tmp_path, parts={"model.fp32.network": rounded}))


def test_a_bundle_s_correction_stays_and_open_sets_stand_in_for_its_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.delenv("CCNVR_DATA", raising=False)
    direction = rng.normal(size=(348, 1))
    correction = projection(direction / np.linalg.norm(direction), np.full(348, 0.01))
    path = altered(
        tmp_path,
        {"libraries": ["lucas2009", "away.csv"]},
        parts={corrections.PART: corrections.pack(correction)},
    )
    soils = write_soils(tmp_path / "mine.csv", "CV.98", 12)
    out = tmp_path / "mine"
    outcome = finetune.finetune(
        bases.read_base(path), soils, out, FinetuningSettings("head", epochs=1, folds=2)
    )
    assert (
        outcome.not_compared == ("lucas2009", "away.csv")
        and outcome.substitutes == limesoda.VISNIR_SETS
    )
    made, calibration, _ = run_folder.load(out)
    assert made.libraries == (str(soils), *limesoda.VISNIR_SETS) and made.epo is None
    assert calibration.correction is not None
    np.testing.assert_array_equal(calibration.correction.directions, correction.directions)
    assert len(load_soils(made.libraries, made).sample_ids) >= own_soils.PROVED_ON == FEWEST_SPECTRA


def test_a_base_with_fewer_outputs_answers_as_before(finished_run: Path) -> None:
    base: Base = bases.read_base(str(finished_run))
    pool = load_soils(("CV.98",), base.recipe)
    both = fitting.predict(base.recipe, base.calibration, pool.spectra)
    one = base.only(("pH",))
    np.testing.assert_allclose(
        fitting.predict(one.recipe, one.calibration, pool.spectra)[:, 0], both[:, 1], rtol=1e-5
    )
