"""Typed dataclasses from decoded TOML or JSON, and back.

The daemon's configuration, a bundle's manifest and a training recipe are all read here: an unknown
key, a missing key or a value of the wrong type is an error that names the key.

A field whose key in the file has another name states it in its metadata:
`preprocessing: Preprocessing = field(metadata={FILE_KEY: "recipe"})`. A field that an older ccnvr
does not know is left out of the file while it is empty, by the metadata `OMITTED_IF_EMPTY: True`.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_Convert = Callable[[Any, str], Any]

FILE_KEY = "file_key"
OMITTED_IF_EMPTY = "omitted_if_empty"

_LARGEST_WHOLE = 2**63 - 1

_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


class StructureError(ValueError):
    """The error for a value that does not fit the structure; the message names its key."""


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise a ValueError unless a value lies in its range, ends included."""
    if not low <= value <= high:
        raise ValueError(f"{name} = {value} is outside {low} to {high}")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise a ValueError unless a value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} = {value!r} is not one of {', '.join(choices)}")


def build(cls: type[T], data: object, where: str = "") -> T:
    """Return an instance of the dataclass `cls` built from a mapping.

    Fields may be str, int, float, bool, another dataclass (from a mapping, or an instance),
    `tuple[X, ...]`, `dict[str, X]`, `X | None`, or Any. `where` is the key of `data` in the file.

    Raises:
        StructureError: a key is unknown or missing, or its value has the wrong type.
    """
    if not isinstance(data, Mapping):
        raise StructureError(f"{where or 'the file'} must be a table of keys, not {data!r:.60}")
    fields = _structure(cls)  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            # An unknown key is an error and not ignored: a misspelt setting would silently do
            # nothing.
            # Imported only here, as it is needed for errors only.
            from difflib import get_close_matches

            near = get_close_matches(str(key), fields, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(fields)}"
            raise StructureError(f"unknown key {_join(where, key)!r}; {hint}")
    values = {}
    for key, field in fields.items():
        if key in data:
            values[field.name] = field.convert(data[key], _join(where, key))
        elif field.is_required:
            raise StructureError(f"key {_join(where, key)!r} is missing; add it")
    try:
        return cls(**values)
    except ValueError as error:
        raise StructureError(f"{where}: {error}" if where else str(error)) from error


def to_data(value: Any) -> Any:
    """Return what `build` reads: dataclasses as dictionaries by the keys of the file."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            _key(field): to_data(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if getattr(value, field.name) or not field.metadata.get(OMITTED_IF_EMPTY)
        }
    if isinstance(value, Mapping):
        return {key: to_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_data(item) for item in value]
    return value


class _TypedField(NamedTuple):
    """A field of a dataclass: its attribute, and how a value of a file becomes its own."""

    name: str
    convert: _Convert
    is_required: bool


# The text of each hint is evaluated, which takes longer than the value does.
@cache
def _structure(cls: Any) -> dict[str, _TypedField]:
    """Return a dataclass's fields by their keys in the file."""
    hints, missing = get_type_hints(cls), dataclasses.MISSING
    return {
        _key(field): _TypedField(
            field.name,
            _converter(hints[field.name]),
            field.default is missing and field.default_factory is missing,
        )
        for field in dataclasses.fields(cls)
    }


def _key(field: dataclasses.Field[Any]) -> str:
    """Return the key in the file of a dataclass field."""
    return str(field.metadata.get(FILE_KEY, field.name))


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


# A hint is taken apart once and not for each value: the manifests of a family have thousands.
@cache
def _converter(hint: Any) -> _Convert:
    """Return the function from a value, and its key, to a value of the type of a hint.

    It raises a `StructureError` for a value of another type.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    scalar = partial(_convert_scalar, hint)
    if hint is Any:
        return lambda value, where: value
    if hint is str:
        return lambda value, where: value if type(value) is str else scalar(value, where)
    if hint is float:
        return _convert_float
    if origin in (Union, types.UnionType):
        return _union([one for one in arguments if one is not type(None)])
    if origin is tuple:
        return _list_of(_converter(arguments[0]), scalar)
    if origin is dict:
        return _table_of(_converter(arguments[1]), scalar)
    if dataclasses.is_dataclass(hint):
        return lambda value, where: (
            value if isinstance(value, hint) else build(hint, value, where)  # type: ignore[arg-type]
        )
    return scalar


def _list_of(item: _Convert, otherwise: _Convert) -> _Convert:
    def convert(value: Any, where: str) -> Any:
        if isinstance(value, (list, tuple)):
            return tuple(item(one, f"{where}[{index}]") for index, one in enumerate(value))
        return otherwise(value, where)

    return convert


def _table_of(item: _Convert, otherwise: _Convert) -> _Convert:
    def convert(value: Any, where: str) -> Any:
        if isinstance(value, Mapping):
            return {str(key): item(one, _join(where, key)) for key, one in value.items()}
        return otherwise(value, where)

    return convert


def _union(hints: list[Any]) -> _Convert:
    """Return the function that gives None, or the value as the first type that fits.

    If none does, the last one's error is raised.
    """
    *first, last = map(_converter, hints)
    # No other type takes these, so that most numbers of a card need no type to fail first.
    plain = {str, float}.intersection(hints)

    def convert(value: Any, where: str) -> Any:
        if value is None:
            return None
        kind = type(value)
        if kind in plain and (kind is str or math.isfinite(value)):
            return value
        for one in first:
            try:
                return one(value, where)
            except StructureError:
                continue
        return last(value, where)

    return convert


def _convert_float(value: Any, where: str) -> Any:
    if type(value) is float and math.isfinite(value):
        return value
    return _convert_scalar(float, value, where)


def _convert_scalar(hint: Any, value: object, where: str) -> Any:
    # Python's integers have no limit, but NumPy's and SQLite's have.
    if isinstance(value, int) and not -_LARGEST_WHOLE <= value <= _LARGEST_WHOLE:
        raise StructureError(f"{where!r} is too large a number; {_LARGEST_WHOLE} is the largest")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    # bool is a subclass of int, yet `true` is never meant as a number.
    if (
        not isinstance(hint, type)
        or not isinstance(value, hint)
        or (hint is int and isinstance(value, bool))
    ):
        wanted = _NAMES.get(hint, "a list" if get_origin(hint) is tuple else "a table")
        raise StructureError(f"{where!r} is {value!r:.60} and must be {wanted}")
    if isinstance(value, float) and not math.isfinite(value):
        raise StructureError(f"{where!r} is {value} and must be a finite number")
    return value
