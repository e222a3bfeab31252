"""Every command of the README is run: as written, with a simulated instrument for /dev/ttyACM0 and
a small recipe.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import recipes
from tests.support.soil_files import write_soils

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.splitlines()
]
CONFIG = re.search(r"```toml\n(.*?)```", README, re.S)

SIMULATE = "ccnvr simulate"


@pytest.fixture
def simulated_by_the_page_s_command() -> Iterator[str]:
    """The URL that the README's own `ccnvr simulate` prints."""
    assert SIMULATE in COMMANDS
    program = f"exec {Path(sys.executable).parent}/{SIMULATE}"
    process = subprocess.Popen(["bash", "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.communicate()


def test_all_commands_run_in_the_order_of_the_page(
    simulated_by_the_page_s_command: str, tmp_path: Path
) -> None:
    assert CONFIG is not None
    recipes.write(tmp_path)
    write_soils(tmp_path / "my-soils.csv", "UL.120", 10)
    url = simulated_by_the_page_s_command
    (tmp_path / "ccnvr.toml").write_text(
        re.sub(r"serial://[^\"]*", url, CONFIG[1]).replace("interval_s = 10", "interval_s = 0.1")
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = 0
    for command in COMMANDS:
        if command == SIMULATE:
            continue
        line = command.replace("serial:///dev/ttyACM0", url).replace(
            "~/ccnvr-env", "ccnvr-env" if "venv" in command else ""
        )
        # This environment has all of it: pip resolves and builds, and changes nothing.
        # test_install.py installs for good.
        line = line.replace("/bin/pip install", "pip install --dry-run").replace(
            "/bin/ccnvr", "ccnvr"
        )
        folder = ROOT if "pip install" in line else tmp_path
        result = subprocess.run(
            ["bash", "-c", line],
            cwd=folder,
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": path},
            timeout=300,
        )
        assert result.returncode == 0, f"{command}: {result.stderr}"
        ran += 1
    assert ran == 15
    assert {"mine.ccnvr", "adapted.ccnvr", "predictions.csv", "soils.csv", "ccnvr.sqlite"} <= {
        entry.name for entry in tmp_path.iterdir()
    }


def test_the_example_in_python_prints_three_scores(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    result = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    scores = [float(score) for score in result.stdout.strip("[]\n ").split()]
    assert len(scores) == 3 and all(map(math.isfinite, scores))


@pytest.mark.parametrize(
    "target",
    [
        "demo",
        "test",
        "test-c",
        "check",
        "coverage",
        "bench",
        "fuzz",
        "generate",
        "model",
        "study-check",
    ],
)
def test_make_targets_that_the_pages_name_exist(target: str) -> None:
    assert f"make {target}" in README + (ROOT / "CONTRIBUTING.md").read_text()
    result = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_transcript_and_the_record_are_what_the_demo_prints(tmp_path: Path) -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "ccnvr.edge.cli", "demo"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert demo.returncode == 0, demo.stderr

    def lasting(text: str) -> list[str]:
        """Without the port's name and the times, which differ from run to run."""
        text = re.sub(r"serial:///dev/pts/\d+", "PORT", text)
        return (
            re.sub(r"latency p50 .*| *\d+\.\d ms", "", text)
            .translate(str.maketrans("[],", "   "))
            .split()
        )

    def same(left: str, right: str) -> bool:
        """Equal words, or numbers that differ by no more than another processor's rounding may
        change.
        """
        try:
            return math.isclose(float(left), float(right), rel_tol=0.02, abs_tol=0.02)
        except ValueError:
            return left == right

    transcript = re.search(r"```text\n(.*?)```", README, re.S)
    assert transcript is not None
    pairs = zip(lasting(transcript[1]), lasting(demo.stdout), strict=True)
    assert not [pair for pair in pairs if not same(*pair)]
    record = re.search(r"```json\n(.*?)```", README, re.S)
    assert record is not None
    assert list(json.loads(record[1])) == [
        "scan_id",
        "time",
        "instrument",
        "predictions",
        "flags",
        "latency_ms",
    ]
