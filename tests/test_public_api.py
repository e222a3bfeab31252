"""The public API: what the four packages name, and what naming it costs."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

from tests.support.helpers import ROOT

PACKAGES = ("edge", "firmware_bridge", "train", "export")


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"ccnvr.{request.param}")


def test_each_public_name_can_be_imported_and_is_kept(package: ModuleType) -> None:
    assert package.__all__
    for name in package.__all__:
        value = getattr(package, name)
        assert vars(package)[name] is value and value.__doc__


def test_public_names_are_listed_and_any_other_is_refused(package: ModuleType) -> None:
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match=f"{package.__name__}.*nonsense"):
        _ = package.nonsense


def test_type_checkers_and_the_interpreter_see_the_same_names(package: ModuleType) -> None:
    assert package.__file__ is not None
    source = (ROOT / package.__name__.removeprefix("ccnvr.") / "__init__.py").read_text()
    checked = source.partition("if TYPE_CHECKING:")[2].partition("else:")[0]
    for name in package.__all__:
        assert f" {name}" in checked.replace("(", " ").replace(",", " ,")


def test_the_page_describes_each_public_name(package: ModuleType) -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    section = page.partition(f"## {package.__name__}\n")[2].partition("\n## ")[0]
    for name in package.__all__:
        assert f"`{name}" in section, f"docs/api.md does not describe {package.__name__}.{name}"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import ccnvr.edge", "numpy onnxruntime ai_edge_litert torch"),
        ("import ccnvr.firmware_bridge", "numpy serial"),
        ("import ccnvr.train", "numpy torch sklearn"),
        ("import ccnvr.export", "numpy torch onnx flatbuffers"),
        ("from ccnvr.edge import load_bundle, read_spectra", "torch sklearn onnxruntime"),
        ("from ccnvr.firmware_bridge import open_instrument", "torch sklearn onnxruntime"),
    ],
)
def test_an_import_loads_no_library_that_it_does_not_need(statement: str, absent: str) -> None:
    program = f"import sys; {statement}; print(*sorted(set({absent.split()}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr


def test_a_name_whose_libraries_are_missing_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['sklearn'] = sys.modules['sklearn.base'] = None\n"
        "from ccnvr.train import CCNVRRegressor"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "CCNVRRegressor needs sklearn" in result.stderr
    assert " 'ccnvr[train]'" in result.stderr
