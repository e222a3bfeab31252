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
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

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
    hints, fields = _structure(cls)  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            # An unknown key is an error and not ignored: a misspelt setting would silently do
            # nothing.
            near = get_close_matches(str(key), fields, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(fields)}"
            raise StructureError(f"unknown key {_join(where, key)!r}; {hint}")
    values = {}
    for key, field in fields.items():
        if key in data:
            values[field.name] = _convert(hints[field.name], data[key], _join(where, key))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
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


# The text of each hint is evaluated, which takes longer than the value does.
@cache
def _structure(cls: Any) -> tuple[dict[str, Any], dict[str, dataclasses.Field[Any]]]:
    """Return a dataclass's types by attribute, and its fields by their keys in the file."""
    return get_type_hints(cls), {_key(field): field for field in dataclasses.fields(cls)}


@cache
def _origin_and_arguments(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(hint), get_args(hint)


def _key(field: dataclasses.Field[Any]) -> str:
    """Return the key in the file of a dataclass field."""
    return str(field.metadata.get(FILE_KEY, field.name))


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _convert(hint: Any, value: object, where: str) -> Any:
    if _is_plainly(hint, value):
        return value
    origin, arguments = _origin_and_arguments(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(
            [argument for argument in arguments if argument is not type(None)], value, where
        )
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(
            _convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value)
        )
    if origin is dict and isinstance(value, Mapping):
        return {
            str(key): _convert(arguments[1], item, _join(where, key)) for key, item in value.items()
        }
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):  # type: ignore[arg-type]
            return value
        return build(hint, value, where)  # type: ignore[arg-type]
    return _convert_scalar(hint, value, where)


def _is_plainly(hint: Any, value: Any) -> bool:
    """Return whether a value is a text or a finite number and of its type, as most are.

    A daemon reads the manifests of a whole family at its start, so these take the short way.
    """
    return type(value) is hint and (hint is str or (hint is float and math.isfinite(value)))


def _convert_union(hints: list[Any], value: object, where: str) -> Any:
    """Return None, or the value as the first type that fits; the last one's error is raised."""
    if value is None:
        return None
    for hint in hints[:-1]:
        try:
            return _convert(hint, value, where)
        except StructureError:
            continue
    return _convert(hints[-1], value, where)


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
