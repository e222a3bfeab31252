"""The command that adds an extra names this environment, and the versions that are at hand."""

from __future__ import annotations

import importlib.metadata
import shlex
import sys
from pathlib import Path

import pytest

from ccnvr.firmware_bridge.installation import extra_command, pip_command


class Installed:
    """A distribution that says where it came from."""

    def __init__(self, stated: str | None) -> None:
        self.stated = stated

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.stated


@pytest.mark.parametrize("place", ["a copy", "a copy that is gone", "wheel", "index", "damaged"])
def test_the_versions_are_pinned_where_a_copy_lists_them(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "my copy"
    copy.mkdir()
    (copy / "constraints.txt").touch()
    stated = {
        "a copy": f'{{"url": "{copy.as_uri()}", "dir_info": {{}}}}',
        "a copy that is gone": '{"url": "file:///gone", "dir_info": {}}',
        "wheel": f'{{"url": "{copy.as_uri()}/ccnvr.whl", "archive_info": {{}}}}',
        "index": None,
        "damaged": "[",
    }[place]
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Installed(stated))
    pinned = ["-c", str(copy / "constraints.txt")] if place == "a copy" else []
    assert shlex.split(extra_command("web")) == [
        *(sys.executable, "-m", "pip", "install"),
        *pinned,
        "ccnvr[web]",
    ]
    assert shlex.split(pip_command("--no-deps", "LimeSoDa"))[-2:] == ["--no-deps", "LimeSoDa"]
