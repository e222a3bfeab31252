"""`ccnvr predict` on folders, with pictures, and `ccnvr convert`."""

from __future__ import annotations

import csv
import gzip
import io
import os
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.cli import main
from ccnvr.edge.spectrum_files.tables.text_table import read_spectra
from tests.support import file_kinds
from tests.support import spectrum_builders as build
from tests.support.file_kinds import KINDS, NM
from tests.support.helpers import NETWORK_BUNDLE, assert_one_sentence, run_ccnvr


def put(folder: Path, what: str, name: str) -> Path:
    """Write the file of a kind into a folder under a name."""
    kind = next(kind for kind in KINDS if kind.what == what)
    path = folder / name
    kind.write(path)
    return path


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A field session: two soils, a log, a background, a scan of the white panel and notes."""
    folder = tmp_path / "session"
    folder.mkdir()
    put(folder, "reflectance", "a.asd")
    put(folder, "raw counts with the white reference in the file", "b.asd")
    put(folder, "a background alone", "background.0")
    (folder / "fieldlog.csv").write_text("time,plot,weather\n10:04,F1,dry\n")
    (folder / "notes.txt").write_text("sunny, dry\n")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    white = 0.99 + 1e-3 * np.sin(NM / 50.0)
    (folder / "white.asd").write_bytes(build.asd(400, 4, white))
    return folder


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_what_is_no_soil_s_spectrum_is_passed_over_and_named(session: Path) -> None:
    result = run_ccnvr("predict", NETWORK_BUNDLE, session)
    assert result.returncode == 0, result.stderr
    assert [row["sample_id"] for row in rows_of(result.stdout)] == ["a", "b"]
    choice, passed_over = result.stderr.splitlines()
    assert "b.asd: raw counts are divided by the white reference in the file" in choice
    assert passed_over == (
        "ccnvr: passed over, since they hold no spectra: background.0, fieldlog.csv, notes.txt, "
        "photo.jpg, white.asd"
    )


def test_a_bad_file_does_not_stop_a_folder(session: Path, tmp_path: Path) -> None:
    (session / "empty.asd").write_bytes(b"")
    put(session, "a row with too few cells", "torn.csv")
    put(session, "numbers of bands, 0 to 525", "counted.csv")
    (session / "omnic.spa").write_bytes(b"Spectral Data File" + bytes(100))
    out = tmp_path / "out.csv"
    result = run_ccnvr("predict", NETWORK_BUNDLE, session, "--out", out)
    assert result.returncode == 1
    assert [row["sample_id"] for row in rows_of(out.read_text())] == ["a", "b"]
    left_out = [line for line in result.stderr.splitlines() if "left out: " in line]
    assert [Path(line.split()[3].rstrip(":,")).name for line in left_out] == [
        "counted.csv",
        "empty.asd",
        "omnic.spa",
        "torn.csv",
    ]
    assert result.stderr.splitlines()[-1] == (
        "ccnvr: 4 of 6 files were left out; the predictions of the others are complete"
    )
    # Named themselves, they are wrong use.
    assert_one_sentence(run_ccnvr("predict", NETWORK_BUNDLE, session / "empty.asd"), 2, "is empty")


def test_no_row_of_a_file_that_fails_half_way_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    table = file_kinds.rows()
    many = [[f"{row[0]}-{number}", *row[1:]] for number in range(100) for row in table[1:]]
    file_kinds.text([table[0], *many, ["bad", *["5"] * NM.size]])(folder / "late.csv")
    result = run_ccnvr("predict", NETWORK_BUNDLE, folder)
    assert result.returncode == 1
    assert rows_of(result.stdout) == []
    assert "late.csv row 302: sample 'bad' has reflectance 5" in result.stderr


def test_a_folder_is_explained_file_by_file(
    session: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(session, "numbers of bands, 0 to 525", "counted.csv")
    assert main(["predict", "--explain", str(session)]) == 1
    said = capsys.readouterr().out
    assert f"{session / 'a.asd'}: ASD\n  axis: wavelengths in nm (stated); 400 to 2500 nm" in said
    assert f"{session / 'fieldlog.csv'}: passed over, since it holds no spectra" in said
    assert f"{session / 'counted.csv'}: not read: {session / 'counted.csv'} has columns" in said


@pytest.mark.parametrize(
    "what",
    [
        "soils in rows, `sample_id` and wavelengths",
        "semicolons and decimal commas",
        "transposed: wavelengths down, soils across",
        "the same with `--axis wavenumber`",
        "NA where the model does not look",
        "one sheet (`.xlsx`)",
    ],
)
def test_a_converted_file_is_the_plain_table(what: str, tmp_path: Path) -> None:
    kind = next(kind for kind in KINDS if kind.what == what)
    path, out = tmp_path / kind.name, tmp_path / "out.csv"
    kind.write(path)
    assert main(["convert", str(path), "--out", str(out), *kind.options]) == 0
    table = read_spectra(out)
    assert table.sample_ids == list(file_kinds.IDS)
    assert table.wavelengths_nm == pytest.approx(NM, rel=1e-5)
    seen = ~np.isnan(table.spectra[0])
    assert seen.sum() >= NM.size - 25
    assert table.spectra[:, seen] == pytest.approx(file_kinds.soils()[:, seen], abs=1e-7)


def test_conversion_keeps_columns_and_refuses_what_does_not_belong_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.csv"
    path = put(tmp_path, "laboratory values and notes beside the bands", "a.csv")
    assert main(["convert", str(path), "--out", str(out)]) == 0
    assert read_spectra(out).columns == read_spectra(path).columns
    other = tmp_path / "b.csv"
    file_kinds.text(file_kinds.rows([f"{nm:g}" for nm in NM[:-1]], file_kinds.soils()[:, :-1]))(
        other
    )
    out.unlink()
    plain = put(tmp_path, "soils in rows, `sample_id` and wavelengths", "c.csv")
    for files, words in (
        ([plain, other], f"{other} has other wavelengths than {plain}"),
        ([plain, path], f"{path} has other columns than {plain}"),
        ([put(tmp_path, "percent as reflectance", "d.csv")], "must lie above 0 and below 2"),
        ([plain, "--out", plain], f"--out {plain} is a file that is read"),
    ):
        kept = plain.read_bytes()
        assert main(["convert", "--out", str(out), *map(str, files)]) == 2
        assert words in capsys.readouterr().err
        assert not out.exists() and plain.read_bytes() == kept


@pytest.mark.slow
def test_each_spectrum_is_drawn_and_all_on_a_contact_sheet(session: Path, tmp_path: Path) -> None:
    names = ("../$x$", "../$x$", "contact-sheet-01", "\x1b[31m")
    table = file_kinds.rows()
    rows = [[name, *table[1][1:]] for name in names]
    file_kinds.text([table[0], *rows])(session / "odd.csv")
    pictures = tmp_path / "pictures"
    result = run_ccnvr("predict", NETWORK_BUNDLE, session, "--plot", pictures)
    assert result.returncode == 0, result.stderr
    assert "6 spectra are drawn in" in result.stderr and "1 contact sheets" in result.stderr
    assert "\x1b" not in result.stderr
    drawn = sorted(path.name for path in pictures.iterdir())
    assert drawn == sorted(
        ["a.png", "b.png", "_contact-sheet-01_2.png", "contact-sheet-01.png", "x.png", "x_2.png",
         "31m.png"]
    )  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures.iterdir())
    assert_one_sentence(
        run_ccnvr("predict", NETWORK_BUNDLE, session, "--plot", session / "a.asd"),
        2,
        "a.asd is not a folder",
    )


@pytest.mark.slow
def test_public_libraries_are_read_to_the_last_bit(nirsoil_data: object, tmp_path: Path) -> None:
    """Real tables by the block reader and by Python's own float."""
    folder = Path(os.environ["CCNVR_DATA"])
    for name in ("nirsoil", "geeves", "icraf_isric"):
        path = tmp_path / f"{name}.csv"
        path.write_bytes(gzip.decompress((folder / f"{name}.csv.gz").read_bytes()))
        table = read_spectra(path)
        with open(path) as stream:
            header, *rows = csv.reader(stream)
        bands = [column for column, cell in enumerate(header) if cell.replace(".", "").isdigit()]
        expected = np.array([[float(row[column]) for column in bands] for row in rows])
        np.testing.assert_array_equal(table.spectra, expected)
        assert table.sample_ids == [row[0] for row in rows]
