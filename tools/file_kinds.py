"""Write docs/files.md: the kinds of files that are read, and what becomes of each."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from ccnvr.edge.batch.predict_files import FilePredictions
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.spectrum_files.tables.layout import TableOptions
from ccnvr.firmware_bridge.errors import CcnvrError
from tests.support.file_kinds import KINDS
from tests.support.helpers import NETWORK_BUNDLE

PAGE = Path(__file__).parents[1] / "docs" / "files.md"

_HEAD = """# Files of spectra

What `ccnvr predict` and `ccnvr convert` make of each kind of file. This page is written by
`python -m tools.file_kinds` from the files that the tests make, so it says what the program does.

A file is read if it can mean one thing only. Where it can mean several, it is refused, and the
message names the option that decides: `--axis` (nm, um, wavenumber), `--quantity` (reflectance,
percent, absorbance), `--id` (the column of the soils' names), `--soils` (rows, columns) or
`--sheet`. `ccnvr predict --explain FILE` shows how a file is understood, and `ccnvr convert FILE
--out soils.csv` writes it as the plain table that every command reads.

In a folder, files without spectra are passed over and named. One bad file does not stop the others:
it is left out, listed, and the exit code is 1.
"""


@dataclass(frozen=True)
class Outcome:
    """The first soil's values, what was said beside, and the refusal, empty if there was none."""

    values: list[float]
    notes: list[str]
    refusal: str


@cache
def _model() -> ProvedModel:
    # One model of a fixed range, so that the page does not follow the default family.
    return ProvedModel(NETWORK_BUNDLE)


def outcome(path: Path, options: tuple[str, ...]) -> Outcome:
    """Return what becomes of a file."""
    given = dict(zip(options[::2], options[1::2], strict=True))
    tables = TableOptions(given.get("--axis"), sheet=given.get("--sheet"))
    predictions = FilePredictions(_model(), given.get("--quantity"), tables)
    try:
        found = predictions.predict([path], lambda path: None)
    except CcnvrError as error:
        return Outcome([], [], str(error))
    _, prediction = found.rows[0]
    return Outcome([estimate.value for estimate in prediction.values()], list(found.notes), "")


def text() -> str:
    """Return the page."""
    parts = [_HEAD]
    with tempfile.TemporaryDirectory() as folder:
        for group, kinds in groupby(KINDS, lambda kind: kind.group):
            parts.append(f"\n## {group}\n\n| a file with | becomes |\n| --- | --- |\n")
            for kind in kinds:
                path = Path(folder) / kind.name
                kind.write(path)
                found = outcome(path, kind.options)
                said = found.refusal.replace(f"{path}", kind.name)
                said = f"refused: {said}" if said else "; ".join(["read", *found.notes])
                parts.append(f"| {kind.what} | {_escaped(said)} |\n")
                path.unlink()
    return "".join(parts)


def _escaped(said: str) -> str:
    return said.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(text())
