"""The pages in docs say what is so: their code runs, and what they name exists."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from tests.support.helpers import ROOT

DOCS = ROOT / "docs"
ARCHITECTURE = (DOCS / "architecture.md").read_text()


def test_the_code_of_the_api_page_gives_what_the_page_shows(
    soils_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(soils_csv.parent)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "api.md").read_text(), re.S)
    page = doctest.DocTestParser().get_doctest("".join(blocks), {}, "api.md", "api.md", 0)
    report: list[str] = []
    failed, ran = doctest.DocTestRunner().run(page, out=report.append)
    assert ran > 15 and not failed, "".join(report)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:edge|train|export|firmware_bridge|tests|tools|docs|examples)/[\w./-]+)`",
        page.read_text(),
    )
    assert not [name for name in named if not (ROOT / name).exists()]
