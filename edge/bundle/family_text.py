"""The family of default bundles as lines of text, and as data for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ccnvr.edge.bundle import family


def family_lines() -> Iterator[str]:
    """Yield a table of the family: range, R2 in places held out, and instruments."""
    members = family.members()
    names = list(dict.fromkeys(name for member in members for name in _properties(member)))
    yield f"{'model':<12}" + "".join(f"{name:>7}" for name in names) + "  needs; for"
    for member in members:
        cells = "".join(f"{_cell(member, name):>7}" for name in names)
        instruments = f"; {member.instruments}" if member.instruments else ""
        yield f"{member.name:<12}{cells}  {member.needs}{instruments}"
    yield ""
    yield "R2 is that in countries and libraries left out of the training (of OC, N and CEC on a"
    yield "logarithm); - is not predicted, ? is not known"
    yield "'default' takes the largest sum of R2 among the models whose bands an instrument has"
    yield f"ccnvr inspect {members[0].source} describes one of them"


def family_as_data() -> list[dict[str, Any]]:
    """Return the family for JSON."""
    return [
        {
            "name": member.name,
            "needs": member.needs,
            "instruments": member.instruments,
            "properties": list(_properties(member)),
            "r2": member.r2,
        }
        for member in family.members()
    ]


def _properties(member: family.FamilyMember) -> tuple[str, ...]:
    return tuple(target.name for target in member.manifest.targets)


def _cell(member: family.FamilyMember, name: str) -> str:
    if name not in _properties(member):
        return "-"
    return f"{member.r2[name]:.2f}" if name in member.r2 else "?"
