"""Every kind of file that soil scientists have is read rightly, or answered with what to do."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ccnvr.edge.cli import main
from tests.support.file_kinds import KINDS, Kind
from tools import file_kinds as page
from tools import fuzz_files


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    path = tmp_path_factory.mktemp("control") / KINDS[0].name
    KINDS[0].write(path)
    return page.outcome(path, ()).values


@pytest.mark.parametrize("kind", KINDS, ids=[f"{kind.group}: {kind.what}" for kind in KINDS])
def test_a_kind_is_read_rightly_or_answered(
    kind: Kind, control: list[float], tmp_path: Path
) -> None:
    path = tmp_path / kind.name
    kind.write(path)
    found = page.outcome(path, kind.options)
    assert "\n" not in found.refusal and len(found.refusal) <= 500
    if kind.expected == "read":
        assert found.refusal == ""
        assert found.values == pytest.approx(control, rel=1e-2)
    else:
        assert kind.expected in found.refusal
    for words in kind.notes:
        assert any(words in note for note in found.notes), found.notes


@pytest.mark.slow
def test_the_page_of_files_is_made_from_the_kinds() -> None:
    """`python -m tools.file_kinds` writes it."""
    assert page.PAGE.read_text() == page.text(), "run: python -m tools.file_kinds"


def test_explain_says_how_a_file_is_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = next(kind for kind in KINDS if "semicolons and decimal" in kind.what)
    kind.write(tmp_path / kind.name)
    assert main(["predict", "--explain", str(tmp_path / kind.name)]) == 0
    said = capsys.readouterr().out
    for words in ("soils in columns", "400 to 2500 nm, 526 bands", "quantity: reflectance",
                  "spectra: 1, 'a'"):  # fmt: skip
        assert words in said


def test_a_table_without_any_value_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("sample_id,1000,1100,1200\na,,,\nb,NA,NA,NA\n")
    # A warning of NumPy would be an error here.
    assert main(["predict", "--explain", str(path)]) == 0
    assert "no values, 6 missing" in capsys.readouterr().out


@pytest.mark.parametrize("group", sorted({kind.group for kind in KINDS}))
def test_damaged_files_are_read_or_refused(group: str, tmp_path: Path) -> None:
    """A short run of tools.fuzz_files: no traceback, no hang, no number that is not finite."""
    rng = random.Random(group)
    files = fuzz_files.originals()[group]
    for _ in range(25):
        name, data = rng.choice(files)
        (tmp_path / name).write_bytes(fuzz_files.damaged(data, rng))
        assert fuzz_files.fault(tmp_path / name, rng.choice(fuzz_files.OPTIONS)) is None
