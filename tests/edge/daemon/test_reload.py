"""SIGHUP and a new bundle are two wishes: each is met, whichever ended the round."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from ccnvr.edge.daemon import config
from ccnvr.edge.daemon.config import Config
from ccnvr.edge.daemon.setup import ModelSource, Setup, reloaded
from ccnvr.edge.inference.models import Model
from ccnvr.edge.service.run_signals import RunSignals
from ccnvr.firmware_bridge.errors import CcnvrError


class Source(ModelSource):
    """A source whose models are only names."""

    def __init__(self, reload: Callable[[], Config] | None, renewed: bool) -> None:
        super().__init__(reload)
        self._renewed = renewed

    def open(self, config: Config) -> Model:
        return cast("Model", f"model of {config.instrument.url}")

    @property
    def renewed(self) -> bool:
        return self._renewed


def configured(url: str) -> Config:
    return config.load(None, {"instrument": {"url": url}})


@pytest.mark.parametrize(
    ("hung_up", "renewed", "url", "told"),
    [
        (True, True, "sim://?pace=0", "SIGHUP and a new bundle: the configuration was read again"),
        (True, False, "sim://?pace=0", "SIGHUP: the configuration was read again"),
        (False, True, "sim://", "a new bundle: the model was read again"),
        (False, False, "sim://", ""),
    ],
)
def test_the_configuration_is_read_again_after_sighup_alone(
    hung_up: bool, renewed: bool, url: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    source = Source(lambda: configured("sim://?pace=0"), renewed)
    setup = reloaded(Setup.of(configured("sim://"), source), hung_up)
    assert setup.config.instrument.url == url
    assert [record.message for record in caplog.records] == [told] * bool(told)


def test_a_wrong_configuration_or_none_leaves_the_former(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Config:
        raise CcnvrError("it is wrong")

    setup = Setup.of(configured("sim://"), Source(fail, True))
    assert reloaded(setup, True) is setup
    assert "SIGHUP and a new bundle: it is wrong" in caplog.text
    caplog.set_level(logging.INFO)
    renewed = reloaded(replace(setup, source=Source(None, True)), True)
    assert renewed.config is setup.config
    assert "no configuration file" in caplog.text
    assert "a new bundle: the model was read again" in caplog.text


def test_sighup_is_told_from_another_end_of_a_round_and_is_never_lost() -> None:
    signals = RunSignals()
    with signals.handled():
        signals.end_round()
        assert not signals.next_round()
        # A SIGHUP in a round that is ending already.
        signals.end_round()
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.next_round()
        assert not signals.stopping.is_set()
        assert not signals.next_round()


def test_sighup_between_two_rounds_ends_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    signals = RunSignals()
    with signals.handled():
        signals.end_round()
        clear = signals.stopping.clear

        def interrupted() -> None:
            os.kill(os.getpid(), signal.SIGHUP)
            clear()

        monkeypatch.setattr(signals.stopping, "clear", interrupted)
        assert not signals.next_round()
        assert signals.stopping.is_set()
        monkeypatch.setattr(signals.stopping, "clear", clear)
        assert signals.next_round()
