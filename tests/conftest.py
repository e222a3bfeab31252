"""Parts that several tests use: real ones, on real pseudo-terminals and files."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings

from ccnvr.edge.cli import main
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.firmware_bridge.link import device
from ccnvr.firmware_bridge.link.device import Device
from ccnvr.firmware_bridge.serving.port import PtyPort
from ccnvr.firmware_bridge.serving.server import BackgroundServer
from ccnvr.firmware_bridge.simulators.handheld import (
    SimulatedSpectrometer,
    simulated_board,
    synthetic_soils,
)
from tests.support import recipes
from tests.support.helpers import CCNVR, NETWORK_BUNDLE, ROOT, run_ccnvr
from tools import tflite_environment

# A second thread slows small networks down many times over on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test depends on how fast the machine is.
settings.register_profile("ccnvr", deadline=None)
settings.load_profile("ccnvr")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long modules, so that no worker is left alone with one of them at the end."""

    def short(item: pytest.Item) -> bool:
        folders = item.path.relative_to(ROOT).parts[1:-1]
        # What trains, and the pages and the installation, which are tested directly in tests/.
        return bool(folders) and folders[0] not in ("train", "export")

    items.sort(key=short)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that the first of the workers that ask for it has filled."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # which the workers share
    folder = base / f"shared-{name}"
    with FileLock(f"{folder}.lock"):
        if not (done := folder / ".made").exists():
            # What a worker left that failed here is not finished.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(autouse=True, scope="session")
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of bundles goes where the tests' other files go."""
    kept = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    yield
    if kept is None:
        del os.environ["XDG_STATE_HOME"]
    else:
        os.environ["XDG_STATE_HOME"] = kept


@pytest.fixture(scope="session")
def all_model_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with every artefact."""

    def make(folder: Path) -> None:
        # It needs torch; tests of the edge alone run without.
        from tests.support import bundles_of_all

        bundles_of_all.write(folder / "all.ccnvr")

    return made_once(tmp_path_factory, "bundle", make) / "all.ccnvr"


@pytest.fixture(scope="session")
def tflite_python() -> Path:
    """The Python of an environment with tflite-runtime and numpy 1, or skip."""
    try:
        return tflite_environment.python()
    except tflite_environment.Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def model() -> ProvedModel:
    """The bundle that comes with the package."""
    return ProvedModel(NETWORK_BUNDLE)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished small run, quantized. Copy it to change it."""

    def make(folder: Path) -> None:
        run = str(folder / "run")
        for command in (["train", str(recipes.write(folder)), "--out", run], ["quantize", run]):
            assert main(command) == 0

    return made_once(tmp_path_factory, "run", make) / "run"


@pytest.fixture
def simulated() -> Iterator[Callable[..., str]]:
    """Start simulated instruments on pseudo-terminals in this process; gives each one's URL."""
    servers: list[BackgroundServer] = []

    def start(**options: object) -> str:
        soils = options.pop("soils", synthetic_soils(7, 1))
        detector = SimulatedSpectrometer(soils, **{"pace": 0.0, **options})  # type: ignore[arg-type]
        servers.append(BackgroundServer(PtyPort(), Device(detector, simulated_board())))
        return servers[-1].url

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def simulator_process() -> Iterator[Callable[..., str]]:
    """Start `ccnvr simulate` processes; gives each one's URL."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> str:
        command = [*CCNVR, "simulate", "--pace", "0", "--boot", "1", *map(str, arguments)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stdout = processes[-1].stdout
        assert stdout is not None
        return stdout.readline().strip()

    yield start
    for process in processes:
        process.terminate()
        process.communicate()


@pytest.fixture(scope="session")
def c_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the C reference built in it, or skip."""
    for tool in ("gcc", "make"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")

    def make(folder: Path) -> None:
        source = Path(device.__file__).parents[1] / "c"
        command = ["make", "-C", str(source), "instrument", f"BUILD={folder}"]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr

    return made_once(tmp_path_factory, "c", make)


@pytest.fixture(scope="session")
def four_soils(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of a CSV file with the reflectance of four real soils."""
    path = tmp_path_factory.mktemp("soils") / "soils.csv"
    result = run_ccnvr("demo", "--spectra", 4, "--save-soils", path)
    assert result.returncode == 0, result.stderr
    return path.read_text()


@pytest.fixture
def soils_csv(tmp_path: Path, four_soils: str) -> Path:
    """A CSV file with the reflectance of four real soils, which a test may change."""
    path = tmp_path / "soils.csv"
    path.write_text(four_soils)
    return path


@pytest.fixture
def nirsoil_data() -> Path:
    """The folder of the published nirsoil file, or skip."""
    folder = os.environ.get("CCNVR_DATA", "")
    if not folder or not (Path(folder) / "NIRsoil.RData").exists():
        pytest.skip("CCNVR_DATA names no folder with NIRsoil.RData")
    return Path(folder)


@pytest.fixture(autouse=True)
def no_stray_threads() -> Iterator[None]:
    """The daemon must leave none of its threads behind."""
    yield
    assert not [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith(("reader", "stream"))
    ]


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20201122)
