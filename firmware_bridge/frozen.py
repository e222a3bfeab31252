"""Frozen dataclasses that are cheap to define.

The decorator of the standard library writes the source of six methods for each class and compiles
it, every time the class is imported. For the hundred classes of a daemon that took more
instructions than importing onnxruntime; here the methods are closures over the names of the fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, FrozenInstanceError
from typing import Any, NoReturn, TypeVar, dataclass_transform, overload

C = TypeVar("C", bound=type)

_NAMES = "__frozen_fields__"
"""The attribute of a class with the names of its fields."""


@overload
def frozen(cls: C) -> C: ...
@overload
def frozen(*, eq: bool = True, kw_only: bool = False) -> Callable[[C], C]: ...


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def frozen(cls: C | None = None, *, eq: bool = True, kw_only: bool = False) -> C | Callable[[C], C]:
    """Make a class what `dataclasses.dataclass(frozen=True)` makes it, without compiling source.

    `fields`, `replace`, `asdict` and `field` of the standard library work with it, `default` and
    `default_factory` included; the other options of `field` and of the decorator do not.

    Args:
        cls: the class; None where the decorator has arguments.
        eq: whether instances are equal, and have the same hash, if their fields are; without, only
            the same instance is equal, as suits classes that hold arrays.
        kw_only: whether fields can only be given by their names.
    """
    if cls is None:
        return lambda cls: _frozen(cls, eq, kw_only)
    return _frozen(cls, eq, kw_only)


def _frozen(cls: C, eq: bool, kw_only: bool) -> C:
    # It collects the fields, those of base classes included, and writes no method.
    dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
    fields = dataclasses.fields(cls)
    if not all(field.init and field.repr and field.compare for field in fields):
        raise TypeError(f"a field of {cls.__name__} has an option that frozen does not support")
    names = tuple(field.name for field in fields)
    methods = {
        "__init__": _initialiser(cls, names),
        "__repr__": _repr,
        "__setattr__": _refuse_to_set,
        "__delattr__": _refuse_to_delete,
        _NAMES: names,
    }
    if eq:
        methods |= {"__eq__": _equal, "__hash__": _hash}
    for name, method in methods.items():
        # Methods that the class itself defines stay, as with the standard library's decorator.
        if vars(cls).get(name) is None:
            setattr(cls, name, method)
    return cls


def _initialiser(cls: type, names: tuple[str, ...]) -> Callable[..., None]:
    """Return the `__init__` of a class with these fields."""
    fields, known, put = dataclasses.fields(cls), set(names), object.__setattr__
    positional = -1 if any(field.kw_only for field in fields) else len(names)
    checks = hasattr(cls, "__post_init__")
    defaults = tuple((field.name, field.default) for field in fields)
    # Behind this many values, each field has a default that needs no call.
    least = max((n for n, one in enumerate(defaults, 1) if one[1] is MISSING), default=0)

    def initialise(self: Any, *values: Any, **named: Any) -> None:
        items: Iterable[tuple[str, Any]]
        # The first two are most calls, and storing a scan takes dozens of them.
        if not named and least <= len(values) <= positional:
            items = zip(names, values, strict=False)
            if len(values) < positional:
                items = (*items, *defaults[len(values) :])
        elif not values and named.keys() == known:
            items = named.items()
        else:
            items = _complete(type(self).__name__, fields, values, named)
        for name, value in items:
            put(self, name, value)
        if checks:
            self.__post_init__()

    return initialise


def _complete(
    cls: str,
    fields: tuple[dataclasses.Field[Any], ...],
    values: tuple[Any, ...],
    named: Mapping[str, Any],
) -> Iterator[tuple[str, Any]]:
    """Yield name and value of each field, from the arguments of a call or from its default.

    Raises:
        TypeError: an argument is missing, unknown or given twice, or there are too many.
    """
    first = [field.name for field in fields if not field.kw_only][: len(values)]
    if len(values) > len(first):
        raise TypeError(f"{cls}() takes {len(first)} values without names and not {len(values)}")
    yield from zip(first, values, strict=True)
    left = [field for field in fields if field.name not in first]
    for name in named.keys() - {field.name for field in left}:
        raise TypeError(f"{cls}() got an unknown argument {name!r}, or two values of it")
    for field in left:
        if field.name in named:
            yield field.name, named[field.name]
        elif field.default is not MISSING:
            yield field.name, field.default
        elif field.default_factory is not MISSING:
            yield field.name, field.default_factory()
        else:
            raise TypeError(f"{cls}() lacks the argument {field.name!r}")


def _values(instance: Any) -> tuple[Any, ...]:
    return tuple(getattr(instance, name) for name in getattr(instance, _NAMES))


def _repr(self: Any) -> str:
    shown = (f"{name}={getattr(self, name)!r}" for name in getattr(self, _NAMES))
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _equal(self: Any, other: object) -> Any:
    # The same class, and not a subclass, as with the standard library's decorator.
    if other.__class__ is not self.__class__:
        return NotImplemented
    return _values(self) == _values(other)


def _hash(self: Any) -> int:
    return hash(_values(self))


def _refuse_to_set(self: Any, name: str, value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
