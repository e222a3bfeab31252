"""The benchmarks compare what does the same job, and their figures follow from what was timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from benchmarks import floor, growth, guard, guarded, ours, pi, processes, run, workload
from benchmarks.timing import Times, take_turns
from ccnvr.edge.network.shape import Convolution, NetworkConfig
from tests.support.helpers import NETWORK_BUNDLE, ROOT


def test_functions_take_turns_and_see_the_same_spectra() -> None:
    seen: dict[str, list[int]] = {"one": [], "other": []}
    ticks = count()
    times = take_turns(
        {name: calls.append for name, calls in seen.items()},
        rounds=5,
        most_calls=1,
        clock=lambda: float(next(ticks)),
    )
    assert seen["one"] == seen["other"]
    assert seen["one"][3:5] == [0, 1]
    assert times.median("one").median == times.first_call("other").median == 1.0


def test_a_ratio_has_an_interval_that_holds_it() -> None:
    rng = np.random.default_rng(1)
    busy = rng.uniform(1.0, 3.0, 200)
    times = Times({"slow": 2.0 * busy, "fast": busy * rng.uniform(0.9, 1.1, 200)}, {})
    ratio = times.ratio("slow", "fast")
    assert ratio.low < ratio.median < ratio.high
    assert ratio.median == pytest.approx(2.0, rel=0.1)
    assert times.percentile("slow", 95) > times.median("slow").high


@pytest.mark.slow
@pytest.mark.parametrize("bundle", ["default:nir", NETWORK_BUNDLE])
def test_others_do_the_same_job(bundle: str) -> None:
    # It imports torch and scikit-learn, which the other tests need not wait for.
    from benchmarks import peers

    work = workload.make()
    bound = ours.bind(bundle, work)
    by_hand = peers.ByHand.of(bound, work)
    with_chemotools = peers.WithChemotools.of(bound, work)
    alone = peers.network_alone(bound, compiled=False)
    for number, scan in enumerate(work.scans[:8]):
        expected = [one.value for one in bound.pipeline(scan).estimates.values()]
        assert by_hand(scan.counts) == pytest.approx(expected, rel=1e-3)
        assert with_chemotools(scan.counts) == pytest.approx(expected, rel=1e-3)
        outputs = bound.model.session(bound.inputs[number])
        assert alone[peers.TORCH](number) == pytest.approx(outputs, abs=1e-3)
        assert alone[peers.EXPORTED](number)[0] == pytest.approx(outputs, abs=1e-3)  # type: ignore[index]


@pytest.mark.slow
def test_no_instructions_were_added_and_the_guard_would_notice() -> None:
    try:
        found = guard.count(inject=2_000)
    except guard.Unavailable as error:
        pytest.skip(str(error))
    slower = {"decode frames": found.pop(guarded.INJECTED)}
    (sentence,) = guard.problems(slower, found)
    assert sentence.startswith("decode frames takes")
    before = guard.baselines().get(guard.build())
    if before is None:
        pytest.skip(f"benchmarks/instructions.json has no counts for {guard.build()}")
    assert guard.problems(found, before) == []


def test_another_build_is_not_compared(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["guard"])
    monkeypatch.setattr(guard, "build", lambda: "m68k, Python 3.99")
    assert guard.main() == 0
    assert "there are no counts for m68k" in capsys.readouterr().out


def test_an_installation_counts_what_a_package_needs() -> None:
    found = processes.installations()
    assert found["torch"]["mb"] > found["ours with onnxruntime"]["mb"]
    assert found["ours with NumPy alone"]["packages"] == 3


def test_each_line_of_the_history_says_what_it_was_measured_on() -> None:
    lines = [json.loads(line) for line in run.HISTORY.read_text().splitlines()]
    assert lines
    assert all({"commit", "cpu", "python"} <= line["machine"].keys() for line in lines)


def _fake_pi(root: Path) -> None:
    """Write what a Raspberry Pi's kernel shows."""
    for name, text in {
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
        "proc/meminfo": "MemTotal:        3884360 kB\nMemFree: 1 kB\n",
        "proc/mounts": "proc /proc proc rw 0 0\n/dev/mmcblk0p2 / ext4 rw 0 0\n",
        "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1800000\n",
        "sys/class/thermal/thermal_zone0/temp": "83500\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_a_raspberry_pi_is_known_by_what_its_kernel_says(tmp_path: Path) -> None:
    _fake_pi(tmp_path)
    found = pi.computer(tmp_path)
    assert found["is_a_raspberry_pi"] and found["model"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert found["memory_mb"] == 3884 and found["disk"] == "/dev/mmcblk0p2 (ext4)"
    assert found["os"] == "Debian GNU/Linux 12 (bookworm)" and found["most_mhz"] == 1800
    hot = pi.state(tmp_path)
    assert hot["temperature_c"] == 83.5 and hot["mhz"] == 1500
    cool = {"temperature_c": 50.0, "throttled": "throttled=0x0", "load": 0.1}
    whole = {"computer": found, "before": cool, "after": {**hot, "throttled": "throttled=0x4"}}
    governor, temperature, throttled = pi.warnings(whole)
    assert "ondemand" in governor and "84 degrees" in temperature and "0x4" in throttled
    assert "dry run" not in governor


def test_what_is_no_pi_is_told(tmp_path: Path) -> None:
    found = {"computer": pi.computer(tmp_path), "before": pi.state(tmp_path)}
    first, *_ = pi.warnings({**found, "after": pi.state(tmp_path)})
    assert "no Raspberry Pi" in first and "dry run" in first


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--rounds 0", "--rounds: 0 is out of range"),
        ("--starts 0", "--starts: 0 is out of range"),
        ("--out nodir/x.json", "nodir/x.json cannot be written because there is no folder nodir"),
        ("--bundle nofile.ccnvr", "no bundle at nofile.ccnvr"),
        ("--bundle default:nope", "'default:nope' is not one bundle of the default family"),
    ],
)
def test_wrong_use_of_bench_pi_is_told_before_the_measurement(
    words: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pi", *words.split()])
    monkeypatch.setattr(pi, "take_turns", lambda *_, **__: pytest.fail("measured before the check"))
    assert _code(pi.main) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert said in last
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", ["--rounds 0", "--most-scans 0"])
def test_wrong_use_of_growth_is_told(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["growth", *words.split()])
    assert _code(growth.main) == 2
    assert f"{words.split()[0]}: 0 is out of range" in capsys.readouterr().err


def _code(main: Callable[[], int]) -> object:
    """Return the exit code of a program, which its parser of arguments may raise."""
    try:
        return main()
    except SystemExit as error:
        return error.code


@pytest.mark.parametrize("is_pi", [False, True])
def test_figures_are_asked_for_only_if_they_are_of_a_pi(is_pi: bool) -> None:
    stages = {ours.TO_PREDICTION: {"steady": [208.4, 190.0, 230.0]}}
    figures = {"engine": "numpy", "stages_us": stages}
    found = {"computer": {"is_a_raspberry_pi": is_pi}, "figures": figures}
    figure, wrote = pi.report(found, Path("x.json"))
    assert figure == "counts to prediction: 0.208 ms (0.190 to 0.230), numpy"
    assert wrote.startswith("wrote x.json") and ("attach it" in wrote) == is_pi


@pytest.mark.parametrize("engine", ["onnx", "tflite", "bogus"])
def test_make_installs_the_engine_that_was_asked_for(engine: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "MAKEFLAGS"}
    result = subprocess.run(
        ["make", "--dry-run", "--always-make", "bench-pi", f"ENGINE={engine}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    if engine == "bogus":
        assert result.returncode == 2 and "ENGINE=bogus is not one of" in result.stderr
    else:
        assert f"--editable '.[{engine}]'" in result.stdout


@pytest.mark.slow
def test_a_pi_is_measured_without_the_packages_of_training(tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv[1:] = ['--rounds', '2', '--starts', '1', '--out', 'pi.json']\n"
        "from benchmarks import pi; code = pi.main()\n"
        "assert not {'torch', 'sklearn', 'scipy', 'chemotools'} & sys.modules.keys()\n"
        "sys.exit(code)"
    )
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "pi.json").read_text())
    assert found["figures"]["stages_us"][ours.TO_PREDICTION]["steady"][0] > 0.0
    assert found["warnings"][0].startswith("this computer is no Raspberry Pi")
    assert "counts to prediction: " in result.stdout and "attach" not in result.stdout
    assert "timing stages" in result.stderr


def test_the_floor_counts_the_products_of_the_model() -> None:
    config = NetworkConfig(
        convolutions=(Convolution(2, 3, 4),),
        cell="gru",
        hidden=5,
        dense=6,
        linear=True,
        in_channels=1,
        bands=8,
        outputs=7,
    )
    work = floor.of_network(config)
    recurrent = 2 * 3 * 5 * (2 + 5)
    once = 6 * (10 + 7) + 7 * 8
    assert work.products == 2 * 3 * 8 + 2 * recurrent + once
    assert work.bytes == 4 * (2 * 3 + recurrent + once)


@pytest.mark.slow
def test_growth_is_measured_and_drawn(tmp_path: Path) -> None:
    bands = growth.by_bands([100, 1_000], rounds=3)
    scans = growth.by_scans([20, 40], 3, tmp_path)
    assert [row["bands"] for row in bands] == [100, 1_000]
    assert all(row["commit_cpu_us"] > 0 for row in scans)
    growth.draw(bands, scans, tmp_path / "growth.svg")
    assert "stored scans" in (tmp_path / "growth.svg").read_text()
