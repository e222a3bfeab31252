"""The command-line reference: every command, every argument, nothing that the help hides."""

from __future__ import annotations

from pathlib import Path

import pytest

from ccnvr.edge.cli import COMMANDS, build_parser
from tools import cli_reference

OF_THE_EDGE = [name for name, command in COMMANDS.items() if ".edge." in command.module]


def test_each_argument_stands_in_the_section_of_its_command() -> None:
    page = cli_reference.render(OF_THE_EDGE)
    sections = page.split("\n## ccnvr ")[1:]
    assert [section.split("\n", 1)[0] for section in sections] == OF_THE_EDGE
    for name, section in zip(OF_THE_EDGE, sections, strict=True):
        assert f"    {COMMANDS[name].example}\n" in section
        help_text = build_parser(name).format_help()
        options = {
            word.strip("[],") for word in help_text.split() if word.startswith(("--", "[--"))
        }
        description = build_parser(name).description or ""
        for option in options - {"--help"}:
            # A description may name an option of another command.
            assert f"`{option}" in section or option in description, (name, option)
        # The option's former name works, and is not advertised.
        assert "--backend" not in section


def test_the_check_tells_an_old_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "cli.md"
    monkeypatch.setattr(cli_reference, "TARGET", target)
    monkeypatch.setattr(cli_reference, "COMMANDS", {name: COMMANDS[name] for name in OF_THE_EDGE})
    assert cli_reference.main(["--check"]) == 1
    assert "run make generate" in capsys.readouterr().err
    assert cli_reference.main([]) == 0
    assert cli_reference.main(["--check"]) == 0
    target.write_text(target.read_text().replace("seed of", "root of"))
    assert cli_reference.main(["--check"]) == 1
