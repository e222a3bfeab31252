"""What becomes of scans when things go wrong: `python -m tools.crash_table --seed 1`.

Each cause strikes a real `ccnvr run` with a simulated instrument in another process. The table goes
to standard output, and with --write into docs/reliability.md. Exit code 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tools import crash_cases as cases
from tools.crash_cases import Outcome

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- made by tools/crash_table.py -->", "<!-- end of the crash table -->"

BACK_WITHIN_S = 5.0

HEADER = (
    "| cause | times | scans stored | lost | twice | on references of another start "
    "| back to work after, s (median / longest) | |\n|---|---|---|---|---|---|---|---|"
)


def outcomes(arguments: argparse.Namespace) -> Iterator[Outcome]:
    """Let each cause strike in a folder of its own."""
    what: list[tuple[Callable[[Path, random.Random, int], Outcome], int]] = [
        (cases.kills, arguments.kills),
        (cases.unplugs, arguments.unplugs),
        (cases.dips, arguments.dips),
        (cases.disk_full, 2),
        (cases.read_only, 2),
        (cases.locked, arguments.locked_s),
        *((cases.clock_back, seconds) for seconds in arguments.clock_s),
        (cases.last_page, arguments.damages),
        (cases.a_record, arguments.damages),
    ]
    for case, times in what:
        name = f"{case.__name__} {times}"
        with tempfile.TemporaryDirectory(prefix="ccnvr-crash-") as folder:
            # Named, so that a cause strikes in the same way whichever others are left out.
            yield case(Path(folder), random.Random(f"{arguments.seed} {name}"), times)


def broken(outcome: Outcome) -> bool:
    """Return whether a promise is broken."""
    return (
        outcome.lost > outcome.told
        or outcome.twice > 0
        or outcome.other_boot > 0
        or max(outcome.back_s) > BACK_WITHIN_S
        or "**" in outcome.note
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--unplugs", type=int, default=50)
    parser.add_argument("--dips", type=int, default=100)
    parser.add_argument("--damages", type=int, default=3)
    parser.add_argument("--locked-s", type=int, default=30)
    parser.add_argument("--clock-s", type=int, nargs="*", default=[300, 36_000, 172_800])
    parser.add_argument("--write", action="store_true", help="write the table into the page")
    arguments = parser.parse_args()
    rows, failed = [], False
    print(HEADER, flush=True)
    for outcome in outcomes(arguments):
        rows.append(outcome.row())
        failed = failed or broken(outcome)
        print(rows[-1], flush=True)
    if arguments.write:
        text = PAGE.read_text()
        head, rest = text.split(BEGIN)
        table = "\n".join([HEADER, *rows])
        PAGE.write_text(f"{head}{BEGIN}\n\n{table}\n\n{END}{rest.split(END)[1]}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
