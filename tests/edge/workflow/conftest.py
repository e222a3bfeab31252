"""Parts of the workflow's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from ccnvr.edge.workflow import guides


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccnvr.edge.daemon.reader.RECONNECT_S", 0.01)
    monkeypatch.setattr(guides, "ASK_AGAIN_S", 0.05)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.sqlite"
