"""Damage files of every format and read them: python -m tools.fuzz_files --mutations 10000.

Each mutation must be read into finite numbers or refused in one sentence, without a traceback, in
bounded time and memory.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ccnvr.edge.spectrum_files.messages import cleaned
from ccnvr.edge.spectrum_files.read import read_file
from ccnvr.edge.spectrum_files.spectra_table import QUANTITIES, SpectraTable
from ccnvr.edge.spectrum_files.tables.layout import TableOptions
from ccnvr.firmware_bridge.errors import CcnvrError
from tests.support.file_kinds import KINDS

LONGEST_SECONDS = 5.0
LONGEST_MESSAGE = 500

_PATCHES = [
    b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\0\0\xc0\x7f", b"9999999", b"-1",
    b"1e999", b"nan", b"inf", b"", b"\0", b"\n", b"\r", b",", b";", b"\t", b'"', b"=", b"##",
    b"0", b".", b"\x1b[31m", "é".encode("latin-1"), "µ".encode(), b" ", b"1_0", b"--",
]  # fmt: skip
OPTIONS = [
    TableOptions(),
    TableOptions(axis="nm"),
    TableOptions(axis="wavenumber"),
    TableOptions(axis="um"),
    TableOptions(soils="columns"),
    TableOptions(soils="rows", require_ids=True),
]


def originals() -> dict[str, list[tuple[str, bytes]]]:
    """Return files of each format, by its name: the groups of the kinds."""
    found: dict[str, list[tuple[str, bytes]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            path = Path(folder) / kind.name
            kind.write(path)
            found.setdefault(kind.group, []).append((kind.name, path.read_bytes()))
            path.unlink()
    return found


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return bytes changed, cut out, put in, repeated, swapped or cut off in one to four places."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        # Half of the damage hits the head, where the lengths and the names are.
        end = min(600, len(changed)) if rng.random() < 0.5 else len(changed)
        at = rng.randint(0, end)
        kind = rng.randrange(6)
        patch = rng.choice(_PATCHES) if rng.random() < 0.7 else rng.randbytes(rng.randint(1, 4))
        if kind == 0:
            changed[at : at + len(patch)] = patch
        elif kind == 1:
            changed[at:at] = patch
        elif kind == 2:
            del changed[at : at + rng.randint(1, 600)]
        elif kind == 3:
            del changed[at:]
        elif kind == 4:
            changed[at:at] = changed[at : at + rng.randint(1, 300)]
        else:
            other, size = rng.randint(0, len(changed)), rng.randint(1, 40)
            changed[at : at + size] = changed[other : other + size]
    return bytes(changed)


def damaged_inside(data: bytes, rng: random.Random) -> bytes:
    """Return a workbook with one of its parts damaged, so that it still unpacks."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as new:
        names = archive.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = archive.read(name)
            new.writestr(name, damaged(content, rng) if name == chosen else content)
    return out.getvalue()


def fault(path: Path, options: TableOptions) -> str | None:
    """Return what is wrong with how a file was read, None if nothing."""
    start = time.monotonic()
    try:
        faults = [_fault_of(table) for table in read_file(path, options)]
    except CcnvrError as error:
        faults = [_bad_message(str(error))]
    except Exception as error:  # the fault that is looked for
        faults = [f"{type(error).__name__}: {error}"]
    if time.monotonic() - start > LONGEST_SECONDS:
        faults.append(f"{time.monotonic() - start:.1f} s")
    return next(filter(None, faults), None)


def _fault_of(table: SpectraTable) -> str | None:
    if not np.all(np.isfinite(table.wavelengths_nm)) or np.any(np.isinf(table.spectra)):
        return "a number that is not finite"
    if not np.all(np.diff(table.wavelengths_nm) > 0.0):
        return "wavelengths that do not increase"
    if table.spectra.shape != (len(table.sample_ids), table.wavelengths_nm.size):
        return "spectra of another shape"
    for quantity in QUANTITIES:
        try:
            values = table.reflectance(table.quantity or quantity)
        except CcnvrError as error:
            if found := _bad_message(cleaned(str(error))):
                return found
        else:
            if not np.all((values > 0.0) & np.isfinite(values)):
                return "reflectance that is no positive number"
    return None


def _bad_message(message: str) -> str | None:
    if len(message) > LONGEST_MESSAGE:
        return f"a message of {len(message)} characters"
    return None if message.isprintable() else f"control characters in {message!r}"


def mutations(
    count: int, seed: int, folder: Path, only: str | None = None
) -> Iterator[tuple[str, Path, str | None]]:
    """Damage so many files of each format, or of one; give the format, the file and its fault."""
    rng = random.Random(seed)
    for group, files in originals().items():
        if only not in (None, group):
            continue
        for _ in range(count):
            name, data = rng.choice(files)
            inside = name.endswith(".xlsx") and rng.random() < 0.7
            path = folder / name
            path.write_bytes(damaged_inside(data, rng) if inside else damaged(data, rng))
            yield group, path, fault(path, rng.choice(OPTIONS))


def main() -> int:
    """Run the mutations; return 1 at the first fault, whose file is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=1_000, help="of each format (1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one format, by its heading in docs/files.md")
    arguments = parser.parse_args()
    done: dict[str, int] = {}
    folder = Path(tempfile.mkdtemp(prefix="ccnvr-fuzz-"))
    for group, path, found in mutations(
        arguments.mutations, arguments.seed, folder, arguments.only
    ):
        done[group] = done.get(group, 0) + 1
        if found is not None:
            print(f"{group}: {found}; the file is {path}", file=sys.stderr)
            return 1
    for group, count in done.items():
        print(f"{group}: {count} mutations without a fault")
    return 0


if __name__ == "__main__":
    sys.exit(main())
