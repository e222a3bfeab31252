"""The README, the tutorial and the how-to pages say what is so.

Every command in a block of shell is run as written, in the order of the pages, with a simulated
instrument for /dev/ttyACM0 and a small training recipe. A command of several pages runs once.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support import recipes
from tests.support.helpers import IN_THIS_PROCESS, ROOT, run_ccnvr
from tests.support.soil_files import write_soils

README = (ROOT / "README.md").read_text()
CONNECT = (ROOT / "docs" / "how-to" / "connect-an-instrument.md").read_text()
PAGES = [
    "README.md",
    "docs/tutorial.md",
    *(
        f"docs/how-to/{name}.md"
        for name in (
            "install-on-a-raspberry-pi",
            "connect-an-instrument",
            "predict-files",
            "train",
            "fine-tune",
            "another-instrument",
            "compare-methods",
            "update-the-model",
        )
    ),
]
GUIDED = {"docs/how-to/start-up-kit.md"}
"""Pages whose steps wait for a person; tests/train/test_selection.py goes the way of this one."""

PORT = "serial:///dev/ttyACM0"
SIMULATE = "ccnvr simulate"


def commands_of(page: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), re.S)
    return [line for block in blocks for line in block.splitlines()]


@dataclass
class Terminal:
    """A folder in which commands run, each at most once, beside a simulated instrument."""

    folder: Path
    instrument: str
    ran: dict[str, str] = field(default_factory=dict)

    def run(self, command: str) -> str:
        """Run a command as a page writes it, if it did not run before; what it prints."""
        # The pages name the environment of their installation, the tests are in one.
        line = command if "venv " in command else command.replace("~/ccnvr-env/bin/", "")
        if line not in self.ran:
            self.ran[line] = self._run(line)
        return self.ran[line]

    def _run(self, line: str) -> str:
        words = shlex.split(line.replace(PORT, self.instrument))
        if words[0] == "ccnvr" and words[1] in IN_THIS_PROCESS:
            result = run_ccnvr(*words[1:])
        else:
            # This environment has all of it: pip resolves and builds, and changes nothing.
            # test_install.py installs for good.
            installs = words[:2] == ["pip", "install"]
            program = shlex.join(words) if words[0] == "ccnvr" else line
            program = program.replace("pip install", "pip install --dry-run")
            result = subprocess.run(
                ["bash", "-c", program.replace("~/", "./")],
                cwd=ROOT if installs else self.folder,
                capture_output=True,
                text=True,
                env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
                timeout=300,
            )
        assert result.returncode == 0, f"{line}: {result.stderr}"
        return result.stdout


BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def simulated() -> Iterator[str]:
    """The URL that the pages' own `ccnvr simulate` prints."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {BIN}/{SIMULATE}"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.communicate()


@pytest.fixture(scope="module")
def shared_terminal(simulated: str, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    folder = tmp_path_factory.mktemp("pages")
    recipes.write(folder)
    write_soils(folder / "my-soils.csv", "UL.120", 10)
    config = re.search(r"```toml\n(.*?)```", CONNECT, re.S)
    assert config is not None
    (folder / "ccnvr.toml").write_text(
        re.sub(r"serial://[^\"]*", simulated, config[1]).replace(
            "interval_s = 10", "interval_s = 0.1"
        )
    )
    return Terminal(folder, simulated)


@pytest.fixture
def terminal(shared_terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.chdir(shared_terminal.folder)
    return shared_terminal


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_runs(page: str, terminal: Terminal) -> None:
    for command in commands_of(page):
        if command != SIMULATE:
            terminal.run(command)


def test_the_commands_leave_the_files_that_the_pages_promise(terminal: Terminal) -> None:
    if len(terminal.ran) < len({command for page in PAGES for command in commands_of(page)}) - 2:
        pytest.skip("not all pages ran")
    made = {entry.name for entry in terminal.folder.iterdir()}
    assert {"mine.ccnvr", "adapted.ccnvr", "predictions.csv", "soils.csv", "ccnvr.sqlite"} <= made


def test_no_page_in_how_to_is_left_out() -> None:
    assert {f"docs/how-to/{path.name}" for path in (ROOT / "docs" / "how-to").iterdir()} == {
        page for page in PAGES if "how-to" in page
    } | GUIDED
    assert len({command for page in PAGES for command in commands_of(page)}) == 22


def test_the_python_of_the_readme_predicts_a_file(
    soils_csv: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(soils_csv.parent)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    exec(compile(example, "README.md", "exec"), {})
    promised = re.search(r"# (\S+) .*", example)
    assert promised is not None
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4 and printed[0].startswith(promised[1])


@pytest.mark.parametrize(
    "target",
    [
        "demo",
        "test",
        "test-fast",
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
    pages = [*ROOT.glob("*.md"), ROOT / "examples" / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_links_to_a_heading_find_it() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link, heading in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
            target = page.parent / link if link else page
            titles = re.findall(r"^#+ (.*)", target.read_text(), re.M)
            anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in anchors, f"{page.name} links to {link}#{heading}"


def test_the_transcript_and_the_record_are_what_ccnvr_prints(terminal: Terminal) -> None:
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
    printed = terminal.run("ccnvr demo --spectra 4")
    pairs = zip(lasting(transcript[1]), lasting(printed), strict=True)
    assert not [pair for pair in pairs if not same(*pair)]
    page = (ROOT / "docs" / "predictions.md").read_text()
    record = re.search(r"```json\n(.*?)```", page, re.S)
    assert record is not None
    (line, *_) = terminal.run(f"ccnvr run --instrument {PORT} --count 3").splitlines()
    assert list(json.loads(record[1])) == list(json.loads(line))
