"""Export the samples of a store for other programs; the ending of the file says as what.

.csv is a table in the layout of the Open Soil Spectral Library with reflectance, ready to train on
once it holds the laboratory's values (--laboratory); .geojson and .gpkg are predictions on a map;
.dx is JCAMP-DX with the spectra; .sta.jsonl is OGC SensorThings, one Thing to post on each line. A
daemon may use the store meanwhile.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from ccnvr.edge.atomic_files import check_writable, is_same_file, write_atomically
from ccnvr.edge.commands.daemon.options import add_stored_scans
from ccnvr.edge.history.jcamp_writer import block
from ccnvr.edge.history.ossl_table import LaboratoryValues, write_ossl
from ccnvr.edge.history.places import as_geopackage, write_geojson
from ccnvr.edge.history.sensor_things import write_things
from ccnvr.edge.history.stored_scans import NotComputed, StoredScans
from ccnvr.edge.standard_error import tell
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr export-data`."""
    parser.add_argument("store", type=Path, metavar="STORE", help="the store of ccnvr run")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        required=True,
        help="the file to write: .csv, .geojson, .gpkg, .dx or .sta.jsonl",
    )
    parser.add_argument(
        "--laboratory",
        type=Path,
        metavar="CSV",
        help="values of the laboratory: sample ids in the first column, others such as OC_g_kg",
    )
    add_stored_scans(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the file; return 1 if no sample could be written."""
    out: Path = arguments.out
    kinds: dict[str, Callable[[StoredScans, BinaryIO], int]] = {
        ".csv": lambda scans, stream: _csv(scans, arguments.laboratory, stream),
        ".geojson": _geojson,
        ".gpkg": _geopackage,
        ".dx": _jcamp,
        ".sta.jsonl": _sensor_things,
    }
    write = next((kinds[end] for end in kinds if out.name.lower().endswith(end)), None)
    if write is None:
        raise UsageError(
            f"--out {out} does not say what to write; end its name in {', '.join(kinds)}"
        )
    if arguments.laboratory is not None and out.suffix.lower() != ".csv":
        raise UsageError(f"--laboratory goes into a .csv table, and --out is {out}; leave it out")
    for read in (arguments.store, arguments.laboratory):
        if read is not None and is_same_file(out, read):
            raise UsageError(f"--out {out} is a file that is read; name another")
    check_writable(out)
    with (
        closing(StoredScans(arguments.store, arguments.panel, arguments.instrument)) as scans,
        write_atomically(out) as stream,
    ):
        count = write(scans, stream)
        if scans.left_out:
            tell(scans.report())
        if not count:
            # Inside, so that no empty file replaces what is there.
            raise CcnvrError(f"store {arguments.store} holds no sample that can be exported")
    tell(f"{count} samples were written to {out}")
    return 0


def _csv(scans: StoredScans, laboratory: Path | None, stream: BinaryIO) -> int:
    values = LaboratoryValues.read(laboratory) if laboratory else LaboratoryValues()
    with _text(stream) as text:
        count, measured = write_ossl(scans, values, text)
    if laboratory:
        tell(f"{measured} of {count} samples have values in {laboratory}")
    return count


def _geojson(scans: StoredScans, stream: BinaryIO) -> int:
    with _text(stream) as text:
        return write_geojson(scans, text)


def _geopackage(scans: StoredScans, stream: BinaryIO) -> int:
    content, count = as_geopackage(scans)
    stream.write(content)
    return count


def _sensor_things(scans: StoredScans, stream: BinaryIO) -> int:
    with _text(stream) as text:
        return write_things((scan.record for scan in scans), text)


def _jcamp(scans: StoredScans, stream: BinaryIO) -> int:
    count = 0
    # Several spectra of one file are blocks within one that states their number first.
    with tempfile.TemporaryFile() as blocks:
        for scan in scans:
            try:
                text = block(scan, scan.reflectance())
            except NotComputed as reason:
                scans.leave_out(str(reason))
                continue
            blocks.write(f"{text}\n".encode("latin-1", "replace"))
            count += 1
        blocks.seek(0)
        if count == 1:
            shutil.copyfileobj(blocks, stream)
        else:
            head = f"##TITLE=ccnvr\n##JCAMP-DX=4.24\n##DATA TYPE=LINK\n##BLOCKS={count}\n"
            stream.write(head.encode())
            shutil.copyfileobj(blocks, stream)
            stream.write(b"##END=\n")
    return count


@contextmanager
def _text(stream: BinaryIO) -> Iterator[TextIO]:
    """Give a text stream over a binary one, which stays open."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    try:
        yield text
    finally:
        text.flush()
        text.detach()
