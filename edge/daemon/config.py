"""The daemon's configuration: a TOML file, checked as a whole before anything starts."""

from __future__ import annotations

import tomllib
from dataclasses import field
from pathlib import Path

from ccnvr.edge.engines.registry import AUTO, ENGINES
from ccnvr.edge.network.layout import PROFILES
from ccnvr.edge.position.keeper import PositionConfig
from ccnvr.edge.streams.page_settings import WebConfig
from ccnvr.edge.streams.settings import LinesConfig, MqttConfig
from ccnvr.edge.typed import StructureError, build, check_choice, check_range
from ccnvr.edge.workflow.settings import CheckSampleConfig, ReferenceConfig, ScanConfig
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.instrument import Settings

Overrides = dict[str, dict[str, object]]
"""Values that replace those of a file: {section: {key: value}}."""


@frozen
class InstrumentConfig:
    """The instrument and its scan settings; `integration_us` is in microseconds."""

    url: str
    integration_us: int = 10_000
    averages: int = 16

    def __post_init__(self) -> None:
        check_range("integration_us", self.integration_us, 1, 60_000_000)
        check_range("averages", self.averages, 1, 10_000)

    @property
    def settings(self) -> Settings:
        """The scan settings in the form that a driver takes."""
        return Settings(self.integration_us, self.averages)


@frozen
class ModelConfig:
    """The bundle (`default` or a path), the engine that runs it, and the profile of its model file.

    Engine and profile may be `auto`.
    """

    bundle: str = "default"
    engine: str = "auto"
    profile: str = "auto"

    def __post_init__(self) -> None:
        check_choice("engine", self.engine, (AUTO, *ENGINES))
        check_choice("profile", self.profile, (AUTO, *PROFILES))


@frozen
class StoreConfig:
    """The file that keeps scans and predictions, and its largest size.

    Above `max_size_mb` (in 10^6 bytes) the oldest scans that are delivered are deleted; 0 means no
    limit.
    """

    path: str = "ccnvr.sqlite"
    max_size_mb: int = 0

    def __post_init__(self) -> None:
        # SQLite would take both for a database that vanishes when it is closed.
        if self.path in ("", ":memory:"):
            raise ValueError(f"path = {self.path!r} names no file")
        if self.max_size_mb:
            check_range("max_size_mb", self.max_size_mb, 10, 10_000_000)


@frozen
class RunConfig:
    """The time from the start of one scan to the next, in s; 0 means as fast as possible.

    `interval_s` of [scan] takes precedence.
    """

    interval_s: float = 0.0

    def __post_init__(self) -> None:
        check_range("interval_s", self.interval_s, 0.0, 86_400.0)


@frozen
class Config:
    """All settings of the daemon.

    `accept` is half the width of the interval that the user accepts, by property and in its unit;
    each sample then gets a verdict.
    """

    instrument: InstrumentConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    run: RunConfig = field(default_factory=RunConfig)
    mqtt: MqttConfig = field(default_factory=MqttConfig)
    lines: LinesConfig = field(default_factory=LinesConfig)
    web: WebConfig = field(default_factory=WebConfig)
    accept: dict[str, float] = field(default_factory=dict)
    scan: ScanConfig = field(default_factory=ScanConfig)
    check_sample: CheckSampleConfig = field(default_factory=CheckSampleConfig)
    position: PositionConfig = field(default_factory=PositionConfig)

    def __post_init__(self) -> None:
        for name, tolerance in self.accept.items():
            check_range(f"accept.{name}", tolerance, 1e-6, 1e6)

    @property
    def interval_s(self) -> float:
        """The time from the start of one scan to the next, in s."""
        return self.run.interval_s if self.scan.interval_s is None else self.scan.interval_s

    @property
    def store_path(self) -> Path:
        """The path of the store."""
        return Path(self.store.path)


def load(path: Path | None, overrides: Overrides) -> Config:
    """Read a configuration file and apply `overrides` to it.

    Args:
        path: a TOML file, or None to start from the defaults.
        overrides: values that take precedence over the file's.

    Raises:
        UsageError: the file is missing or is not TOML, a key is unknown, or a value has the wrong
            type or is out of range.
    """
    source = str(path) if path else "the command line"
    try:
        data: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8")) if path else {}
        # Before the overrides, which may name the engine too: only a file can contradict itself.
        _rename_backend(data)
        for section, values in overrides.items():
            in_file = data.get(section, {})
            if values and isinstance(in_file, dict):
                data[section] = {**in_file, **values}
        if "instrument" not in data:
            # Report an unknown key first, because it may be a misspelt [instrument].
            build(Config, {**data, "instrument": {"url": ""}})
            raise UsageError(
                f"{source} names no instrument; give --instrument serial:///dev/NAME, or "
                "[instrument] url in a configuration file"
            )
        return build(Config, data)
    except OSError as error:
        raise UsageError(
            f"configuration {path} cannot be read ({error.strerror}); give an existing TOML file"
        ) from error
    except StructureError as error:
        raise UsageError(f"{source}: {error}") from error
    except (ValueError, RecursionError) as error:
        # ValueError covers TOMLDecodeError, UnicodeDecodeError and an integer with more digits
        # than Python converts; RecursionError, arrays nested too deeply.
        raise UsageError(f"{source}: {error}; correct it and start again") from error


def _rename_backend(data: dict[str, object]) -> None:
    """Replace the key `model.backend`, the former name of `model.engine`, in place.

    Raises:
        StructureError: both keys are given.
    """
    model = data.get("model")
    if isinstance(model, dict) and "backend" in model:
        if "engine" in model:
            raise StructureError(
                f"model.engine = {model['engine']!r} and model.backend = {model['backend']!r} are "
                "two names of one key; keep engine and delete backend"
            )
        model["engine"] = model.pop("backend")
