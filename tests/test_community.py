"""The files that a code host and its visitors read agree with the project."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.support.helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_citation_has_the_version_and_the_licence_of_the_package() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {PROJECT['version']}\n" in citation
    assert f"\nlicense: {PROJECT['license']}\n" in citation
    assert "doi: 10.1016/j.geoderma.2020.114616" in citation


def test_continuous_integration_runs_the_checks_that_a_developer_runs() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "run: .ci/run" in workflow
    assert f'python-version: "{PROJECT["requires-python"].removeprefix(">=")}"' in workflow


@pytest.mark.parametrize("name", ["bug", "instrument", "question", "raspberry-pi"])
def test_each_issue_form_has_the_parts_that_a_code_host_requires(name: str) -> None:
    form = (ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text()
    for key in ("name", "description", "body"):
        assert re.search(rf"^{key}:", form, re.M)
    assert "required: true" in form


def test_decision_records_are_numbered_without_a_hole_and_listed_in_order() -> None:
    folder = ROOT / "docs" / "decisions"
    files = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))
    index = (folder / "README.md").read_text()
    assert re.findall(r"\((\d{4}-[^)]+\.md)\)", index) == files
    for name in files:
        title = (folder / name).read_text().splitlines()[0]
        number, words = title.removeprefix("# ").split(" ", 1)
        assert name.startswith(number) and f"| {words} |" in index
