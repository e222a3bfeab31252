"""Configuration files: every error names its key and its value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.edge.daemon import config
from ccnvr.edge.typed import StructureError, build
from ccnvr.firmware_bridge.errors import UsageError

GOOD = """
[instrument]
url = "serial:///dev/ttyACM0?baud=921600"
integration_us = 8000
averages = 32
[model]
bundle = "/srv/soil.ccnvr"
engine = "onnx"
[reference]
max_age_s = 600
white_panel_reflectance = 0.98
[store]
path = "/var/lib/ccnvr/ccnvr.sqlite"
[run]
interval_s = 2.5
"""


def load(tmp_path: Path, text: str, **overrides: dict[str, object]) -> config.Config:
    path = tmp_path / "ccnvr.toml"
    path.write_text(text)
    return config.load(path, overrides)


def test_a_whole_file(tmp_path: Path) -> None:
    settings = load(tmp_path, GOOD)
    assert settings.instrument.settings.averages == 32
    assert settings.reference.max_age_s == 600.0
    assert settings.store_path == Path("/var/lib/ccnvr/ccnvr.sqlite")


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path, GOOD, run={"interval_s": 9.0}, instrument={"url": "sim://"})
    assert (settings.run.interval_s, settings.instrument.url, settings.instrument.averages) == (
        9.0,
        "sim://",
        32,
    )


@pytest.mark.parametrize("key", ["engine", "backend"])
def test_the_engine_is_known_by_its_former_name_too(tmp_path: Path, key: str) -> None:
    text = GOOD.replace("engine", key)
    assert load(tmp_path, text).model.engine == "onnx"
    assert load(tmp_path, text, model={"engine": "numpy"}).model.engine == "numpy"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("averages", "averges"), "unknown key 'instrument.averges'; did you mean 'averages'"),
        (('"onnx"', '"onxx"'), "model: engine = 'onxx' is not one of auto, onnx, litert"),
        (('engine = "onnx"', 'backend = "onxx"'), "model: engine = 'onxx' is not one of auto"),
        (('engine = "onnx"', "backend = 3"), "'model.engine' is 3 and must be text"),
        (
            ('"onnx"', '"onnx"\nbackend = "numpy"'),
            "model.engine = 'onnx' and model.backend = 'numpy' are two names of one key",
        ),
        (
            ('"onnx"', '"onnx"\nprofile = "int4"'),
            "model: profile = 'int4' is not one of auto, fp32",
        ),
        (("[instrument]", "[instrumnt]"), "unknown key 'instrumnt'; did you mean 'instrument'"),
        (("[run]", "[runs]"), "unknown key 'runs'"),
        (("= 32", '= "32"'), "'instrument.averages' is '32' and must be a whole number"),
        (("= 32", "= true"), "must be a whole number"),
        (("= 32", "= 0"), "instrument: averages = 0 is outside 1 to 10000"),
        (("= 8000", "= 8000.5"), "must be a whole number"),
        (("= 2.5", "= -1"), "run: interval_s = -1.0 is outside 0.0 to 86400.0"),
        (("= 2.5", "= nan"), "must be a finite number"),
        (("0.98", "98"), "white_panel_reflectance = 98.0 is outside"),
        (
            ("0.98", '0.98\nwhen_expired = "stop"'),
            "when_expired = 'stop' is not one of flag, retake",
        ),
        (('"/var/lib/ccnvr/ccnvr.sqlite"', '""'), "path = '' names no file"),
        (("= 2.5", f"= {10**400}"), "too large a number"),
        (("= 2.5", f"= {'9' * 5000}"), "correct it and start again"),
        (("= 2.5", f"= {'[' * 5000}"), "correct it and start again"),
        (("= 600", "= 0"), "max_age_s = 0.0 is outside"),
        (("[model]\n", "[model\n"), "correct it and start again"),
        (('url = "serial:///dev/ttyACM0?baud=921600"\n', ""), "key 'instrument.url' is missing"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, GOOD.replace(*change))
    assert words in str(caught.value)
    assert "ccnvr.toml" in str(caught.value)


def test_no_file_and_no_instrument(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        config.load(tmp_path / "none.toml", {})
    with pytest.raises(UsageError, match="names no instrument"):
        config.load(None, {"instrument": {}})


@dataclass(frozen=True)
class Inner:
    number: float


@dataclass(frozen=True)
class Outer:
    names: tuple[str, ...]
    table: dict[str, Inner]
    free: Any = None
    maybe: int | None = None
    either: int | float | None = None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from(["names", "table", "number", "x"]), children)
    ),
)


@given(json_values)
def test_any_decoded_value_builds_or_is_refused(data: object) -> None:
    try:
        built = build(Outer, data)
    except StructureError as error:
        assert str(error)
    else:
        assert all(isinstance(name, str) for name in built.names)
        assert all(isinstance(inner.number, float) for inner in built.table.values())


def test_nested_values_keep_their_place_in_the_message() -> None:
    with pytest.raises(StructureError, match=r"'table.a.number' is 'x' and must be a number"):
        build(Outer, {"names": [], "table": {"a": {"number": "x"}}})
    with pytest.raises(StructureError, match=r"'names\[1\]' is 2 and must be text"):
        build(Outer, {"names": ["a", 2], "table": {}})
    with pytest.raises(StructureError, match="'names' is 3 and must be a list"):
        build(Outer, {"names": 3, "table": {}})
    kept = [
        build(Outer, {"names": [], "table": {}, "either": value}).either for value in (3, 3.5, None)
    ]
    assert [type(value) for value in kept] == [int, float, type(None)]
    with pytest.raises(StructureError, match="'either' is 'x' and must be a number"):
        build(Outer, {"names": [], "table": {}, "either": "x"})
    assert (
        build(Outer, {"names": ["a"], "table": {"a": {"number": 1}}, "maybe": None})
        .table["a"]
        .number
        == 1.0
    )
