"""Frozen dataclasses behave as those of the standard library."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, ClassVar

import pytest

from ccnvr.firmware_bridge.frozen import frozen


@frozen
class Soil:
    """A class with each kind of field."""

    name: str
    sand: float = 30.0
    tags: list[str] = field(default_factory=list)
    KIND: ClassVar[str] = "soil"

    def __post_init__(self) -> None:
        if self.sand > 100.0:
            raise ValueError("too much sand")

    @property
    def rest(self) -> float:
        """What is not sand."""
        return 100.0 - self.sand


@frozen
class DeepSoil(Soil):
    """A class with a base."""

    depth: int = 10


@frozen(eq=False)
class Distinct:
    """A class whose instances equal only themselves."""

    value: int


@frozen(kw_only=True)
class Named:
    """A class whose fields are given by name."""

    low: int
    high: int = 9


# The same by the standard library, to compare with.
@dataclass(frozen=True)
class Plain:
    """`DeepSoil` without methods."""

    name: str
    sand: float = 30.0
    tags: list[str] = field(default_factory=list)
    depth: int = 10


def test_values_come_from_arguments_and_defaults() -> None:
    soil = DeepSoil("a", 1.0, ["x"], 5)
    assert (soil.name, soil.sand, soil.tags, soil.depth, soil.rest) == ("a", 1.0, ["x"], 5, 99.0)
    assert DeepSoil(name="a", depth=5, tags=["x"], sand=1.0) == soil
    first, second = Soil("a"), Soil("a")
    assert first == second and first.tags is not second.tags


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), (("a",), {"name": "b"}), (("a",), {"grit": 1}), (("a", 1.0, [], 5, 6), {})],
)
def test_wrong_arguments_are_refused(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"DeepSoil\(\)"):
        DeepSoil(*values, **named)
    with pytest.raises(TypeError):
        Plain(*values, **named)


def test_fields_may_be_given_by_name_only() -> None:
    assert Named(low=1) == Named(high=9, low=1) != Named(low=2)
    assert repr(Named(low=1)) == "Named(low=1, high=9)"
    for wrong in ((1,), (1, 2)):
        with pytest.raises(TypeError, match="without names"):
            Named(*wrong)  # type: ignore[call-arg]


def test_instances_compare_and_print_as_those_of_the_standard_library() -> None:
    ours, plain = DeepSoil("a"), Plain("a")
    other: object = plain
    assert repr(ours) == repr(plain).replace("Plain", "DeepSoil")
    assert ours != Soil("a") and ours != DeepSoil("b") and ours != other
    with pytest.raises(TypeError):
        hash(ours)  # a list in it has no hash
    assert hash(DeepSoil("a", tags=())) == hash(Plain("a", tags=()))  # type: ignore[arg-type]
    one, two = Distinct(1), Distinct(1)
    assert one != two and len({one, two}) == 2


def test_nothing_can_be_set() -> None:
    soil = Soil("a")
    with pytest.raises(FrozenInstanceError):
        soil.name = "b"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del soil.name
    with pytest.raises(FrozenInstanceError):
        soil.depth = 3  # type: ignore[attr-defined]


def test_the_tools_of_dataclasses_work() -> None:
    soil = DeepSoil("a", depth=7)
    assert [one.name for one in dataclasses.fields(soil)] == ["name", "sand", "tags", "depth"]
    assert dataclasses.asdict(soil) == {"name": "a", "sand": 30.0, "tags": [], "depth": 7}
    assert dataclasses.replace(soil, sand=4.0).sand == 4.0
    with pytest.raises(ValueError, match="too much"):
        dataclasses.replace(soil, sand=101.0)
    again = copy.deepcopy(soil)
    assert again == soil and again is not soil
    match soil:
        case DeepSoil(name, sand):
            assert (name, sand) == ("a", 30.0)


@pytest.mark.parametrize("option", ["init", "repr", "compare"])
def test_an_option_that_would_be_ignored_is_refused(option: str) -> None:
    with pytest.raises(TypeError, match="a field of Login has an option"):

        @frozen
        class Login:
            """A class that hides its password in prints."""

            password: str = field(default="", **{option: False})  # type: ignore[call-overload, misc]
