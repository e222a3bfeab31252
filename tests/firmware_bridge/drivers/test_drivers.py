"""Drivers of other makers' instruments against byte-true simulators, on ports and under faults."""

from __future__ import annotations

import subprocess
import sys
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.edge import cli
from ccnvr.edge.chemometrics.grid import WavelengthError
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.firmware_bridge.connect import registry as drivers
from ccnvr.firmware_bridge.connect.registry import DRIVERS, open_instrument
from ccnvr.firmware_bridge.connect.sim_url import simulate
from ccnvr.firmware_bridge.errors import InstrumentError, InstrumentRestarted, LinkLost, UsageError
from ccnvr.firmware_bridge.instrument import ScanKind, Settings
from ccnvr.firmware_bridge.serving import faults
from ccnvr.firmware_bridge.serving.faults import KINDS, Fault, Line
from ccnvr.firmware_bridge.serving.port import PtyPort, TcpPort
from ccnvr.firmware_bridge.serving.server import BackgroundServer
from ccnvr.firmware_bridge.simulators import nirone as simulator_nirone
from ccnvr.firmware_bridge.simulators import obp as simulator_obp
from ccnvr.firmware_bridge.simulators.bench import Detector
from ccnvr.firmware_bridge.transport import PortError, SerialTransport
from tests.support.helpers import CCNVR, run_ccnvr
from tests.support.instruments import OPTIONS, Clock, Setup, create, set_up, virtual_time
from tools import fault_matrix

ALL = list(DRIVERS)


@pytest.fixture
def clock() -> Iterator[Clock]:
    """Let nothing wait in real time."""
    with virtual_time() as clock:
        yield clock


@pytest.mark.slow
def test_the_table_of_faults_is_what_really_happens() -> None:
    """Compare the page with every driver under every fault."""
    page = fault_matrix.PAGE.read_text()
    shown = page.split(fault_matrix.BEGIN)[1].split(fault_matrix.END)[0].strip()
    assert fault_matrix.table(fault_matrix.all_outcomes()) == shown, (
        "run python -m tools.fault_matrix"
    )


@pytest.mark.parametrize("name", ["obp", "as7265x"])
@pytest.mark.parametrize("scans", [0, 1, 3])
def test_a_restart_between_two_scans_shows_where_settings_can_be_read_back(
    name: str, scans: int, clock: Clock
) -> None:
    setup = set_up(name)
    before = setup.info.boot
    for _ in range(scans):
        setup.scan()
    setup.line.device.reset()  # type: ignore[attr-defined]
    with pytest.raises(InstrumentRestarted, match="has restarted since it was identified"):
        setup.scan()
    # The earlier references belong to another boot, and are not found again.
    setup.reopen()
    assert setup.info.boot != before
    setup.scan()


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("ccnvr", "seabreeze")])
def test_other_makers_instruments_are_known_to_count_no_starts(name: str, clock: Clock) -> None:
    assert not set_up(name).info.counts_starts


def test_an_ocean_device_that_forgot_its_checksums_has_restarted(clock: Clock) -> None:
    """Over TCP there is no baud rate that would tell."""
    setup = set_up("obp")
    assert isinstance(setup.line.device, simulator_obp.SimulatedOcean)
    setup.scan()
    setup.line.device._protected = False
    with pytest.raises(InstrumentRestarted, match="its baud rate or its checksums"):
        setup.scan()


@contextmanager
def on_a_port(name: str, folder: Path) -> Iterator[tuple[str, Setup]]:
    """Serve a simulated instrument on a real port, whose URL stays when it is unplugged."""
    driver = DRIVERS[name]
    line = Line(simulate(driver, 1))
    server = TcpPort("127.0.0.1", 0) if driver.baud is None else PtyPort(folder / "port")
    with BackgroundServer(server, line) as port:
        yield port.url, Setup(driver, line, 0.4)


def open_port(url: str, name: str) -> SerialTransport:
    """Open the port as soon as it exists, since plugging in takes a moment."""
    baud = DRIVERS[name].baud
    deadline = time.monotonic() + 10
    while True:
        try:
            return SerialTransport(f"{url}?baud={baud}" if baud else url)
        except PortError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@pytest.mark.parametrize("name", ALL)
def test_discovery_a_hundred_scans_and_an_unplugged_cable(name: str, tmp_path: Path) -> None:
    with on_a_port(name, tmp_path) as (url, setup):
        # Every driver before this one asks as well: none may claim an instrument that is not its
        # own, and none may leave it unfit to work.
        found = next(
            (
                found
                for seconds in (0.05, 0.5, 2.0)
                if (found := drivers.probe(url, timeout_s=seconds))
            ),
            None,
        )
        assert found is not None and found[0].name == name, found
        setup.reopen(open_port(url, name))
        dark, white = setup.scan(ScanKind.DARK), setup.scan(ScanKind.WHITE)
        assert white.counts.max() > 2 * dark.counts.max()
        numbers = [dark.number, white.number]
        for _ in range(100):
            scan = setup.scan()
            assert setup.error(scan) == 0.0
            numbers.append(scan.number)
        assert numbers == sorted(set(numbers))
        first_boot = setup.info.boot
        setup.line.faults = [Fault("hangup", 0.0, setup.line.replies + 1)]
        with pytest.raises(LinkLost):
            for _ in range(3):
                setup.scan()
        setup.line.faults = []
        setup.instrument.close()
        setup.reopen(open_port(url, name))
        scan = setup.scan()
        assert setup.error(scan) == 0.0
        assert setup.info.boot == first_boot and scan.number > numbers[-1]
        setup.instrument.close()


@pytest.mark.parametrize("name", [name for name in ALL if name != "ccnvr"])
def test_a_reply_after_the_driver_gave_up_is_never_taken_for_the_next_scan(
    name: str, clock: Clock
) -> None:
    setup = set_up(name)
    setup.scan()
    setup.line.faults = [Fault("stall", 20.0, setup.line.replies + 1, every=1)]
    with pytest.raises(LinkLost):
        setup.scan()
    setup.line.faults = []
    right = 0
    # The late replies arrive one after the other, in the middle of later scans.
    for _ in range(20):
        try:
            assert setup.error(setup.scan()) == 0.0
            right += 1
        except LinkLost:
            continue
    assert right >= 3


@pytest.mark.parametrize("name", ALL)
def test_averages(name: str, clock: Clock) -> None:
    setup = set_up(name)
    in_force = setup.instrument.configure(Settings(setup.reachable_us(), 3))
    scan = setup.scan()
    assert scan.settings == in_force and in_force.averages == 3
    seen = np.array(setup.bench.seen)
    # Either the host's mean of what it was shown, or the instrument's own mean, which is rounded.
    assert np.abs(scan.counts - seen.mean(axis=0)).max() < (0.7 if len(seen) <= 2 else 1e-6)
    with pytest.raises(InstrumentError, match="change averages"):
        setup.instrument.configure(Settings(setup.reachable_us(), 100_000))


@pytest.mark.parametrize("name", ALL)
def test_an_integration_time_out_of_range_is_refused(name: str, clock: Clock) -> None:
    setup = set_up(name)
    if setup.info.fixed_integration:
        assert (
            setup.instrument.configure(Settings(2**40, 1)).integration_us
            == setup.info.shortest_integration_us
        )
        return
    with pytest.raises(InstrumentError, match="change integration_us"):
        setup.instrument.configure(Settings(2**40, 1))


@pytest.mark.parametrize("name", [name for name in ALL if name != "ccnvr"])
def test_scanning_without_identity_or_settings_is_refused(name: str, clock: Clock) -> None:
    instrument = create(DRIVERS[name], set_up(name).instrument.exchange.transport, 1.0)  # type: ignore[attr-defined]
    with pytest.raises(InstrumentError, match="identify"):
        instrument.configure(Settings(1_000, 1))
    instrument.identify()
    with pytest.raises(InstrumentError, match="configure"):
        instrument.scan(ScanKind.DARK)


@pytest.mark.parametrize("version", [0x1000, 0x1100, 0x2000])
@pytest.mark.parametrize("offers_md5", [True, False])
def test_three_versions_of_ocean_with_and_without_md5(
    version: int, offers_md5: bool, clock: Clock
) -> None:
    device = simulator_obp.SimulatedOcean(simulator_obp.bench(), version, offers_md5)
    setup = set_up("obp", device=device)
    assert setup.info.model == f"Ocean OBP 0x{version:04x}"
    np.testing.assert_allclose(setup.info.wavelengths_nm, simulator_obp.WAVELENGTHS, rtol=1e-6)
    assert setup.info.saturation_counts == 16_383
    scan = setup.scan(ScanKind.WHITE)
    seen = np.array(setup.bench.seen)
    assert len(seen) == (1 if offers_md5 else 2)
    np.testing.assert_array_equal(scan.counts, seen.mean(axis=0))


def test_the_rate_of_an_ocean_is_raised_and_found_again_after_a_crash(tmp_path: Path) -> None:
    with on_a_port("obp", tmp_path) as (url, setup):
        device = setup.line.device
        assert isinstance(device, simulator_obp.SimulatedOcean)
        setup.reopen(open_port(url, "obp"))
        assert device.baud == 115_200
        # The host dies; the next one begins at 9600 again.
        setup.instrument.close()
        setup.reopen(open_port(url, "obp"))
        assert setup.error(setup.scan()) == 0.0
        # The instrument loses its power, and is at 9600 baud again: it has restarted, and is
        # identified anew.
        device.reset()
        with pytest.raises(InstrumentRestarted, match="it has forgotten its baud rate"):
            setup.scan()
        setup.instrument.close()
        setup.reopen(open_port(url, "obp"))
        assert setup.error(setup.scan()) == 0.0
        assert device.baud == 115_200
        setup.instrument.close()


def test_a_wrong_rate_is_a_lost_link(tmp_path: Path) -> None:
    with on_a_port("obp", tmp_path) as (url, _):
        instrument = create(DRIVERS["obp"], SerialTransport(f"{url}?baud=19200"), 0.02)
        instrument._rates = [57_600]  # type: ignore[attr-defined]
        with pytest.raises(LinkLost, match=r"no OBP device answers .* baud rate"):
            instrument.identify()
        instrument.close()


@pytest.mark.parametrize("order", ["big", "little"])
def test_the_byte_order_of_a_nirone_is_found_and_stated(order: str, clock: Clock) -> None:
    device = simulator_nirone.SimulatedNirone(simulate(DRIVERS["nirone"]).bench, order)
    setup = set_up("nirone", device=device)
    assert f"{order}-endian floats (by plausibility)" in setup.info.firmware
    assert setup.error(setup.scan()) == 0.0


def test_a_byte_order_that_cannot_be_found_is_asked_for(clock: Clock) -> None:
    device = simulator_nirone.SimulatedNirone(simulate(DRIVERS["nirone"]).bench)
    # Without light and offset it measures zeros, which look the same in both orders.
    device.bench.lamp_works, device.bench.detector = (
        False,
        Detector(dark_offset=0.0, dark_rate=0.0, read_noise=0.0),
    )
    with pytest.raises(InstrumentError, match="add byteorder=big or byteorder=little"):
        set_up("nirone", device=device)


def test_eighteen_bands_are_refused_by_a_model_of_continuous_spectra(
    model: ProvedModel, clock: Clock
) -> None:
    bands = set_up("as7265x").info.wavelengths_nm
    assert bands.size == 18
    with pytest.raises(WavelengthError, match=r"410\.0-940\.0 nm but the model needs"):
        model.bind(bands)
    # Covering the range would not help, because nothing is measured between the bands.
    stretched = np.linspace(1_000.0, 2_600.0, 18)
    with pytest.raises(WavelengthError, match="apart where the model needs"):
        model.bind(stretched)


@given(
    st.lists(
        st.builds(
            Fault,
            st.sampled_from(list(KINDS)),
            st.integers(1, 99),
            st.integers(1, 99),
            st.integers(0, 9),
        )
    )
)
def test_a_script_of_faults_reads_as_it_was_written(script: list[Fault]) -> None:
    def item(fault: Fault) -> str:
        every = {0: "", 1: "+"}.get(fault.every, f"/{fault.every}")
        return f"{fault.kind}={fault.amount}@{fault.first}{every}"

    assert faults.parse(", ".join(map(item, script))) == script


@pytest.mark.parametrize(
    "script", ["flip", "flip@0", "flip@200%", "drip=0@1", ">lamp@1", "flip=9999999@1", "flip@1x"]
)
def test_a_malformed_script_is_wrong_use(script: str) -> None:
    with pytest.raises(UsageError, match=r"correct it|is not KIND|cannot strike"):
        faults.parse(script)


def test_the_same_seed_makes_the_same_faults() -> None:
    def run(seed: int) -> list[bytes]:
        line = Line(simulate(DRIVERS["as7265x"]), faults.parse("flip@50%,garbage@20%"), seed)
        return [piece.data for _ in range(40) for piece in line.exchange(b"ATVERHW\r\n")]

    assert run(3) == run(3) != run(4)


@pytest.mark.slow
def test_a_fault_in_the_url_of_a_simulator() -> None:
    instrument = open_instrument(
        "sim://?driver=multispeq&pace=0&faults=flip@4&coefficients=365,63.8"
    )
    instrument.identify()
    instrument.configure(Settings(20, 2))
    for _ in range(3):
        assert instrument.scan(ScanKind.WHITE).counts.max() > 30_000
    assert instrument.statistics.frames_damaged > 0
    instrument.close()


@pytest.mark.slow
def test_a_field_spectrometer_through_the_daemon(tmp_path: Path) -> None:
    """Run the daemon as a user does, with the instrument in another process.

    The range of 350-2500 nm suits the default model.
    """
    command = [
        *CCNVR,
        "simulate",
        "--driver",
        "asd",
        "--listen",
        "127.0.0.1:0",
        "--pace",
        "0",
        "--acquisitions",
        "2",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip() + "?driver=asd"
        arguments = ("run", "--instrument", url, "--store", tmp_path / "s.sqlite")
        (tmp_path / "c.toml").write_text("[instrument]\naverages = 4\n")
        result = run_ccnvr(*arguments, "-c", tmp_path / "c.toml", "--count", 3)
        assert result.returncode == 0, result.stderr
        lines = result.stdout.splitlines()
        assert len(lines) == 3 and all('"predictions": {"' in line for line in lines)
    finally:
        process.terminate()
        process.communicate()


def test_wrong_use_of_the_simulator_options(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (("--driver", "asd"), "add --listen"),
        (("--driver", "abc"), "the drivers are ccnvr"),
        (("--faults", "bang@1"), "is not KIND"),
        (("--driver", "obp", "--spectra", "x.csv"), "cannot be read"),
        (("--link", "/tmp/x", "--listen", "127.0.0.1:0"), "choose one"),
    ):
        assert cli.main(["simulate", *arguments]) == 2
        assert words in capsys.readouterr().err


class FakeOcean:
    """What `seabreeze.spectrometers.Spectrometer` offers."""

    model, serial_number, max_intensity, integration_time_micros_limits = (
        "FLAME-NIR",
        "FLN1",
        65_535.0,
        (1_000, 10_000_000),
    )

    def __init__(self) -> None:
        self.exposed_us, self.closed = 0, False

    @classmethod
    def from_first_available(cls) -> FakeOcean:
        return cls()

    @classmethod
    def from_serial_number(cls, serial: str) -> FakeOcean:
        raise RuntimeError(f"no device {serial}")

    def wavelengths(self) -> np.ndarray:
        return np.linspace(939.0, 1_665.0, 128)

    def integration_time_micros(self, value: int) -> None:
        self.exposed_us = value

    def intensities(self) -> np.ndarray:
        return np.full(128, float(self.exposed_us))

    def close(self) -> None:
        self.closed = True


def test_usb_through_python_seabreeze(monkeypatch: pytest.MonkeyPatch) -> None:
    library = types.ModuleType("seabreeze.spectrometers")
    library.Spectrometer, library.SeaBreezeError = FakeOcean, RuntimeError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seabreeze", types.ModuleType("seabreeze"))
    monkeypatch.setitem(sys.modules, "seabreeze.spectrometers", library)
    instrument = open_instrument("seabreeze://")
    assert instrument.identify().wavelengths_nm.size == 128
    with pytest.raises(InstrumentError, match="configure"):
        instrument.scan(ScanKind.DARK)
    instrument.configure(Settings(5_000, 2))
    scan = instrument.scan(ScanKind.WHITE)
    assert scan.counts.max() == 5_000.0 and not scan.saturated
    instrument.configure(Settings(70_000, 1))
    assert instrument.scan(ScanKind.WHITE).saturated
    instrument.close()
    with pytest.raises(PortError, match="no device XYZ"):
        open_instrument("seabreeze://XYZ")
    monkeypatch.setitem(sys.modules, "seabreeze.spectrometers", None)
    with pytest.raises(UsageError, match=r"-m pip install .*'ccnvr\[seabreeze\]'"):
        open_instrument("seabreeze://")


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_a_driver_needs_are_asked_for(name: str) -> None:
    with pytest.raises(UsageError, match="needs coefficients="):
        open_instrument(f"sim://?driver={name}")
    with pytest.raises(UsageError, match="not a list of numbers"):
        open_instrument(f"sim://?driver={name}&coefficients=1,x")
