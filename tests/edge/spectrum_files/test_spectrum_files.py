"""The files of spectrometers, made by the tests byte by byte (`spectrum_builders`): read whole, and
damaged in every way.
"""

from __future__ import annotations

import csv
import io
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ccnvr.edge.spectrum_files.read import read_tables
from ccnvr.edge.spectrum_files.spectra_table import SpectraTable
from ccnvr.edge.spectrum_files.tables.text_table import read_spectra
from ccnvr.firmware_bridge.errors import UsageError
from tests.support import spectrum_builders as build
from tests.support.helpers import NETWORK_BUNDLE, assert_one_sentence, run_ccnvr

Array = NDArray[np.float64]

NM = np.arange(1100.0, 2499.0)
SOIL = 0.35 + 0.1 * np.sin(NM / 300.0) - 0.12 * np.exp(-0.5 * ((NM - 1917.0) / 30.0) ** 2)
ABSORBANCE = -np.log10(SOIL)
WAVENUMBERS = np.linspace(9_090.0, 4_000.0, 1_200)
OVER_WAVENUMBERS = np.interp(1e7 / WAVENUMBERS, NM, ABSORBANCE)

FILES: dict[str, tuple[str, bytes, str | None]] = {
    "asd of doubles": ("a.asd", build.asd(1100, 1, SOIL), "reflectance"),
    "asd of floats": (
        "a.asd",
        build.asd(1100, 1, SOIL, version=b"as5", dtype="<f4"),
        "reflectance",
    ),
    "asd of integers": (
        "a.asd",
        build.asd(1100, 1, SOIL, version=b"as2", dtype="<i4"),
        "reflectance",
    ),
    "asd, first version": (
        "a.asd",
        build.asd(1100, 1, SOIL, version=b"ASD", dtype="<f4"),
        "reflectance",
    ),
    "sed in percent": ("a.sed", build.sed(NM, SOIL), "percent"),
    "sed of fractions": ("a.sed", build.sed(NM, SOIL, "Reflect. [1.0]"), "reflectance"),
    "sig": ("a.sig", build.sig(NM, SOIL), "percent"),
    "spc of floats": ("a.spc", build.spc(1100, 2498, [SOIL]), None),
    "spc of integers": ("a.SPC", build.spc(1100, 2498, [SOIL], exponent=1), None),
    "spc of short integers": ("a.spc", build.spc(1100, 2498, [SOIL], exponent=0, flags=1), None),
    "spc, backwards": ("a.spc", build.spc(2498, 1100, [SOIL[::-1]]), None),
    "spc in micrometres": ("a.spc", build.spc(1.1, 2.498, [SOIL], axis_type=2), None),
    "spc in percent": ("a.spc", build.spc(1100, 2498, [100 * SOIL], value_type=11), "percent"),
    "spc of log(1/R)": ("a.spc", build.spc(1100, 2498, [ABSORBANCE], value_type=10), "absorbance"),
    "spc over wavenumber": (
        "a.spc",
        build.spc(9090, 4000, [OVER_WAVENUMBERS], axis_type=1, value_type=2),
        "absorbance",
    ),
    "spc with an axis": ("a.spc", build.spc(0, 0, [SOIL], flags=0x80, axis=NM), None),
    "spc with its own axis": ("a.spc", build.spc(0, 0, [SOIL], flags=0xC0, axis=NM), None),
    "opus absorbance": ("a.0", build.opus(9090, 4000, OVER_WAVENUMBERS), "absorbance"),
    "opus log reflectance": (
        "a.0",
        build.opus(9090, 4000, OVER_WAVENUMBERS, content=15, scale=2.5),
        "absorbance",
    ),
    "opus reflectance": ("a.0", build.opus(1.1, 2.498, SOIL, content=12, unit="MI"), None),
    **{
        f"jcamp {form}": ("a.dx", build.jcamp(1100.0, 2498.0, SOIL, form=form), None)
        for form in ("affn", "pac", "sqz", "dif", "difdup", "pairs")
    },
    "jcamp percent": (
        "a.jdx",
        build.jcamp(1100.0, 2498.0, 100 * SOIL, y_units="% Reflectance"),
        "percent",
    ),
    "jcamp over wavenumber": (
        "a.dx",
        build.jcamp(
            9090.0, 4000.0, OVER_WAVENUMBERS, form="dif", x_units="1/CM", y_units="ABSORBANCE"
        ),
        "absorbance",
    ),
}


FORMS = ["affn", "pac", "sqz", "dif", "difdup", "pairs"]
PATCHES = [b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"9999999"]
NPT = b"NPT\0\0\0\2\0"


def read(path: Path) -> list[SpectraTable]:
    return list(read_tables([path], lambda passed: None))


@pytest.mark.parametrize("name", FILES)
def test_every_form_gives_the_same_soil(tmp_path: Path, name: str) -> None:
    file_name, data, quantity = FILES[name]
    (tmp_path / file_name).write_bytes(data)
    (table,) = read(tmp_path / file_name)
    assert table.quantity == quantity
    assert table.sample_ids == ["a"]
    assert np.all(np.diff(table.wavelengths_nm) > 0.0)
    reflectance = table.reflectance(quantity or "reflectance")[0]
    assert np.interp(NM, table.wavelengths_nm, reflectance)[1:-1] == pytest.approx(
        SOIL[1:-1], abs=2e-4
    )


def test_the_free_readers_agree(tmp_path: Path) -> None:
    """Others' readers see in the tests' files what ours does, so the two do not merely share a
    mistake.
    """
    brukeropus, jcamp = pytest.importorskip("brukeropus"), pytest.importorskip("jcamp")
    (tmp_path / "a.0").write_bytes(FILES["opus log reflectance"][1])
    theirs = brukeropus.read_opus(str(tmp_path / "a.0"))
    (ours,) = read(tmp_path / "a.0")
    assert 1e7 / theirs.logr.x == pytest.approx(ours.wavelengths_nm)
    assert theirs.logr.y == pytest.approx(ours.spectra[0])
    for form in ("affn", "sqz", "dif"):
        (tmp_path / "a.dx").write_bytes(FILES[f"jcamp {form}"][1])
        spectrum = jcamp.readfile(str(tmp_path / "a.dx"))
        (ours,) = read(tmp_path / "a.dx")
        assert spectrum["x"] == pytest.approx(ours.wavelengths_nm)
        assert spectrum["y"][: ours.spectra[0].size] == pytest.approx(ours.spectra[0])


@given(
    st.lists(st.integers(-(10**7), 10**7), min_size=2, max_size=60),
    st.sampled_from(FORMS),
)
def test_jcamp_numbers_come_back(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], form: str
) -> None:
    path = tmp_path_factory.mktemp("jcamp") / "a.dx"
    path.write_bytes(
        build.jcamp(1000.0, 1000.0 + len(numbers) - 1, np.array(numbers) * 1e-6, form=form)
    )
    (table,) = read(path)
    assert table.spectra[0] * 1e6 == pytest.approx(np.array(numbers), abs=1e-3)


def test_a_short_file_that_begins_like_utf_16_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    path.write_bytes(b"\xfe\xff\0i\0d")
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match=r"short\.csv"):
            read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8e6


@pytest.mark.slow
@given(name=st.sampled_from(sorted(FILES)), data=st.data())
@settings(max_examples=400)
def test_a_damaged_file_is_one_sentence_and_takes_no_memory(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    """Bytes changed, cut out, put in and cut off: a table, or UsageError, and nothing allocated
    beyond the file's own size.
    """
    file_name, original, _ = FILES[name]
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        # Half of the damage hits the head, where the lengths are.
        at = data.draw(st.integers(0, min(600, len(damaged))) | st.integers(0, len(damaged)))
        patch = data.draw(st.binary(max_size=4) | st.sampled_from(PATCHES))
        kind = data.draw(st.sampled_from(["change", "insert", "remove", "truncate"]))
        if kind == "change":
            damaged[at : at + len(patch)] = patch
        elif kind == "insert":
            damaged[at:at] = patch
        elif kind == "remove":
            del damaged[at : at + data.draw(st.integers(1, 600))]
        else:
            del damaged[at:]
    path = tmp_path_factory.mktemp("damaged") / file_name
    path.write_bytes(damaged)
    tracemalloc.start()
    try:
        for table in read(path):
            assert table.spectra.shape == (len(table.sample_ids), table.wavelengths_nm.size)
            assert np.all(np.diff(table.wavelengths_nm) > 0.0)
    except UsageError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 8e6


def lie(layout: str, offset: int, *values: float) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        struct.pack_into(layout, changed, offset, *values)
        return bytes(changed)

    return change


def swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("asd of doubles", lambda data: data[:600], "states 1399 points but ends before the last"),
        ("asd of doubles", lambda data: data[:100], "ends at byte 100"),
        ("asd of doubles", lie("<H", 204, 60_000), "states 60000 points but ends before the last"),
        ("asd, first version", lie("<B", 186, 0), "saved as raw counts; take a white reference"),
        (
            "asd of doubles",
            lambda data: lie("<B", 186, 0)(data)[: -8 * 1399] + bytes(8 * 1399),
            "saved as raw counts and holds no white reference; take one",
        ),
        ("asd of doubles", lie("<B", 186, 2), "saved as radiance; take a white reference"),
        ("asd of doubles", lie("<B", 199, 9), "number format 9"),
        ("asd of doubles", lie("<f", 195, 0.0), "axis that turns back"),
        (
            "asd of doubles",
            lie("<1399d", len(FILES["asd of doubles"][1]) - 8 * 1399, *[0.0] * 1399),
            "holds no white reference",
        ),
        ("sed in percent", swap(b"Data:", b"Date:"), "no line 'Data:'"),
        ("sed in percent", swap(b"Reflect. %", b"Irrad. (Ref.)"), "save it with Wvl"),
        ("sed in percent", swap(b"\n 1200.0\t", b"\n 1200.0\tx"), "must be numbers"),
        ("sed in percent", swap(b"\n 1200.0\t", b"\n 1200.0\t1\t"), "has 4 columns where 3 belong"),
        ("sig", swap(b"data= ", b""), "no line 'data='"),
        ("sig", swap(b"\n1200.0 ", b"\n1100.5 "), "turns back at 1199 nm; save it without overlap"),
        (
            "spc of floats",
            lie("<i", 4, 2**31 - 1),
            "states 2147483647 points, which no spectrum has",
        ),
        ("spc of floats", lie("<i", 4, -1), "states -1 points"),
        ("spc of floats", lie("<i", 24, 2**31 - 1), "states 2147483647 spectra"),
        ("spc of floats", lie("<B", 28, 13), "axis of SPC type 13"),
        ("spc of floats", lie("<B", 29, 128), "values of SPC type 128"),
        (
            "spc of floats",
            lie("<B", 1, 0x4D),
            "the SPC format from before 1996; open it in the program that wrote it",
        ),
        ("spc of floats", lie("<d", 8, float("nan")), "not positive numbers"),
        ("opus absorbance", lie("<i", 20, 2**31 - 1), "states 2147483647 blocks"),
        (
            "opus absorbance",
            lie("<i", 24 + 12 * 2 + 4, 2**30),
            "states a block of 4294967296 bytes",
        ),
        (
            "opus absorbance",
            swap(NPT + struct.pack("<i", 1200), NPT + b"\xff\xff\xff\x7f"),
            "states 2147483647 points",
        ),
        (
            "opus absorbance",
            swap(NPT, b"NPT\0\0\0\xfc\xff"),
            "length of -4 for its parameter 'NPT'",
        ),
        ("opus absorbance", swap(b"WN", b"LG"), "axis in 'LG'"),
        ("opus absorbance", swap(b"FXV", b"FXX"), "does not state its points, first"),
        (
            "opus reflectance",
            swap(struct.pack("<I", 0b1111 | 12 << 10), struct.pack("<I", 5 << 10)),
            "holds no absorbance",
        ),
        (
            "jcamp affn",
            swap(b"NPOINTS= 1399", b"NPOINTS= 999999999"),
            "states 1e+09 points, which no spectrum has",
        ),
        ("jcamp affn", swap(b"NPOINTS= 1399", b"NPOINTS= 1400"), "states 1400 points and has 1399"),
        ("jcamp affn", swap(b"NANOMETERS", b"SECONDS"), "XUNITS 'SECONDS'"),
        ("jcamp affn", swap(b"REFLECTANCE", b"TRANSMITTANCE"), "YUNITS 'TRANSMITTANCE'"),
        ("jcamp affn", swap(b"##FIRSTX", b"##FIRST"), "no number in ##FIRSTX"),
        ("jcamp affn", swap(b"##END=", b""), "without ##END"),
        ("jcamp affn", swap(b"(X++(Y..Y))", b"(XY..WZ)"), "values as '(XY..WZ)'"),
        (
            "jcamp difdup",
            lambda data: data[:-20] + b"T99999999\r\n##END=\r\n",
            "repeats a value as 'T99999999'",
        ),
    ],
)
def test_what_a_file_says_wrongly_is_said_in_one_sentence(
    tmp_path: Path, name: str, change: Callable[[bytes], bytes], words: str
) -> None:
    file_name, data, _ = FILES[name]
    (tmp_path / file_name).write_bytes(change(data))
    with pytest.raises(UsageError) as caught:
        read(tmp_path / file_name)
    assert words in str(caught.value)
    assert str(tmp_path / file_name) in str(caught.value)


def test_a_lost_line_of_differences_is_noticed(tmp_path: Path) -> None:
    lines = FILES["jcamp dif"][1].split(b"\r\n")
    (tmp_path / "a.dx").write_bytes(b"\r\n".join(lines[:40] + lines[41:]))
    with pytest.raises(UsageError, match="loses its sums"):
        read(tmp_path / "a.dx")


def test_several_spectra_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "two.spc").write_bytes(build.spc(1100, 2498, [SOIL, 0.9 * SOIL], exponent=0))
    linked = (
        b"##TITLE= both\r\n##DATA TYPE= LINK\r\n##BLOCKS= 2\r\n"
        + 2 * FILES["jcamp sqz"][1]
        + b"##END=\r\n"
    )
    (tmp_path / "two.dx").write_bytes(linked)
    for name in ("two.spc", "two.dx"):
        tables = read(tmp_path / name)
        assert [table.sample_ids for table in tables] == [["two/1"], ["two/2"]]
    assert tables[1].spectra == pytest.approx(tables[0].spectra)


def test_predictions_from_files_are_those_of_the_same_soil_in_csv(
    soils_csv: Path, tmp_path: Path
) -> None:
    table = read_spectra(soils_csv)
    nm, soil = table.wavelengths_nm, table.spectra[0]
    folder = tmp_path / "session"
    folder.mkdir()
    (folder / "a.asd").write_bytes(build.asd(nm[0], 1.0, soil))
    (folder / "b.sed").write_bytes(build.sed(nm, soil))
    (folder / "c.sig").write_bytes(build.sig(nm, soil))
    (folder / "d.0").write_bytes(
        build.opus(nm[0] / 1000, nm[-1] / 1000, -np.log10(soil), unit="MI")
    )
    (folder / "e.spc").write_bytes(build.spc(nm[-1], nm[0], [soil[::-1]]))
    (folder / "f.dx").write_bytes(build.jcamp(float(nm[0]), float(nm[-1]), soil, form="dif"))
    (folder / "notes.txt").write_text("sunny")
    (folder / ".hidden").write_text("")
    result = run_ccnvr("predict", NETWORK_BUNDLE, folder, soils_csv)
    assert result.returncode == 0, result.stderr
    assert result.stderr == "ccnvr: passed over, since they hold no spectra: notes.txt\n"
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["sample_id"] for row in rows] == ["a", "b", "c", "d", "e", "f", *table.sample_ids]
    for name in ("OC (g/kg)", "clay (%)"):
        assert [float(row[name]) for row in rows[:6]] == pytest.approx(
            [float(rows[6][name])] * 6, rel=5e-3
        )


def test_what_a_file_says_of_itself_is_not_overruled(tmp_path: Path) -> None:
    (tmp_path / "a.sig").write_bytes(build.sig(NM, SOIL))
    result = run_ccnvr("predict", NETWORK_BUNDLE, tmp_path / "a.sig", "--quantity", "absorbance")
    assert_one_sentence(
        result, 2, "a.sig says that it holds percent", "leave out --quantity absorbance"
    )
    # Where --quantity cannot help, it is not advised.
    for values, words in (
        (SOIL / 100.0, "holds fractions and not percent"),
        (SOIL * 1000.0, "above 0 and below 200"),
    ):
        (tmp_path / "b.sig").write_bytes(build.sig(NM, values))
        refused = run_ccnvr("predict", NETWORK_BUNDLE, tmp_path / "b.sig")
        assert_one_sentence(
            refused,
            2,
            words,
            "the file itself says that it holds percent; correct its values, or what",
        )
        assert "--quantity" not in refused.stderr
    (tmp_path / "a.spc").write_bytes(build.spc(1100, 2498, [100 * SOIL]))
    unsaid = run_ccnvr("predict", NETWORK_BUNDLE, tmp_path / "a.spc")
    assert_one_sentence(
        unsaid, 2, "a.spc spectrum 1: sample 'a' has reflectance", "above 0 and below 2", "percent"
    )
    assert (
        run_ccnvr("predict", NETWORK_BUNDLE, tmp_path / "a.spc", "--quantity", "percent").returncode
        == 0
    )


def test_folders_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_one_sentence(
        run_ccnvr("predict", NETWORK_BUNDLE, tmp_path / "empty"),
        2,
        "holds no CSV file and no instrument's file",
    )
    with open(tmp_path / "huge.asd", "wb") as stream:
        stream.write(b"as7")
        stream.truncate((64 << 20) + 1)
    assert_one_sentence(
        run_ccnvr("predict", NETWORK_BUNDLE, tmp_path / "huge.asd"),
        2,
        "huge.asd",
        "more than 64 MiB",
    )
