"""An operator's errors in a field trial, played to the daemon on a simulated instrument.

Each error is played on the day after a right one: the store holds a pair of references, taken as
they should be, of an earlier start of the instrument. `tools/operator_errors.py` writes the table
in docs/operator-errors.md from the outcomes, and the tests compare it.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ccnvr.edge.daemon import config, main_loop, reader
from ccnvr.edge.quality.checks import CHECKS, OK, property_of
from ccnvr.edge.spectrum_files.tables.text_table import read_spectra
from ccnvr.edge.workflow import guides
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.firmware_bridge.instrument import ScanKind
from ccnvr.firmware_bridge.link.frames import Decoder, Frame
from ccnvr.firmware_bridge.link.messages import Type
from ccnvr.firmware_bridge.serving.faults import Line, Piece, parse
from ccnvr.firmware_bridge.serving.port import TcpPort
from ccnvr.firmware_bridge.serving.server import BackgroundServer
from ccnvr.firmware_bridge.simulators.handheld import (
    SimulatedHandheld,
    SimulatedSpectrometer,
    onto_pixels,
    pixel_wavelengths,
)

PANEL = 0.99
NM = pixel_wavelengths()
SAMPLES = 4
"""How many soils are scanned in each play."""

ACCEPTED = {"OC": 20.0}
"""The tolerance of the verdicts, in g/kg; the four soils have intervals of +-8 to +-19.7."""

_EVENT_AT_SCAN = 5
"""Dark, white, and two soils come before."""


def _band(centre_nm: float, width_nm: float, depth: float) -> Array:
    """Return the absorbance of a Gaussian band."""
    band: Array = depth * np.exp(-0.5 * ((NM - centre_nm) / width_nm) ** 2)
    return band


# Made of the bands of water, cellulose and skin that textbooks give; their depths are plausible.
WATER = _band(1450, 50, 0.35) + _band(1940, 60, 0.9) + 0.15
PAPER = 0.8 * 10.0 ** -(
    _band(1490, 60, 0.08) + _band(1930, 50, 0.08) + _band(2100, 60, 0.15) + _band(2330, 60, 0.2)
)
HAND = 0.5 * 10.0 ** -(
    _band(1450, 60, 0.6) + _band(1940, 70, 1.0) + _band(2300, 40, 0.1) + 0.25 * (NM - 1100) / 1400
)
MUD_ON_PANEL = PANEL * 10.0 ** -(
    _band(1930, 50, 0.03) + _band(2200, 30, 0.02) + 0.05 + 0.03 * (NM - 1100) / 1400
)
SUN = 1.1 * (NM / 1100.0) ** -2
OFFICE = 0.3 * (NM / 1100.0) ** -2


def _colder(kelvin: float) -> Array:
    """Return the light of a lamp colder than its 2,700 K, as a share (Planck's law)."""
    exponent = 14_387.77 / (NM / 1000.0)
    share: Array = np.expm1(exponent / 2_700.0) / np.expm1(exponent / kelvin)
    return share


_WAITS = "then send SIGHUP"
"""What the daemon says before it waits for a person, however long that takes."""

Light = Callable[[ScanKind, Array], Array | float]
"""What comes back to the detector, for a kind of scan and the reflectance of the next soil."""


def _as_it_should(kind: ScanKind, soil: Array) -> Array | float:
    return {ScanKind.DARK: 0.0, ScanKind.WHITE: PANEL}.get(kind, soil)


def _at(kind: ScanKind, seen: Callable[[Array], Array | float]) -> Light:
    """Return the light of an operator who errs in one kind of scan."""
    return lambda asked, soil: seen(soil) if asked is kind else _as_it_should(asked, soil)


def _sample(seen: Callable[[Array], Array | float]) -> Light:
    return _at(ScanKind.SAMPLE, seen)


@dataclass(frozen=True)
class OperatorError:
    """An error and how it is played.

    Attributes:
        name: what the operator does.
        light: what the detector sees.
        prompt: words of what the operator must be told.
        faults: a script of faults of the line.
        event: "cable" or "power": what is lost for a moment as the third soil is scanned.
        warming_c: by how much the detector warms with each scan.
        integration_us: the integration time.
        serial: the serial number of the instrument.
        swapped_for: that of the instrument which is plugged in when the line is cut.
        stray: the light that falls on the sample from outside, in reflectance.
        check_light: before which samples the instrument looks for such light.
    """

    name: str
    light: Light
    prompt: str
    faults: str = ""
    event: str = ""
    warming_c: float = 0.0
    integration_us: int = 10_000
    serial: str = "SIM-512"
    swapped_for: str = ""
    stray: Array | float = 0.0
    check_light: str = "asked"


WHITE, DARK = ScanKind.WHITE, ScanKind.DARK
ERRORS = (
    OperatorError("white taken on soil", _at(WHITE, lambda soil: soil), "not the white panel"),
    OperatorError("white taken on paper", _at(WHITE, lambda _: PAPER), "not the white panel"),
    OperatorError("white taken in the air", _at(WHITE, lambda _: 0.002), "check lamp and panel"),
    OperatorError("white panel dirty", _at(WHITE, lambda _: MUD_ON_PANEL), "clean the panel"),
    OperatorError(
        "white taken with the lamp cold",
        _at(WHITE, lambda _: PANEL * _colder(2_600.0)),
        "let the lamp warm up",
    ),
    OperatorError(
        "dark taken with the lamp on, on soil", _at(DARK, lambda soil: soil), "switch the lamp off"
    ),
    OperatorError(
        "dark taken with the lamp on, on the panel", _at(DARK, lambda _: PANEL), "counts above dark"
    ),
    OperatorError("lid open in the sun", _as_it_should, "close the lid", stray=SUN),
    OperatorError("lid open in a room", _as_it_should, "colour of daylight", stray=OFFICE),
    OperatorError(
        "lid open in a dim room, light checked",
        _as_it_should,
        "with its lamp off, the instrument still sees light",
        stray=0.1 * OFFICE,
        check_light="all",
    ),
    OperatorError(
        "lid open under a halogen lamp, light checked",
        _as_it_should,
        "with its lamp off, the instrument still sees light",
        stray=0.1,
        check_light="all",
    ),
    OperatorError("no contact: probe in the air", _sample(lambda _: 0.01), "press the probe"),
    OperatorError("no contact: probe lifted", _sample(lambda soil: soil * 0.1), "may not touch it"),
    OperatorError("wet soil", _sample(lambda soil: soil * 10.0**-WATER), "dry and flatten"),
    OperatorError("half-dry soil", _sample(lambda soil: soil * 10.0 ** -(WATER / 2)), "dry and"),
    OperatorError("paper under the probe", _sample(lambda _: PAPER), "no soil at all"),
    OperatorError("hand under the probe", _sample(lambda _: HAND), "no soil at all"),
    OperatorError("panel left in place", _sample(lambda _: PANEL), "still lies under the probe"),
    OperatorError("saturated", _sample(lambda soil: soil + 1.5), "was saturated"),
    OperatorError(
        "too dark: integration time too short",
        _as_it_should,
        "the white reference is faint",
        integration_us=500,
    ),
    OperatorError("lamp out", _sample(lambda _: 0.0), "check lamp and fibre"),
    OperatorError(
        "fibre half out", _sample(lambda soil: soil * 0.15), "the probe may not touch it"
    ),
    OperatorError("cable half out, bytes lost", _as_it_should, "", faults="flip@15%,drop@15%"),
    OperatorError("cable out for a moment", _as_it_should, "trying again", event="cable"),
    OperatorError(
        "power of the instrument gone for a moment",
        _as_it_should,
        "was started again, so its references no longer hold; put the white panel",
        event="power",
    ),
    OperatorError("another instrument than yesterday", _as_it_should, "", serial="SIM-B"),
    OperatorError(
        "two instruments swapped during the work",
        _as_it_should,
        "instrument SIM-B answers where SIM-512 did, and has no references; put the white panel",
        event="cable",
        swapped_for="SIM-B",
    ),
    OperatorError(
        "instrument still warming up", _as_it_should, "take new references", warming_c=2.0
    ),
)


@dataclass
class Outcome:
    """What the operator saw: the sentences, the records, and whether the daemon ended in error."""

    said: list[str] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)

    def unflagged(self) -> list[dict[str, Any]]:
        """Return the records with numbers and without a flag."""
        return [record for record in self.records if record["predictions"] and not record["flags"]]


class Field:
    """A simulated field with an instrument: the soils, and a store from the day before.

    Args:
        folder: where the stores go.
        soils_csv: reflectance of real soils that the model knows.
    """

    def __init__(self, folder: Path, soils_csv: Path) -> None:
        self._folder = folder
        table = read_spectra(soils_csv)
        self._soils = onto_pixels(table.wavelengths_nm, table.reflectance("reflectance"))
        self._yesterday = folder / "yesterday.sqlite"
        right = OperatorError("nothing", _as_it_should, "")
        self.right = self._run(right, self._yesterday, boot=1)
        assert len(self.right.records) == SAMPLES, self.right

    def play(self, error: OperatorError) -> Outcome:
        """Return what comes of an error, the day after a right one."""
        store = self._folder / f"{error.name.replace(' ', '-').replace(':', '')}.sqlite"
        shutil.copy(self._yesterday, store)
        return self._run(error, store, boot=2)

    def _instrument(self, error: OperatorError, serial: str, boot: int) -> SimulatedHandheld:
        spectrometer = SimulatedSpectrometer(self._soils, boot=boot, serial=serial, pace=0.0)
        bench = spectrometer.bench
        bench.drift_c, bench.stray = error.warming_c, error.stray
        bench._light = (  # type: ignore[method-assign]
            lambda kind, soil: error.light(kind, self._soils[soil % len(self._soils)])
        )
        return SimulatedHandheld(spectrometer)

    def _run(self, error: OperatorError, store: Path, boot: int) -> Outcome:
        other = self._instrument(error, error.swapped_for, boot) if error.swapped_for else None
        first = self._instrument(error, error.serial, boot)
        line = _EventfulLine(first, other, error)
        outcome = Outcome()
        # Not a pseudo-terminal, whose name another program's may take once it is cut.
        with (
            BackgroundServer(TcpPort("127.0.0.1", 0), line) as server,
            _listening(outcome.said),
            _no_waiting(),
        ):
            settings = config.load(
                None,
                {
                    "instrument": {"url": server.url, "integration_us": error.integration_us},
                    "model": {"bundle": "default"},
                    "store": {"path": str(store)},
                    "accept": {**ACCEPTED},
                    "scan": {"check_light": error.check_light},
                },
            )
            try:
                main_loop.run(settings, SAMPLES, outcome.records.append)
            except CcnvrError as ended:
                outcome.said.append(str(ended))
        return outcome


class _EventfulLine(Line):
    """A line on which something happens when the third soil is to be scanned.

    Counted in scans and not in replies, because how many acknowledgements come before depends on
    how fast the daemon is.
    """

    def __init__(
        self, device: SimulatedHandheld, other: SimulatedHandheld | None, error: OperatorError
    ) -> None:
        super().__init__(device, parse(error.faults), seed=1)
        self._handheld, self._other, self._event = device, other, error.event
        self._scans = 0

    def exchange(self, data: bytes) -> Iterator[Piece]:
        asked = [frame.type for frame in Decoder().feed(data) if isinstance(frame, Frame)]
        self._scans += Type.SCAN in asked
        now = self._event if Type.SCAN in asked and self._scans == _EVENT_AT_SCAN else ""
        if now == "power":
            self._handheld.reset()
        pieces = list(super().exchange(data))
        if now == "cable":
            self.device = self._other or self.device
            pieces = [Piece(b"", hang_up=True)]
        yield from pieces


class _Listener(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())
        if _WAITS in record.getMessage():
            # Nobody comes with the panel; the play is over.
            os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _listening(said: list[str]) -> Iterator[None]:
    """Collect what the daemon tells the operator."""
    listener, logger = _Listener(said), logging.getLogger("ccnvr")
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)


@contextmanager
def _no_waiting() -> Iterator[None]:
    """Give the operator no time, since nobody comes."""
    kept = guides.ASK_AGAIN_S, reader.RECONNECT_S
    guides.ASK_AGAIN_S, reader.RECONNECT_S = 0.01, 0.01
    try:
        yield
    finally:
        guides.ASK_AGAIN_S, reader.RECONNECT_S = kept


def wrong_and_accepted(outcome: Outcome, right: Outcome) -> list[str]:
    """Return the ids of the records whose verdict is `ok` and whose numbers are not right."""
    return [
        record["scan_id"]
        for record, expected in zip(outcome.records, right.records, strict=False)
        if record["verdict"]["sample"] == OK and not _is_right(record, expected)
    ]


def wrong_without_a_flag(outcome: Outcome, right: Outcome) -> list[str]:
    """Return the ids of the records whose numbers are not right and have no flag."""
    unflagged = [record["scan_id"] for record in outcome.unflagged()]
    return [
        record["scan_id"]
        for record, expected in zip(outcome.records, right.records, strict=False)
        if record["scan_id"] in unflagged and not _is_right(record, expected)
    ]


def _is_right(record: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Return whether a record has the numbers that its soil has on a day without an error.

    To the last bit for a scan of the same number; a scan of another number has other noise, which
    may move a value by a fifth of its interval's half width.
    """
    if _number(record) == _number(expected):
        return bool(record["predictions"] == expected["predictions"])
    return all(
        abs(estimate["value"] - record["predictions"][name]["value"])
        <= 0.2 * (estimate["high"] - estimate["low"]) / 2.0
        for name, estimate in expected["predictions"].items()
    )


def row(error: OperatorError, outcome: Outcome) -> str:
    """Return the row of the table: error, prompt, numbers shown, their flags, the verdicts."""
    # The last sentence, without the scan that it is about and the names of port and store.
    prompt = re.sub(r"^scan \S+: ", "", outcome.said[-1] if outcome.said else "")
    # What was said in full before is said again in a few words.
    prompt = {check.short: check.prompt for check in CHECKS if check.prompt}.get(prompt, prompt)
    prompt = re.sub(r"socket://[\d.:]+", "the port", prompt)
    prompt = re.sub(r"--store \S+", "--store STORE", prompt)
    numbers = [
        f"{record['predictions']['OC']['value']:.0f}"
        for record in outcome.records
        if record["predictions"]
    ]
    flags = {
        flag.partition(":")[0] if flag.startswith("out_of_domain") else flag
        for record in outcome.records
        for flag in record["flags"]
        if not property_of(flag)
    }
    shown = f"OC {', '.join(numbers)} g/kg" if numbers else "none"
    if outcome.unflagged():
        shown += ": right"
    marks = ", ".join(f"`{flag}`" for flag in sorted(flags)) or "-"
    verdicts = Counter(record["verdict"]["sample"] for record in outcome.records)
    judged = (
        ", ".join(
            verdict if len(verdicts) == 1 else f"{verdict} {count}"
            for verdict, count in verdicts.items()
        )
        or "-"
    )
    return f"| {error.name} | {prompt or '-'} | {shown} | {marks} | {judged} |"


def _number(record: dict[str, Any]) -> str:
    return str(record["scan_id"]).rpartition("-")[2]
