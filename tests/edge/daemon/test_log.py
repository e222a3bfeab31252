"""The daemon's log: levels, a closed or broken standard error, nothing on standard output."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ccnvr.edge.service import log
from tests.support.helpers import CCNVR, NETWORK_BUNDLE, assert_one_sentence, run_ccnvr

TELL_AT_EACH_LEVEL = """
import logging
from ccnvr.edge.service import log
with log.to_standard_error(logging.DEBUG):
    logger = logging.getLogger("ccnvr.edge.daemon.reader")
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(logger, level)("a %s\\nof two lines", level)
    logging.getLogger("library").warning("not ours")
"""


def run_under_journal(
    *command: object, same_stream: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command with a pipe as standard error that JOURNAL_STREAM names, as systemd's does."""
    reading, writing = os.pipe()
    status = os.fstat(writing)
    stream = f"{status.st_dev}:{status.st_ino + (not same_stream)}"
    with open(reading) as errors:
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=writing,
            text=True,
            env={**os.environ, "JOURNAL_STREAM": stream},
        )
        os.close(writing)
        stdout, _ = process.communicate(timeout=120)
        return subprocess.CompletedProcess([], process.returncode, stdout, errors.read())


def simulated_run(tmp_path: Path, count: int = 2) -> list[object]:
    # A model that does not know synthetic soils, which is a warning.
    where = ["--bundle", NETWORK_BUNDLE, "--store", tmp_path / "s.sqlite"]
    return ["run", "--instrument", "sim://?pace=0", *where, "--count", count]


def scans_printed(stdout: str) -> int:
    """The number of records on standard output, where nothing else may be."""
    return len([json.loads(line)["scan_id"] for line in stdout.splitlines()])


def test_the_journal_gets_the_priority_of_each_level() -> None:
    result = run_under_journal(sys.executable, "-c", TELL_AT_EACH_LEVEL)
    assert result.stderr.splitlines() == [
        "<7>a debug of two lines",
        "<6>a info of two lines",
        "<4>a warning of two lines",
        "<3>a error of two lines",
        "<2>a critical of two lines",
        # Python's own last resort, for a logger that is not ours.
        "not ours",
    ]


def test_a_terminal_gets_sentences() -> None:
    result = subprocess.run(
        [sys.executable, "-c", TELL_AT_EACH_LEVEL], capture_output=True, text=True
    )
    assert result.stderr.splitlines()[:2] == [
        "ccnvr: a debug of two lines",
        "ccnvr: a info of two lines",
    ]
    inherited = run_under_journal(sys.executable, "-c", TELL_AT_EACH_LEVEL, same_stream=False)
    assert inherited.stderr == result.stderr


@pytest.mark.slow
def test_the_daemon_under_systemd(tmp_path: Path) -> None:
    result = run_under_journal(*CCNVR, *simulated_run(tmp_path))
    assert result.returncode == 0, result.stderr
    assert scans_printed(result.stdout) == 2
    lines = result.stderr.splitlines()
    # The synthetic soil is out of the domain, which is a warning.
    started, warning, ended = lines[:-2], lines[-2], lines[-1]
    assert [line.split()[0] for line in started] == ["<6>engine", *["<6>taking"] * 3]
    assert warning.startswith("<4>scan") and ended.startswith("<6>2 scans predicted")
    missing = ["--instrument", "serial:///dev/ttyNONE", "--store", tmp_path / "none.sqlite"]
    failed = run_under_journal(*CCNVR, "run", *missing)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("<3>") and "no port /dev/tty" in failed.stderr


def test_standard_output_has_predictions_only(tmp_path: Path) -> None:
    result = run_ccnvr(*simulated_run(tmp_path, 3))
    assert result.returncode == 0, result.stderr
    assert scans_printed(result.stdout) == 3
    assert all(line.startswith("ccnvr: ") for line in result.stderr.splitlines())
    assert "engine " in result.stderr and "taking the dark reference" in result.stderr
    assert "3 scans predicted" in result.stderr


@pytest.mark.slow
def test_a_closed_standard_error_stops_nothing(tmp_path: Path) -> None:
    command = [*CCNVR, *map(str, simulated_run(tmp_path))]
    closed = subprocess.run(
        ["bash", "-c", '"$@" 2>&-', "-", *command], stdout=subprocess.PIPE, text=True
    )
    assert (closed.returncode, scans_printed(closed.stdout)) == (0, 2)
    wrong = subprocess.run(
        ["bash", "-c", '"$@" 2>&-', "-", *CCNVR, "run"], stdout=subprocess.PIPE, text=True
    )
    # The error has nowhere to go, and least of all to the stream of predictions.
    assert (wrong.returncode, wrong.stdout) == (2, "")


@pytest.mark.parametrize("arguments", ["run", "wrong"])
def test_a_broken_standard_error_stops_nothing(tmp_path: Path, arguments: str) -> None:
    """Whoever read the log has gone away."""
    reading, writing = os.pipe()
    os.close(reading)
    given = simulated_run(tmp_path) if arguments == "run" else ["run"]
    result = subprocess.run(
        [*CCNVR, *map(str, given)], stdout=subprocess.PIPE, stderr=writing, text=True
    )
    os.close(writing)
    expected = (0, 2) if arguments == "run" else (2, 0)
    assert (result.returncode, scans_printed(result.stdout)) == expected


def test_only_ccnvr_s_loggers_are_touched_and_only_meanwhile(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, ours = logging.getLogger(), logging.getLogger("ccnvr")
    before = (root.level, list(root.handlers), ours.level, list(ours.handlers))
    with log.to_standard_error() as logger:
        assert logger is ours
        assert (root.level, root.handlers) == before[:2]
        logging.getLogger("ccnvr.edge.daemon.reader").info("seen")
        logging.getLogger("ccnvr.edge.daemon.reader").debug("too fine")
        logging.getLogger("onnxruntime").info("not ours")
    ours.error("after the run")
    assert capsys.readouterr().err == "ccnvr: seen\n"
    assert (root.level, list(root.handlers), ours.level, list(ours.handlers)) == before


def test_a_message_that_does_not_fit_its_arguments_ends_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fields = {"msg": "%d scans", "args": ("many",), "levelno": logging.INFO}
    log.StandardErrorHandler().handle(logging.makeLogRecord(fields))
    assert capsys.readouterr().err == "ccnvr: %d scans\n"


def test_a_program_that_uses_the_daemon_sees_no_log_by_itself() -> None:
    code = (
        "import logging, ccnvr.edge.daemon; logging.getLogger('ccnvr.edge.daemon').warning('away')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_an_error_is_one_sentence_still(tmp_path: Path) -> None:
    result = run_ccnvr("run", "--instrument", "serial:///dev/ttyNONE", "--store", tmp_path / "s")
    assert_one_sentence(result, 1, "no port /dev/tty")
