"""Write the tables of the default models from the bundles: `python -m tools.family_page`.

They stand in docs/default-family.md and, shorter, in the README. The table of instruments says, for
the bands of each driver's simulator, which model serves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp

from ccnvr.edge.bundle import family
from ccnvr.edge.bundle.family import FamilyMember
from ccnvr.edge.chemometrics.grid import WavelengthError
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.connect.registry import DRIVERS
from ccnvr.firmware_bridge.connect.sim_url import simulate
from tools.family import MODELS, ROOT

README, PAGE = ROOT / "README.md", ROOT / "docs" / "default-family.md"
BEGIN, END = "<!-- made by tools/family_page.py: {} -->", "<!-- end -->"


def members_table() -> Iterator[str]:
    """Yield a table of the family, with a row for each model."""
    names = _properties()
    yield f"| model | needs | for | soils | kB | {' | '.join(names)} |"
    yield "|---" * (5 + len(names)) + "|"
    for member in family.members():
        card = member.manifest.card
        soils = sum(card.soils["trained_on"].values())
        size = (MODELS / f"{member.name}.ccnvr").stat().st_size / 1e3
        cells = " | ".join(_cell(member, name) for name in names)
        yield (
            f"| `{member.name}` | {member.needs} | {member.instruments} | {soils:,} | {size:.0f} | "
            f"{cells} |"
        )


def summary_table() -> Iterator[str]:
    """Yield a table of R2 alone."""
    names = _properties()
    yield f"| model | for | {' | '.join(names)} |"
    yield "|---" * (2 + len(names)) + "|"
    for member in family.members():
        cells = " | ".join(_r2(member, name) for name in names)
        yield f"| `{member.name}` | {member.instruments} | {cells} |"


def instruments_table() -> Iterator[str]:
    """Yield a table of the drivers' simulators, with the model that serves each."""
    names = _properties()
    yield f"| driver | bands of its simulator | model | {' | '.join(names)} |"
    yield "|---" * (3 + len(names)) + "|"
    for driver in DRIVERS.values():
        nm = simulate(driver).bench.wavelengths_nm
        bands = f"{nm.size} of {nm[0]:.0f}-{nm[-1]:.0f} nm"
        try:
            member = family.choose(nm)
        except WavelengthError:
            yield f"| `{driver.name}` | {bands} | none | {' | '.join('-' for _ in names)} |"
            continue
        cells = " | ".join(_cell(member, name) for name in names)
        yield f"| `{driver.name}` | {bands} | `{member.name}` | {cells} |"


def left_out() -> Iterator[str]:
    """Yield what each model leaves out, and why."""
    for member in family.members():
        stated = member.manifest.card.training.get("left_out", {})
        for name, reason in stated.items():
            yield f"- `{member.name}` does not predict {name}: {reason}."


def _properties() -> list[str]:
    return list(
        dict.fromkeys(
            target.name for member in family.members() for target in member.manifest.targets
        )
    )


def _cell(member: FamilyMember, name: str) -> str:
    """Return R2 in places held out, and the half width of the interval for new places."""
    target = next((each for each in member.manifest.targets if each.name == name), None)
    if target is None:
        return "-"
    return f"{_r2(member, name)} {_width(target)}".strip()


def _r2(member: FamilyMember, name: str) -> str:
    return f".{round(100 * member.r2[name]):02d}" if name in member.r2 else "-"


def _width(target: Target) -> str:
    half = target.half_width_90_new_places or target.half_width_90
    if half is None:
        return ""
    # An interval of a logarithm is a factor.
    width = half * target.sd
    return f"×{exp(width):.1f}" if target.transform == "log1p" else f"±{width:.2g}"


TABLES = {
    "summary": summary_table,
    "models": members_table,
    "instruments": instruments_table,
    "left out": left_out,
}


def made_anew(text: str) -> str:
    """Return a page with those of the tables made anew that it has."""
    for name, table in TABLES.items():
        begin = BEGIN.format(name)
        if begin in text:
            head, rest = text.split(begin)
            text = f"{head}{begin}\n{chr(10).join(table())}\n{END}{rest.split(END, 1)[1]}"
    return text


def main() -> None:
    for page in (README, PAGE):
        page.write_text(made_anew(page.read_text()))


if __name__ == "__main__":
    main()
