"""Asks a command for something that it must refuse as wrong use."""

from __future__ import annotations

import pytest

from ccnvr.edge.cli import main


def refused(capsys: pytest.CaptureFixture[str], command: str, **places: object) -> str:
    """Run a command, with places filled in; return the one line with which it refuses them."""
    capsys.readouterr()
    assert main(command.format(**places).split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    # The line about the chosen model may stand before it.
    *_, said = printed.err.splitlines()
    return said
