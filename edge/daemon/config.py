"""The daemon's configuration: a TOML file, checked whole before anything starts."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ccnvr.edge.engines.registry import AUTO, ENGINES
from ccnvr.edge.network.layout import PROFILES
from ccnvr.edge.typed import StructureError, build
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.instrument import Settings


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} = {value} is outside {low} to {high}")


def _one_of(name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} = {value!r} is not one of {', '.join(choices)}")


@dataclass(frozen=True)
class InstrumentConfig:
    """Which instrument, and how it scans; `integration_us` is in microseconds."""

    url: str
    integration_us: int = 10_000
    averages: int = 16

    def __post_init__(self) -> None:
        _within("integration_us", self.integration_us, 1, 60_000_000)
        _within("averages", self.averages, 1, 10_000)

    @property
    def settings(self) -> Settings:
        """As the driver takes them."""
        return Settings(self.integration_us, self.averages)


@dataclass(frozen=True)
class ModelConfig:
    """Which bundle, `default` or a path, which engine runs it, and which of its models: names, or
    `auto`.
    """

    bundle: str = "default"
    backend: str = "auto"
    profile: str = "auto"

    def __post_init__(self) -> None:
        _one_of("backend", self.backend, (AUTO, *ENGINES))
        _one_of("profile", self.profile, (AUTO, *PROFILES))


@dataclass(frozen=True)
class ReferenceConfig:
    """When the references expire, what happens then, and what the white panel reflects.

    `when_expired` is "flag": predictions carry `reference_expired` until someone starts anew with
    the panel in place; or "retake": the instrument is asked for new ones, which suits one with a
    white reference of its own.
    """

    max_age_s: float = 1_800.0
    when_expired: str = "flag"
    white_panel_reflectance: float = 0.99

    def __post_init__(self) -> None:
        _within("max_age_s", self.max_age_s, 1.0, 30 * 86_400.0)
        _one_of("when_expired", self.when_expired, ("flag", "retake"))
        _within("white_panel_reflectance", self.white_panel_reflectance, 0.05, 1.1)


@dataclass(frozen=True)
class StoreConfig:
    """Where scans and predictions are kept."""

    path: str = "ccnvr.sqlite"

    def __post_init__(self) -> None:
        if self.path in ("", ":memory:"):
            raise ValueError(f"path = {self.path!r} names no file")


@dataclass(frozen=True)
class RunConfig:
    """The time from one scan's start to the next, in seconds; 0 means as fast as the instrument
    can.
    """

    interval_s: float = 0.0

    def __post_init__(self) -> None:
        _within("interval_s", self.interval_s, 0.0, 86_400.0)


@dataclass(frozen=True)
class Config:
    """All settings of the daemon."""

    instrument: InstrumentConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    run: RunConfig = field(default_factory=RunConfig)

    @property
    def store_path(self) -> Path:
        """Where the store is."""
        return Path(self.store.path)


def load(path: Path | None, overrides: dict[str, dict[str, object]]) -> Config:
    """Read a configuration file (None: an empty one) and lay `overrides` {section: {key: value}}
    over it.

    Raises:
        UsageError: the file is missing, is no TOML, or has an unknown key, a wrong type or a value
            out of range.
    """
    source = str(path) if path else "the command line"
    try:
        data: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8")) if path else {}
        for section, values in overrides.items():
            kept = data.get(section, {})
            if values and isinstance(kept, dict):
                data[section] = {**kept, **values}
        if "instrument" not in data:
            # An unknown key is said first: it may be [instrument], misspelt.
            build(Config, {**data, "instrument": {"url": ""}})
            raise UsageError(
                f"{source} names no instrument; give --instrument serial:///dev/NAME, or "
                "[instrument] url"
            )
        return build(Config, data)
    except OSError as error:
        raise UsageError(
            f"configuration {path} cannot be read ({error.strerror}); give an existing TOML file"
        ) from error
    except StructureError as error:
        raise UsageError(f"{source}: {error}") from error
    except (ValueError, RecursionError) as error:
        # TOMLDecodeError and UnicodeDecodeError are ValueErrors, as is an integer beyond all
        # digits.
        raise UsageError(f"{source}: {error}; correct it and start again") from error
