"""The table of an operator's errors: what the daemon says to each, and the numbers that it shows.

`python -m tools.operator_errors` plays each error and writes the table in docs/operator-errors.md.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from ccnvr.edge.cli import main as ccnvr
from tests.support.operator_errors import ERRORS, Field, row

PAGE = Path(__file__).parents[1] / "docs" / "operator-errors.md"
BEGIN, END = "<!-- made by tools/operator_errors.py -->", "<!-- end -->"
HEAD = (
    "| error | the operator is told | numbers shown | flags | verdict |\n"
    "| --- | --- | --- | --- | --- |"
)


def main() -> None:
    """Play the errors and write the table."""
    with tempfile.TemporaryDirectory() as folder:
        soils = Path(folder) / "soils.csv"
        if ccnvr(["demo", "--spectra", "4", "--save-soils", str(soils)]) != 0:
            raise SystemExit("the soils of the demo could not be written")
        field = Field(Path(folder), soils)
        rows = [row(error, field.play(error)) for error in ERRORS]
    head, _, rest = PAGE.read_text().partition(BEGIN)
    table = "\n".join([HEAD, *rows])
    PAGE.write_text(f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
