"""Records read from single pages of a SQLite file, without its trees.

After damage, SQLite reaches a record only if every page above it is whole. A leaf page alone holds
all that is needed to read its records (https://www.sqlite.org/fileformat2.html, section 1.6 and 2).
A record found in this way may be stale or nonsense, so the caller must check it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

Value = int | float | str | bytes | None
Row = tuple[Value, ...]
FetchPage = Callable[[int], bytes | None]
"""A function that returns the page of a number, or None if there is none."""

_TABLE_LEAF = 13
_FILE_HEADER = 100
LARGEST_RECORD = 16 << 20
"""The largest record in bytes that is read; it bounds what a damaged length can ask for."""

# By serial type; the format has no integers of 5 or 7 bytes.
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def leaf_rows(page: bytes, number: int, fetch: FetchPage) -> Iterator[tuple[int, Row]]:
    """Yield the row id and the values of each record that a page holds; none if it is no leaf.

    Args:
        page: the page.
        number: its number in the file, from 1; page 1 begins with the file's header.
        fetch: returns the pages on which long records continue.
    """
    start = _FILE_HEADER if number == 1 else 0
    if page[start] != _TABLE_LEAF:
        return
    (cells,) = struct.unpack_from(">H", page, start + 3)
    # A damaged page may state any number of cells, but each takes 4 bytes or more with its pointer.
    for index in range(min(cells, len(page) // 4)):
        try:
            (offset,) = struct.unpack_from(">H", page, start + 8 + 2 * index)
            yield _read_cell(page, offset, fetch)
        except (ValueError, IndexError, struct.error):
            continue  # this cell is damaged; the next ones need not be


def _read_cell(page: bytes, offset: int, fetch: FetchPage) -> tuple[int, Row]:
    length, offset = _varint(page, offset)
    row_id, offset = _varint(page, offset)
    if length > LARGEST_RECORD:
        raise ValueError("the record is too long")
    usable = len(page)
    local = _local_bytes(length, usable)
    payload = bytearray(page[offset : offset + local])
    if local < length:
        (following,) = struct.unpack_from(">I", page, offset + local)
        # Each page adds to the payload, so that a chain that runs in a circle ends as well.
        while len(payload) < length:
            overflow = fetch(following)
            if overflow is None:
                raise ValueError("a page of the record is missing")
            (following,) = struct.unpack_from(">I", overflow)
            payload += overflow[4 : 4 + min(usable - 4, length - len(payload))]
    if len(payload) != length:
        raise ValueError("the record is cut short")
    return row_id, _read_record(bytes(payload))


def _local_bytes(length: int, usable: int) -> int:
    """Return how many bytes of a record a table's leaf page holds itself."""
    # These constants are those of the file format, section 1.6.
    most, least = usable - 35, (usable - 12) * 32 // 255 - 23
    if length <= most:
        return length
    fitting = least + (length - least) % (usable - 4)
    return fitting if fitting <= most else least


def _read_record(payload: bytes) -> Row:
    header, offset = _varint(payload, 0)
    if header > len(payload):
        raise ValueError("the record's header is longer than the record")
    types = []
    while offset < header:
        serial, offset = _varint(payload, offset)
        types.append(serial)
    values, position = [], header
    for serial in types:
        value, position = _read_value(payload, position, serial)
        values.append(value)
    return tuple(values)


def _read_value(payload: bytes, position: int, serial: int) -> tuple[Value, int]:
    if serial in (0, 8, 9):
        return {0: None, 8: 0, 9: 1}[serial], position
    if serial in _INTEGER_BYTES:
        size = _INTEGER_BYTES[serial]
    elif serial == 7:
        size = 8
    elif serial >= 12:
        size = (serial - 12) // 2
    else:
        raise ValueError(f"serial type {serial} is reserved")
    data = payload[position : position + size]
    if len(data) != size:
        raise ValueError("the record is cut short")
    position += size
    if serial == 7:
        return struct.unpack(">d", data)[0], position
    if serial < 7:
        return int.from_bytes(data, "big", signed=True), position
    return (data.decode("utf-8") if serial % 2 else data), position


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    """Return a variable-length integer and the offset behind it."""
    value = 0
    for index in range(8):
        byte = data[offset + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + index + 1
    # The ninth byte contributes all of its 8 bits.
    return value << 8 | data[offset + 8], offset + 9
