"""Parts of the workflow's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ccnvr.edge.workflow import guides


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccnvr.edge.daemon.reader.RECONNECT_S", 0.01)
    monkeypatch.setattr(guides, "ASK_AGAIN_S", 0.05)


@pytest.fixture(autouse=True)
def _states_as_drawn(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    wrong = [one for one in caplog.messages if "which it must not; report this" in one]
    assert not wrong


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.sqlite"
