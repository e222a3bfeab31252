"""Write every file that follows from `link.toml`, or say which of them are out of date.

Run it as `python -m ccnvr.firmware_bridge.schema.generate`, with --check to write nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ccnvr.firmware_bridge.schema import (
    golden,
    write_c,
    write_c_vectors,
    write_python,
    write_specification,
)
from ccnvr.firmware_bridge.schema.schema import Schema, load

FOLDER = Path(__file__).parents[1]


def generated(schema: Schema) -> dict[Path, str]:
    """Return each generated file and the text that belongs in it."""
    # This file is generated only in part: the prose stays, and the tables are replaced.
    specification = FOLDER / "PROTOCOL.md"
    return {
        FOLDER / "link_constants.py": write_python.constants(schema),
        FOLDER / "link" / "messages.py": write_python.messages(schema),
        FOLDER / "vectors.json": golden.text(schema),
        FOLDER / "c" / "ccnvr_messages.h": write_c.header(schema),
        FOLDER / "c" / "ccnvr_messages.c": write_c.source(schema),
        FOLDER / "c" / "test_vectors.h": write_c_vectors.header(schema),
        specification: write_specification.specification(schema, specification.read_text("utf-8")),
    }


def main() -> int:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a file is out of date"
    )
    check = parser.parse_args().check
    # Compared as text and not by time stamps, which a checkout does not keep.
    stale = {
        path: text
        for path, text in generated(load()).items()
        if not path.exists() or path.read_text("utf-8") != text
    }
    for path, text in stale.items():
        print(
            f"{path.relative_to(FOLDER)} "
            f"{'is out of date: run make generate' if check else 'written'}"
        )
        if not check:
            path.write_text(text, encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
