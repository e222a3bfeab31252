"""Decode short records, as a LoRaWAN or mesh radio carries them, into JSON.

Each record is given as hexadecimal digits; without any, one is read from each line of standard
input. The id is the CRC-32 of the scan id: ccnvr export-data has the ids.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime

from ccnvr.edge.streams import short_record
from ccnvr.firmware_bridge.errors import UsageError

MOST_DIGITS = 1024
"""The longest line that is read; a longer one is no short record, whatever it holds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr decode`."""
    parser.add_argument(
        "records", nargs="*", metavar="HEX", help="a record in hexadecimal (default: stdin)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print each record as a JSON object."""
    for text in arguments.records or _lines():
        print(json.dumps(_decoded(text)))
    return 0


def _lines() -> Iterable[str]:
    while line := sys.stdin.readline(MOST_DIGITS + 2):
        if line.strip():
            yield line


def _decoded(text: str) -> dict[str, object]:
    try:
        record = short_record.decode(bytes.fromhex(text.strip()))
    except ValueError as error:
        raise UsageError(
            f"{ascii(text.strip())[:80]} is not a short record ({error}); give the payload that "
            "the radio received, in hexadecimal digits"
        ) from error
    moment = datetime.fromtimestamp(record.time, UTC)
    return {**asdict(record), "time": moment.isoformat(), "id_crc": f"{record.id_crc:08x}"}
