"""Every program in examples runs, as its first lines say."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from ccnvr.edge.streams.destinations import opened
from ccnvr.edge.streams.settings import LinesConfig, MqttConfig
from tests.support import recipes
from tests.support.brokers import Broker, free_port
from tests.support.helpers import ROOT, wait_until
from tools.mqtt_campaign import record

EXAMPLES = ROOT / "examples"

Run = Callable[..., list[str]]
Background = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run an example with arguments; the lines that it prints."""

    def run(name: str, *arguments: object) -> list[str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def background_run() -> Background:
    """Run an example that does not end by itself, while a block runs."""

    @contextmanager
    def running(name: str, *arguments: object) -> Iterator[None]:
        command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()  # it is ready
                yield
            finally:
                process.terminate()

    return running


def test_each_example_is_tested_here_and_listed_in_its_folder() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == set(re.findall(r'run\("(\w+\.py)"', Path(__file__).read_text()))
    assert names == set(re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text()))


def test_examples_use_public_names_only() -> None:
    for path in EXAMPLES.glob("*.py"):
        imported = re.findall(r"^from (ccnvr[\w.]*) import", path.read_text(), re.M)
        # A program beside the daemon may import nothing of it.
        assert {name.count(".") for name in imported} <= {1}, path.name


def test_files_are_predicted(run: Run, soils_csv: Path) -> None:
    lines = run("predict_files.py", soils_csv)
    assert len(lines) == 4
    assert all(re.fullmatch(r"\S+: organic carbon \S+ \[.*\] g/kg.*", line) for line in lines)


def test_an_instrument_is_simulated_unless_a_url_names_one(run: Run) -> None:
    lines = run("stream_instrument.py", "sim://?pace=0")
    assert len(lines) == 5 and all("g/kg" in line for line in lines)


def test_an_instrument_of_ones_own_predicts_as_the_files_do(
    run: Run, soils_csv: Path, tmp_path: Path
) -> None:
    header, *rows = soils_csv.read_text().splitlines()
    scans = tmp_path / "scans"
    scans.mkdir()
    for number, row in enumerate(rows):
        (scans / f"{number}.csv").write_text(f"{header}\n{row}\n")
    by_file = [line.split("carbon ")[1] for line in run("predict_files.py", soils_csv)]
    assert [line.split(" ", 1)[1] for line in run("own_instrument.py", scans)] == by_file


def test_a_network_is_trained_exported_and_used(
    run: Run, soils_csv: Path, finished_run: Path, tmp_path: Path
) -> None:
    # The run is finished already, so that this test trains nothing; training has tests of its own.
    folder = shutil.copytree(finished_run, tmp_path / "run")
    bundle = tmp_path / "mine.ccnvr"
    lines = run("train_export_predict.py", recipes.write(tmp_path), folder, bundle, soils_csv)
    assert bundle.exists()
    assert any(re.match(r".* UL.120 OC R2 ", line) for line in lines)
    assert sum("Estimate(" in line for line in lines) == 4


def test_ccnvr_is_cross_validated_in_a_pipeline(run: Run) -> None:
    (line,) = run("scikit_learn_pipeline.py")
    assert len(re.findall(r"-?\d\.\d+", line)) == 3


def test_a_prediction_is_plotted(run: Run, soils_csv: Path, tmp_path: Path) -> None:
    picture = tmp_path / "prediction.svg"
    run("plot_prediction.py", soils_csv, picture)
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_a_fleet_ends_up_in_a_real_influxdb(tmp_path: Path, background_run: Background) -> None:
    if shutil.which("influxd") is None:
        pytest.skip("influxd is not installed")
    broker, port = Broker(tmp_path), free_port()
    url = f"http://127.0.0.1:{port}"
    (tmp_path / "influx.conf").write_text(
        "reporting-enabled = false\n"
        f'bind-address = "127.0.0.1:{free_port()}"\n'
        f'[meta]\ndir = "{tmp_path}/meta"\n[data]\ndir = "{tmp_path}/data"\n'
        f'wal-dir = "{tmp_path}/wal"\n[http]\nbind-address = "127.0.0.1:{port}"\n'
    )
    influx = ("influxd", "-config", str(tmp_path / "influx.conf"))
    words = ("--broker", "127.0.0.1", "--port", broker.port, "--influx", url)
    with background_run("fleet_to_influxdb.py", *words), ExitStack() as devices:
        publishers = [
            devices.enter_context(
                opened(
                    MqttConfig(host="127.0.0.1", port=broker.port, device=f"d{number}"),
                    LinesConfig(),
                    "1",
                    "b",
                )
            )[0]
            for number in range(3)
        ]
        # While the database is away the broker's messages wait.
        for publisher in publishers:
            for number in range(2):
                publisher.deliver(record(f'S1-2-{number}, "x" = y'))
            assert publisher.settle is not None
            publisher.settle()
        with subprocess.Popen(influx, stderr=subprocess.DEVNULL) as database:
            try:
                wait_until(lambda: answers(f"{url}/ping"))
                answers(f"{url}/query", "q=CREATE DATABASE soil")
                query = "q=SELECT count(value) FROM prediction GROUP BY device&db=soil"
                # Two records of one moment are one point for each of four properties.
                wait_until(lambda: answers(f"{url}/query", query).count('"device":"d') == 3)
                found = answers(f"{url}/query", "q=SELECT * FROM prediction&db=soil")
                assert json.loads(found)["results"][0]["series"][0]["values"][0]
                assert '\\"x\\" = y' in found
                # The drift of each device is to be seen there too.
                query = "q=SELECT last(scans), last(share_noisy) FROM state GROUP BY device&db=soil"
                wait_until(lambda: answers(f"{url}/query", query).count('"device":"d') == 3)
            finally:
                database.terminate()
    broker.stop()


def answers(url: str, form: str = "") -> str:
    """Return what a server answers; "" if it does not."""
    try:
        data = form.replace(" ", "+").encode() if form else None
        with urllib.request.urlopen(url, data, timeout=20) as answer:
            return str(answer.read().decode()) or "ok"
    except OSError:
        return ""
