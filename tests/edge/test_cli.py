"""The command line: fast to start, one sentence for each error, no traceback."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ccnvr.edge.benchmark import engines
from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle.manifest import Card
from ccnvr.edge.cli import COMMANDS, main
from tests.support.helpers import CCNVR, NETWORK_BUNDLE, assert_one_sentence, run_ccnvr
from tests.support.wrong_use import refused


def modules_after(*arguments: str) -> set[str]:
    """Return the top-level modules that a command has loaded."""
    code = (
        f"import sys, json; from ccnvr.edge.cli import main; main({list(arguments)!r}); "
        "print(json.dumps(sorted(sys.modules)))"
    )
    # A coverage run would load modules of its own.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=clean
    ).stdout
    return {name.partition(".")[0] for name in json.loads(output.splitlines()[-1])}


def test_help_loads_nothing_heavy() -> None:
    assert not modules_after("--help") & {"numpy", "serial", "onnxruntime", "torch", "sqlite3"}


def test_the_edge_s_commands_load_no_training_library() -> None:
    assert not modules_after("inspect", NETWORK_BUNDLE) & {
        "torch",
        "onnx",
        "scipy",
        "sklearn",
        "pandas",
        "rdata",
        "tqdm",
        "serial",
    }


@pytest.mark.slow
def test_every_command_is_listed_and_explains_itself() -> None:
    overview = run_ccnvr("--help").stdout
    for name, command in COMMANDS.items():
        assert command.summary in overview
        result = run_ccnvr(name, "--help")
        assert result.returncode == 0, result.stderr
        assert command.example in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("pedict", "'pedict' is not a command; the commands are demo, run, scan"),
        ("run --count many", "'many' is not a whole number"),
        ("run --interval -1", "-1.0 is out of range; give a number from 0 to 86400"),
        ("run --interval soon", "'soon' is not a number"),
        ("run", "names no instrument"),
        ("predict default", "files of spectra"),
        ("simulate --listen here", "'here' is not HOST:PORT"),
        ("simulate --listen 127.0.0.1:\u00b2", "is not HOST:PORT"),
        ("simulate --pace -2", "--pace -2.0"),
        ("simulate --spectra none.csv", "none.csv cannot be read"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(
    command: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hung_up = signal.getsignal(signal.SIGHUP)
    try:
        assert words in refused(capsys, command)
    finally:
        # `ccnvr run` ignores it until it has read its configuration.
        signal.signal(signal.SIGHUP, hung_up)


def test_wrong_use_ends_the_process_with_2() -> None:
    assert_one_sentence(run_ccnvr("pedict"), 2, "'pedict' is not a command", "predict")
    assert run_ccnvr().returncode == 2


def test_a_simulator_shows_no_soil_upside_down(
    soils_csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "simulate --spectra {soils} --quantity absorbance", soils=soils_csv)
    assert f"{soils_csv} row 2" in said and "rises at 1917 nm, read as absorbance" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", ["--help", "inspect default", "demo --spectra 1 --json", "run --help"]
)
def test_output_that_cannot_be_written_is_one_sentence(arguments: str) -> None:
    command = shlex.join([*CCNVR, *arguments.split()])
    # As a terminal's user has it: Python holds output back and writes it at the end.
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    result = subprocess.run(
        ["bash", "-c", f"{command} > /dev/full"], capture_output=True, text=True, env=buffered
    )
    assert_one_sentence(result, 1, "standard output cannot be written", "No space left")
    # Only ccnvr run stores what it prints.
    assert ("stored" in result.stderr) == arguments.startswith("run ")
    closed = subprocess.run(
        ["bash", "-c", f"{command} >&-"], capture_output=True, text=True, env=buffered
    )
    assert "Traceback" not in closed.stderr


def test_the_version_is_the_package_s() -> None:
    from importlib.metadata import version

    assert run_ccnvr("--version").stdout == f"ccnvr {version('ccnvr')}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        ("train --help", "torch", "train"),
        ("export --help", "onnx", "export"),
        pytest.param(
            *("data", "rdata", "train"),
            marks=pytest.mark.skipif("CCNVR_DATA" not in os.environ, reason="no library at hand"),
        ),
    ],
)
def test_a_missing_extra_is_named_with_its_install_command(
    command: str, module: str, extra: str
) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None; from ccnvr.edge.cli import main; "
        f"sys.exit(main({command.split()!r}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert_one_sentence(
        result,
        2,
        f"ccnvr {command.split()[0]} needs {module}",
        "-m pip install ",
        f" 'ccnvr[{extra}]'",
    )


def test_inspect_shows_the_card_and_the_manifest() -> None:
    text = run_ccnvr("inspect", NETWORK_BUNDLE).stdout
    for words in (
        "self-test passed on onnx",
        "cross-validation",
        "soils held out",
        "CC BY-SA 4.0",
        "nirsoil   OC",
        "  OC in g/kg, trained on",
        "  pH, trained on",
    ):
        assert words in text
    assert "int8 on onnxruntime, against the NumPy engine" in text and len(text.splitlines()) < 100
    manifest = json.loads(run_ccnvr("inspect", NETWORK_BUNDLE, "--json").stdout)
    assert manifest["schema"] == 1


@pytest.mark.slow
def test_inspect_shows_any_card_that_a_bundle_may_carry(tmp_path: Path) -> None:
    default, path, escape = (
        bundles.read(NETWORK_BUNDLE),
        tmp_path / "foreign.ccnvr",
        "\x1b[2J\r\n\ud800",
    )
    soils = {
        "trained_on": {"a": None, "b": [1], "c": {"d": 2}, "e": True, f"name{escape}": 7},
        "measured": {"OC": None, "N": 3, f"pH{escape}": 4},
        "sources": {"a": {"licence": f"free{escape}", "values": None}, "b": 5},
        "not_trained_on": [None, f"held{escape}"],
        "seen_before": 9,
    }
    card = Card(
        accuracy={f"title{escape}": {f"library{escape}": {f"OC{escape}": {"n": 1, "r2": None}}}},
        parity={f"engine{escape}": {"largest": f"x{escape}"}},
        soils=soils,
        training={f"base{escape}": [f"y{escape}"], "recipe": 3},
    )
    # The manifest's own texts are refused if a terminal would obey them; a card may hold anything.
    bundles.write(path, dataclasses.replace(default.manifest, card=card), default.parts)
    result = run_ccnvr("inspect", path)
    assert result.returncode == 0, result.stderr
    assert all(character.isprintable() for character in result.stdout.replace("\n", ""))
    lines = result.stdout.splitlines()
    for name in ("title", "library", "engine", "name"):
        assert sum(line.startswith(f"{name}?[2J???") for line in lines) == 1
    assert "a               -  free?[2J???; None" in lines and "b               -  " in lines
    assert "measured in: OC -, N 3, pH?[2J??? 4" in lines
    assert (
        "warning: the base was trained on 9 of the fine-tuning's soils, so all accuracies are too "
        "good" in lines
    )
    for unknown in (0, None, "9", [9]):
        malformed = dataclasses.replace(card, soils=dict.fromkeys(soils, unknown), training={})
        bundles.write(path, dataclasses.replace(default.manifest, card=malformed), default.parts)
        result = run_ccnvr("inspect", path)
        assert result.returncode == 0 and "too good" not in result.stdout, result.stderr


def test_no_telemetry_leaves_the_machine_or_its_disk(tmp_path: Path) -> None:
    """onnxruntime would keep a device id below the home folder and look for a server."""
    result = run_ccnvr(
        "inspect",
        NETWORK_BUNDLE,
        env={**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_bench_prints_ratios(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A median of five starts of every engine takes 10 s.
    monkeypatch.setattr(engines, "COLD_STARTS", 1)
    assert main(["bench", "--rounds", "10", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stages"]["inference"]["ratio_to_inference"] == 1.0
    assert all(row["median_ms"] > 0 for row in found["stages"].values())
    assert found["bundle"] == "default:nir" and "onnx fp32" in found["backends"]
    for figures in found["backends"].values():
        assert figures["cold_start_ms"] > figures["latency_ms"] > 0
        assert figures["peak_memory_mb"] > 10 and figures["model_kb"] > 1
    assert main(["bench", "--rounds", "10"]) == 0
    shown = capsys.readouterr().out
    assert "x inference" in shown and "bundle default:nir; the stages take turns" in shown
    link = json.loads(run_ccnvr("bench", "--link", "--rounds", 10, "--json").stdout)
    assert link["CRC-32 and a copy"]["times_crc_and_copy"] == 1.0
    assert all(row["share_of_wire_time"] > 0.0 for row in link.values())
    assert "share of wire time" in run_ccnvr("bench", "--link", "--rounds", 10).stdout
