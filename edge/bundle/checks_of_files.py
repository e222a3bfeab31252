"""Checks of the files in a bundle: before anything is unpacked, and of each that is."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Collection

from ccnvr.edge.bundle.manifest import Manifest, Part

# A bundle of three profiles and three formats has 12 files of 2.6 MB in all.
LARGEST_BYTES = 64 << 20
"""The most bytes of a bundle's files."""
_MOST_PARTS = 16
# Parsed JSON takes many times its size in memory; those of such a bundle have 22 and 11 kB.
_LARGEST_JSON_BYTES = 1 << 20


def entries_of(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the directory of a bundle, after checks of all that it states.

    Raises:
        ValueError: there is too much, or something that bundles do not have.
    """
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    if len(entries) > _MOST_PARTS or total > LARGEST_BYTES:
        raise ValueError(
            f"{len(entries)} files of {total} bytes exceed {_MOST_PARTS} files of "
            f"{LARGEST_BYTES} bytes"
        )
    # The sizes are those that the zip's directory states; nothing has been unpacked yet.
    for entry in entries:
        if entry.filename.endswith(".json") and entry.file_size > _LARGEST_JSON_BYTES:
            raise ValueError(
                f"its {entry.filename} of {entry.file_size} bytes exceeds {_LARGEST_JSON_BYTES}"
            )
    if any(
        # bzip2 and LZMA are optional modules of Python, so a bundle with them would not open
        # everywhere.
        entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        for entry in entries
    ):
        raise ValueError("a file in it is compressed in a way that bundles are not")
    by_name = {entry.filename: entry for entry in entries}
    # zipfile would read the last of two, and other programs may show the first.
    if len(by_name) != len(entries):
        raise ValueError("it holds a file name twice")
    return by_name


def check_names(manifest: Manifest, entries: Collection[str]) -> None:
    """Raise a `ValueError` unless a bundle has the files of its manifest and no others."""
    # A file that the manifest does not list has no checksum.
    if set(entries) != set(manifest.parts):
        different = ", ".join(sorted(set(entries) ^ set(manifest.parts)))
        raise ValueError(f"its files and those in its manifest differ in {different}")


def verified(archive: zipfile.ZipFile, name: str, part: Part) -> bytes:
    """Return the content of a file of a bundle, which must be as the manifest describes it.

    Raises:
        ValueError: it is not, or is missing.
    """
    if name not in archive.namelist():
        raise ValueError(f"it holds no {name}")
    # zipfile stops at the size that the directory states, which `entries_of` checks, so a false
    # header cannot make this allocate more.
    content = archive.read(name)
    if Part(len(content), hashlib.sha256(content).hexdigest()) != part:
        raise ValueError(f"{name} does not have the size and the sha256 stated in the manifest")
    return content
