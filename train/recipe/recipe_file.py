"""Training recipes as TOML files: read, checked and written."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from ccnvr.edge.typed import build, to_data
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.sensor import Sensor
from ccnvr.train.recipe.recipe import TrainingRecipe

T = TypeVar("T")


def load(path: Path) -> TrainingRecipe:
    """Read a recipe.

    Raises:
        UsageError: the file is missing, is not TOML, or is not a valid recipe.
    """
    return parse(read(path), path)


def read(path: Path, sensor: Path | None = None) -> str:
    """Return the text of a recipe; the file of a sensor becomes its last table, `[instrument]`.

    Raises:
        UsageError: a file is missing or is not text, or the sensor's is not valid.
    """
    recipe = _text(path, "recipe")
    if sensor is None:
        return recipe
    table = _text(sensor, "instrument")
    # Checked by itself first, so that a fault in it is reported for its own file.
    _parsed(Sensor, table, f"instrument {sensor}")
    # A recipe that has the table already is refused by TOML, which allows it only once.
    return f"{recipe}\n[instrument]\n{table}"


def parse(text: str, path: Path) -> TrainingRecipe:
    """Return the recipe in `text`; errors name the file at `path`.

    Raises:
        UsageError: the text is not TOML, or is not a valid recipe.
    """
    return _parsed(TrainingRecipe, text, f"recipe {path}")


def write(recipe: TrainingRecipe) -> str:
    """Return a recipe as TOML text that `parse` reads as the same recipe."""
    plain, tables = [], []
    for name, value in to_data(recipe).items():
        if isinstance(value, dict):
            tables += [f"\n[{name}]", *_lines(value)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for row in value:
                tables += [f"\n[[{name}]]", *_lines(row)]
        elif value is not None:
            plain += _lines({name: value})
    # In TOML all keys after a table's header belong to that table, so plain keys come first.
    return "\n".join([*plain, *tables, ""])


def _lines(table: dict[str, Any]) -> list[str]:
    return [f"{name} = {_toml(value)}" for name, value in table.items()]


def _toml(value: Any) -> str:
    """Return a value on one line; no key in a recipe's tables needs quotes."""
    if isinstance(value, dict):
        return "{ " + ", ".join(_lines(value)) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    # JSON's escapes are valid in TOML, but TOML also wants DEL escaped and allows no surrogates.
    return (
        json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        if isinstance(value, str)
        else repr(value)
    )


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{what} {path} cannot be read ({error.strerror}); give an existing TOML file"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} {path}: {error}; correct it and start again") from error


def _parsed(cls: type[T], text: str, source: str) -> T:
    try:
        return build(cls, tomllib.loads(text))
    # RecursionError: tomllib recurses into nested brackets without a limit of its own.
    except (ValueError, RecursionError, UsageError) as error:
        raise UsageError(f"{source}: {error}; correct it and start again") from error
