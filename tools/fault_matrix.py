"""Every fault on every driver, and what became of the scan.

`python -m tools.fault_matrix` writes the table in docs/instruments.md.
"""

from __future__ import annotations

import math
from pathlib import Path

from ccnvr.firmware_bridge.connect.registry import DRIVERS
from ccnvr.firmware_bridge.errors import InstrumentError, InstrumentRestarted
from ccnvr.firmware_bridge.instrument import Scan
from ccnvr.firmware_bridge.link_constants import ATTEMPTS
from ccnvr.firmware_bridge.polled.instrument import PolledInstrument
from ccnvr.firmware_bridge.serving.faults import KINDS, Fault
from tests.support.instruments import CLOCK, SCANNED_TWICE, TOLERANCE, Setup, set_up, virtual_time

PAGE = Path(__file__).parents[1] / "docs" / "instruments.md"
BEGIN, END = "<!-- made by tools/fault_matrix.py -->", "<!-- end -->"

AMOUNTS = {"stall": 3.0, "drip": 5_000.0}
LASTING = {"baud", "lamp", "saturation", "drift"}
FAULTS = [*KINDS, ">drop", ">flip", ">truncate", ">garbage"]
HITS = {"flip": 16, ">flip": 16}
MOST_HITS = 6
"""The number of replies that are hit, one in each scan; `HITS` has more for chance faults."""

RIGHT = "right"
LOST = "error"
NEAR = "near"
TRUE = "true"
FLAGGED = "flagged"


class WrongSpectrum(AssertionError):
    """A driver gave a spectrum that the detector did not see."""


def the_fault(setup: Setup, kind: str, hit: int) -> Fault:
    """Return a fault that strikes the `hit`-th reply or request from now, or all from now on."""
    name = kind.removeprefix(">")
    amount = AMOUNTS.get(name, KINDS[name][1])
    if kind in LASTING:
        return Fault(name, amount, setup.line.replies + 1, every=1)
    upward = kind != name
    return Fault(
        name, amount, (setup.line.requests if upward else setup.line.replies) + hit, upward=upward
    )


def strike(setup: Setup, kind: str, hit: int) -> str | None:
    """Take a scan with the fault on its `hit`-th reply, and return the outcome.

    The fault then ends, and the next scan must be right. The outcome is None if the scan had fewer
    replies.
    """
    setup.line.faults = [the_fault(setup, kind, hit)]
    began, struck = CLOCK.now, setup.line.struck
    try:
        outcome = judge(setup, kind, setup.scan())
    except InstrumentError:
        outcome = LOST
    if (took := CLOCK.now - began) > (allowed := patience_s(setup)):
        raise WrongSpectrum(
            f"{setup.driver.name} took {took:.1f} s over {kind}, and allows itself {allowed:.1f} s"
        )
    setup.line.faults = []
    bench = setup.bench
    bench.lamp_works, bench.flooded, bench.drift_c = True, False, 0.0
    if outcome == LOST or (kind == "reset" and shows_restart(setup)):
        outcome = LOST
        setup.reopen()
    if judge(setup, "", scan := setup.scan()) != RIGHT or scan.saturated:
        raise WrongSpectrum(f"{setup.driver.name} did not recover from {kind}")
    return outcome if setup.line.struck > struck else None


def shows_restart(setup: Setup) -> bool:
    """Return whether the next scan tells of a restart, as after one in the last reply of a scan."""
    try:
        setup.scan()
    except InstrumentRestarted:
        return True
    return False


def patience_s(setup: Setup) -> float:
    """Return how long a driver may take for a scan, whatever happens."""
    light_s = 2.0 * setup.reachable_us() / 1e6
    if isinstance(setup.instrument, PolledInstrument):
        return setup.instrument.exchange.patience_s(light_s) + light_s
    # Over the ccnvr link, the driver asks for the scan and for its two chunks, and acknowledges it.
    return 4 * ATTEMPTS * (setup.timeout_s + light_s)


def judge(setup: Setup, kind: str, scan: Scan) -> str:
    """Check that the scan is what the detector saw, and return the outcome."""
    off = setup.error(scan)
    if off > (TOLERANCE / 2.0 + 1e-9 if setup.driver.name in SCANNED_TWICE else 0.0):
        raise WrongSpectrum(
            f"{setup.driver.name} gave a spectrum that is {100 * off:.2g} % of saturation off "
            f"under {kind!r}"
        )
    if scan.settings.integration_us != setup.bench.exposed_us and not setup.info.fixed_integration:
        raise WrongSpectrum(
            f"{setup.driver.name} was set to {scan.settings} and exposed {setup.bench.exposed_us} "
            "us"
        )
    if scan.saturated != (kind == "saturation"):
        raise WrongSpectrum(f"{setup.driver.name} says saturated={scan.saturated} under {kind!r}")
    if kind == "drift" and not math.isnan(scan.temperature_c) and not scan.temperature_c > 25.5:
        raise WrongSpectrum(f"{setup.driver.name} states {scan.temperature_c} degrees C")
    if kind == "saturation":
        return FLAGGED
    return NEAR if off > 0.0 else TRUE if kind in LASTING else RIGHT


def outcomes(name: str, kind: str, seed: int = 1) -> set[str]:
    """Return what became of scans whose replies were hit one after the other."""
    setup = set_up(name, seed)
    setup.scan()
    before = setup.line.replies
    setup.scan()
    replies = setup.line.replies - before
    count = 1 if kind in LASTING else HITS.get(kind, min(MOST_HITS, replies))
    return {
        outcome
        for hit in range(count)
        if (outcome := strike(setup, kind, 1 + hit * replies // count))
    }


WORDS = {
    frozenset({RIGHT}): "recovers",
    frozenset({RIGHT, NEAR}): "recovers, or up to 1 % off",
    frozenset({NEAR}): "up to 1 % off",
    frozenset({LOST}): "error",
    frozenset({RIGHT, LOST}): "recovers or error",
    frozenset({RIGHT, NEAR, LOST}): "recovers, error, or up to 1 % off",
    frozenset({TRUE}): "as seen",
    frozenset({FLAGGED}): "flagged",
}


def table(results: dict[tuple[str, str], set[str]]) -> str:
    """Return the table, with a row for each driver and a column for each fault."""
    lines = [f"| driver | {' | '.join(FAULTS)} |", "|---" * (len(FAULTS) + 1) + "|"]
    for name in DRIVERS:
        cells = [WORDS[frozenset(results[name, kind])] for kind in FAULTS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def all_outcomes() -> dict[tuple[str, str], set[str]]:
    """Return the outcomes of the whole matrix."""
    with virtual_time():
        return {(name, kind): outcomes(name, kind) for name in DRIVERS for kind in FAULTS}


def main() -> None:
    text = PAGE.read_text()
    head, rest = text.split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table(all_outcomes())}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
