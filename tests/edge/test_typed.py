"""Typed dataclasses from decoded files and back, with keys of other names."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from ccnvr.edge.typed import FILE_KEY, StructureError, build, to_data


@dataclass(frozen=True)
class Inner:
    size: int = field(metadata={FILE_KEY: "bytes"})


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(metadata={FILE_KEY: "old name"})
    others: dict[str, Inner] = field(default_factory=dict)
    pairs: tuple[tuple[float, ...], ...] = ()
    note: str | None = None


DATA = {
    "old name": {"bytes": 1},
    "others": {"a": {"bytes": 2}},
    "pairs": [[1.0, 2.5]],
    "note": None,
}


def test_fields_are_read_and_written_under_the_key_of_the_file() -> None:
    built = build(Outer, DATA)
    assert built == Outer(Inner(1), {"a": Inner(2)}, ((1.0, 2.5),))
    assert to_data(built) == DATA
    assert list(to_data(built)) == list(DATA)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "key 'old name' is missing"),
        ({"inner": {"bytes": 1}}, "unknown key 'inner'"),
        ({"old name": {"size": 1}}, "unknown key 'old name.size'"),
        ({"old name": {"bytes": "x"}}, "'old name.bytes' is 'x' and must be a whole number"),
    ],
)
def test_errors_name_the_key_of_the_file(data: object, words: str) -> None:
    with pytest.raises(StructureError, match=words):
        build(Outer, data)
