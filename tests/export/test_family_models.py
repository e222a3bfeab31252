"""The default models are what tools/family.toml makes, and what docs/default-family.md says."""

from __future__ import annotations

import pytest

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle import family
from ccnvr.edge.bundle.family import FamilyMember
from ccnvr.edge.inference.proved_model import ProvedModel
from tools import family as tool
from tools import family_page

MEMBERS = {member.name: member for member in family.members()}
MOST_MB = 7.5
"""What the models may have together, so that the wheel stays under 8 MB."""


def test_the_family_is_that_of_the_table() -> None:
    assert set(MEMBERS) == set(tool.family())


@pytest.mark.parametrize("member", MEMBERS.values(), ids=MEMBERS)
def test_each_model_is_what_its_recipe_makes(member: FamilyMember) -> None:
    training = member.manifest.card.training
    recipe = tool.recipe_of(member.name)
    assert training["recipe"] == tool.as_stated(recipe)
    assert training["instruments"] == tool.family()[member.name]["instruments"]
    # A property is predicted where enough is known of it in new places, and else it is said why.
    offered = [target.name for target in member.manifest.targets]
    assert list(member.r2) == offered
    assert min(member.r2.values()) >= tool.LEAST_R2
    left_out = training.get("left_out", {})
    assert {*offered, *left_out} == set(recipe.properties)
    for target in member.manifest.targets:
        assert target.half_width_90 is not None and target.half_width_90_new_places is not None


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "litert", "numpy"])
def test_every_engine_runs_every_model(engine: str) -> None:
    for member in MEMBERS.values():
        assert ProvedModel(member.source, engine).self_test_difference < 1e-3
        for figures in member.manifest.card.parity.values():
            assert figures["largest"] <= 3e-4


def test_the_models_are_small() -> None:
    sizes = [path.stat().st_size for path in tool.MODELS.glob("*.ccnvr")]
    assert len(sizes) == len(MEMBERS) and sum(sizes) < MOST_MB * 1e6
    for member in MEMBERS.values():
        parts = bundles.read(member.source).parts
        assert {name for name in parts if name.startswith("model.")} == {
            f"model.fp32.{kind}" for kind in bundles.MODEL_FORMATS
        }


def test_the_pages_show_the_family() -> None:
    for page in (family_page.README, family_page.PAGE):
        text = page.read_text()
        assert family_page.made_anew(text) == text
