"""Short records: at most 51 bytes, read back by Python and by the published JavaScript."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.edge.cli import main
from ccnvr.edge.streams import short_record
from ccnvr.edge.streams.short_record import ShortEstimate, ShortRecord
from tests.support.helpers import assert_one_sentence, run_ccnvr

RECORD: dict[str, Any] = {
    "scan_id": "SIM-512-1-3",
    "predictions": {
        "clay": {"value": 31.0, "low": 20.0, "high": 42.0, "verdict": "ok"},
        "OC": {"value": 21.437, "low": 15.0, "high": 28.0, "verdict": "laboratory"},
        "pH": {"value": 6.5, "low": None, "high": None},
        "magnetism": {"value": 1.0, "low": 0.0, "high": 2.0},
    },
    "flags": ["out_of_domain:Q", "OC:noisy", "reference_expired"],
    "position": {"latitude": 50.5641, "longitude": 4.6886},
}

MOMENT = 1_764_400_000

numbers = st.floats(-60_000, 60_000, width=16)
estimates = st.builds(
    ShortEstimate, numbers, st.none() | numbers, st.sampled_from(short_record.VERDICTS)
)
records = st.builds(
    ShortRecord,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.none()
    | st.tuples(st.integers(-900, 900), st.integers(-1800, 1800)).map(
        lambda pair: (pair[0] / 10, pair[1] / 10)
    ),
    st.lists(st.sampled_from(short_record.FLAGS), unique=True).map(
        lambda flags: tuple(sorted(flags, key=short_record.FLAGS.index))
    ),
    st.dictionaries(st.sampled_from(short_record.PROPERTIES), estimates, max_size=5),
)


@given(records)
def test_what_is_encoded_is_decoded(record: ShortRecord) -> None:
    data = short_record.encode(record)
    assert len(data) <= short_record.MOST_BYTES
    assert short_record.decode(data) == record


@pytest.mark.parametrize(
    ("flags", "kinds"),
    [
        (["stray_light"], (short_record.OTHER,)),
        (["daylight", "OC:noisy"], ("noisy", short_record.OTHER)),
        (["OC:replicates_disagree", "restart_possible"], (short_record.OTHER,)),
        (["read_later"], ()),
    ],
)
def test_no_doubt_is_left_out(flags: list[str], kinds: tuple[str, ...]) -> None:
    record = {**RECORD, "flags": flags}
    found = short_record.decode(short_record.encode(short_record.short_of(record, MOMENT)))
    assert found.flags == kinds


@given(st.binary(max_size=80))
def test_other_bytes_are_refused_or_are_a_record(data: bytes) -> None:
    try:
        record = short_record.decode(data)
    except ValueError:
        return
    assert len(short_record.encode(record)) == len(data)


def test_a_record_keeps_what_matters() -> None:
    found = short_record.decode(short_record.encode(short_record.short_of(RECORD, MOMENT)))
    assert found.time == MOMENT
    assert found.position == pytest.approx((50.5641, 4.6886), abs=1e-6)
    assert found.flags == ("out_of_domain", "reference", "noisy")
    assert list(found.estimates) == ["OC", "pH", "clay"]
    assert found.estimates["OC"].value == pytest.approx(21.437, rel=1e-3)
    assert found.estimates["OC"].half_width == pytest.approx(6.5, rel=1e-3)
    assert found.estimates["OC"].verdict == "laboratory"
    assert found.estimates["pH"].half_width is None


@pytest.mark.parametrize("value", [1e9, -1e9, math.inf, math.nan])
def test_impossible_values_do_not_break_the_encoder(value: float) -> None:
    record = ShortRecord(0, -5, None, (), {"OC": ShortEstimate(value, value)})
    assert short_record.decode(short_record.encode(record)).time == 0


def test_too_many_properties_are_an_error() -> None:
    many = dict.fromkeys(short_record.PROPERTIES[:6], ShortEstimate(1.0, 1.0))
    with pytest.raises(ValueError, match="6 properties are more than 5"):
        short_record.encode(ShortRecord(0, 0, None, (), many))


def test_the_published_javascript_reads_the_same(tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    decoder = Path(short_record.__file__).with_name("decoder.js")
    cases = [
        short_record.encode(short_record.short_of(RECORD, MOMENT)),
        short_record.encode(ShortRecord(2**32 - 1, 0, (-89.9, -179.9), ("rescan",), {})),
        b"",
        b"\x22" + b"\0" * 17,
        b"\x11" + b"\0" * 17,
    ]
    script = tmp_path / "run.js"
    script.write_text(
        decoder.read_text()
        + f"\nconst cases = {json.dumps([list(case) for case in cases])};\n"
        + "console.log(JSON.stringify(cases.map((bytes) => decodeUplink({ bytes }))));\n"
    )
    done = subprocess.run(["node", script], check=True, capture_output=True, text=True)
    answers = json.loads(done.stdout)
    for case, answer in zip(cases, answers, strict=True):
        try:
            expected = short_record.decode(case)
        except ValueError:
            assert len(answer["errors"]) == 1
            continue
        data = answer["data"]
        assert answer["errors"] == []
        assert (data["id_crc"], data["time"]) == (expected.id_crc, expected.time)
        assert tuple(data["flags"]) == expected.flags
        if expected.position is None:
            assert data["latitude"] is None
        else:
            assert (data["latitude"], data["longitude"]) == pytest.approx(expected.position)
        assert data["predictions"] == {
            name: {
                "value": one.value,
                "half_width": one.half_width,
                "verdict": one.verdict,
            }
            for name, one in expected.estimates.items()
        }


def test_the_command_decodes_arguments_and_lines(capsys: pytest.CaptureFixture[str]) -> None:
    text = short_record.encode(short_record.short_of(RECORD, MOMENT)).hex()
    assert main(["decode", text]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["time"] == "2025-11-29T07:06:40+00:00"
    assert shown["estimates"]["OC"]["verdict"] == "laboratory"
    done = run_ccnvr("decode", input=f"{text}\n\n{text.upper()}\n")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [shown, shown]


@pytest.mark.parametrize("text", ["zz", "12", "", "12" * 3000])
def test_the_command_refuses_what_is_no_record(text: str) -> None:
    assert_one_sentence(run_ccnvr("decode", text), 2)
