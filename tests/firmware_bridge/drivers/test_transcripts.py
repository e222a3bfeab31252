"""Every driver against the transcripts of its instrument, over a real port."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ccnvr.firmware_bridge.connect.registry import DRIVERS
from ccnvr.firmware_bridge.drivers import as7265x as driver_as7265x
from ccnvr.firmware_bridge.instrument import ScanKind
from tests.support import transcripts_binary as binary
from tests.support import transcripts_text as text
from tests.support.played_port import Case, PlayedPort

CASES: dict[str, Callable[[], Case]] = {
    "obp": binary.obp,
    "obp, second generation": binary.obp2,
    "nirscan": binary.nirscan,
    "ooi": binary.ooi,
    "chromation": binary.chromation,
    "as7265x": text.as7265x,
    "nirone, big-endian": lambda: text.nirone("big"),
    "nirone, little-endian": lambda: text.nirone("little"),
    "minispec": text.minispec,
    "luxnode, dark": lambda: text.luxnode(ScanKind.DARK),
    "luxnode, sample": lambda: text.luxnode(ScanKind.SAMPLE),
    "c12880ma": text.c12880ma,
    "multispeq, dark": lambda: text.multispeq(ScanKind.DARK, text.MULTISPEQ_NOW),
    "multispeq, sample": lambda: text.multispeq(ScanKind.SAMPLE, text.MULTISPEQ_NOW),
    "multispeq, firmware 0.10": lambda: text.multispeq(ScanKind.SAMPLE, text.MULTISPEQ_ONCE),
    "asd": binary.asd,
}


@pytest.fixture(autouse=True)
def known_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace random numbers by those of the transcripts, and wait for no exposure."""
    monkeypatch.setattr("secrets.token_hex", lambda _: "0badcafe")
    monkeypatch.setattr("secrets.randbits", lambda _: 2**32 - 15)
    monkeypatch.setattr(driver_as7265x.As7265x, "settle_s", 0.0)


@pytest.mark.parametrize("name", CASES)
def test_a_transcript_gives_its_spectrum(name: str) -> None:
    """Check that the host sends what the transcript says, and that the scan has its values."""
    case = CASES[name]()
    driver = DRIVERS[case.driver]
    port = PlayedPort(case.transcript, case.greeting, over_tcp=driver.baud is None)
    instrument = driver.load().create(port, case.options, 1.0)
    try:
        info = instrument.identify()
        assert instrument.configure(case.settings) == case.settings or info.fixed_integration
        scan = instrument.scan(case.kind)
        assert port.all_said and instrument.statistics.retries == 0
    finally:
        instrument.close()
    np.testing.assert_array_equal(scan.counts, np.array(case.counts, dtype=np.float64))
    np.testing.assert_allclose(
        info.wavelengths_nm[list(case.wavelengths)], list(case.wavelengths.values()), rtol=1e-12
    )
    assert (scan.settings.averages, scan.saturated) == (case.settings.averages, case.saturated)
    np.testing.assert_equal(scan.temperature_c, case.temperature_c)


def test_every_driver_of_another_makers_instrument_has_a_transcript() -> None:
    """Check for gaps; the ccnvr link has golden vectors instead, and sessions in both languages."""
    assert {make().driver for make in CASES.values()} == set(DRIVERS) - {"ccnvr"}
