"""Reading a recipe loads no library that computes, so that it is quick and works without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.helpers import ROOT

FOLDER = ROOT / "train" / "recipes"
# That to start from is a recipe only with a user's files.
RECIPES = sorted(set(FOLDER.glob("*.toml")) - {FOLDER / "own_library_recipe.toml"})

PROGRAM = """
import sys
from pathlib import Path
from ccnvr.train.recipe import recipe_file
recipe_file.load(Path(sys.argv[1])).validate()
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_reading_a_recipe_loads_no_torch(path: Path) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "ccnvr" in loaded and "numpy" in loaded
    assert not {"torch", "pandas", "scipy", "sklearn", "optuna"} & set(loaded)


def test_there_are_recipes_to_read() -> None:
    assert len(RECIPES) == 7
