"""`ccnvr predict` on CSV files, good and bad."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ccnvr.edge.bundle import family
from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.spectrum_files.tables.text_table import read_spectra
from tests.support.helpers import NETWORK_BUNDLE, NETWORK_FILE, assert_one_sentence, run_ccnvr


def test_predictions_are_those_of_the_library_call(model: ProvedModel, soils_csv: Path) -> None:
    result = run_ccnvr("predict", NETWORK_BUNDLE, soils_csv, "--json")
    assert result.returncode == 0, result.stderr
    table = read_spectra(soils_csv)
    predictor = model.bind(table.wavelengths_nm)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["sample_id"] for line in lines] == table.sample_ids
    together = predictor.batch(absorbance(table.spectra[:, predictor.bands]))
    for line, spectrum, expected in zip(lines, table.spectra, together, strict=True):
        assert line["predictions"] == {
            name: estimate._asdict() for name, estimate in expected.items()
        }
        alone = predictor(absorbance(spectrum[predictor.bands]))
        assert line["flags"] == list(alone.flags)
        for name, estimate in alone.items():
            found = line["predictions"][name]
            assert [found["value"], found["low"], found["high"]] == pytest.approx(
                [estimate.value, estimate.low, estimate.high], rel=1e-5
            )


def test_csv_output_and_a_file(soils_csv: Path, tmp_path: Path) -> None:
    printed = run_ccnvr("predict", NETWORK_BUNDLE, soils_csv)
    rows = list(csv.DictReader(io.StringIO(printed.stdout)))
    assert len(rows) == 4
    assert (
        float(rows[0]["OC (g/kg) low"])
        <= float(rows[0]["OC (g/kg)"])
        <= float(rows[0]["OC (g/kg) high"])
    )
    out = tmp_path / "out.csv"
    assert run_ccnvr("predict", NETWORK_BUNDLE, soils_csv, "--out", out).returncode == 0
    assert out.read_text() == printed.stdout
    nowhere = run_ccnvr("predict", NETWORK_BUNDLE, soils_csv, "--out", tmp_path / "no" / "out.csv")
    assert_one_sentence(nowhere, 2, "there is no folder", "make it, or choose another")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for odd in (pipe, "/", "."):
        assert_one_sentence(
            run_ccnvr("predict", NETWORK_BUNDLE, soils_csv, "--out", odd),
            2,
            "is not a file that can be written",
        )
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("quantity", "of"), [("percent", lambda r: r * 100), ("absorbance", lambda r: -np.log10(r))]
)
def test_quantities_agree(soils_csv: Path, tmp_path: Path, quantity: str, of: object) -> None:
    header, *rows = [line.split(",") for line in soils_csv.read_text().splitlines()]
    converted = [[row[0], *map(str, of(np.array(row[1:], dtype=float)))] for row in rows]  # type: ignore[operator]
    path = tmp_path / "other.csv"
    path.write_text("\n".join(",".join(row) for row in [header, *converted]))
    ours, theirs = (
        [
            json.loads(line)["predictions"]["OC"]["value"]
            for line in run_ccnvr("predict", NETWORK_BUNDLE, *arguments).stdout.splitlines()
        ]
        for arguments in ([soils_csv, "--json"], [path, "--json", "--quantity", quantity])
    )
    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "", ["bad.csv is empty"]),
        (
            lambda text: "sample_id,OC\na,1\n",
            ["has 0 columns named by a wavelength in nm", "begin with 'sample_id', 'OC'"],
        ),
        (
            lambda text: "sample_id,P1100,P1102\na,1,2\n",
            ["has columns named 'P1100' to 'P1102'", "do not say what they are", "--axis nm"],
        ),
        (
            lambda text: "sample_id,1100,1100.0\na,1,2\n",
            ["2 columns of only 1 wavelengths, as '1100', '1100.0'"],
        ),
        (
            lambda text: (
                text + text.splitlines()[1].replace(text.splitlines()[1].split(",")[0], "")
            ),
            ["row 6 has no sample_id"],
        ),
        (lambda text: text.splitlines()[0], ["holds no spectra"]),
        (
            lambda text: text.replace("sample_id,", "sample_id,sample_id,"),
            ["column sample_id more than once"],
        ),
        (lambda text: text + "extra,0.3\n", ["row 6 has 2 columns where the header has 1400"]),
        (
            lambda text: text.replace(",0.", ",n/a 0.", 1),
            ["row 2 column 1100 is 'n/a 0.", "must be a number"],
        ),
        (
            lambda text: text.replace(",0.", ",nan 1,0.", 1).replace("1100,", "1099,1100,", 1),
            ["row 3 has 1400 columns where the header has 1401"],
        ),
    ],
)
def test_a_malformed_file_is_named_with_row_and_column(
    soils_csv: Path, tmp_path: Path, change: object, words: list[str]
) -> None:
    path, out = tmp_path / "bad.csv", tmp_path / "out.csv"
    path.write_text(change(soils_csv.read_text()))  # type: ignore[operator]
    result = run_ccnvr("predict", NETWORK_BUNDLE, path, "--out", out)
    assert_one_sentence(result, 2, str(path), *words)
    assert not out.exists()


def test_spectra_that_no_model_should_see(soils_csv: Path, tmp_path: Path) -> None:
    header, first, *_ = soils_csv.read_text().splitlines()
    columns = header.count(",")
    path = tmp_path / "bad.csv"
    path.write_text(f"{header}\n{first}\nblack,{','.join(['0'] * columns)}\n")
    assert_one_sentence(
        run_ccnvr("predict", NETWORK_BUNDLE, path),
        2,
        "sample 'black'",
        "reflectance 0 at 1104 nm",
        "above 0 and below 2",
    )
    path.write_text(f"{header}\nflat,{','.join(['0.4'] * columns)}\n")
    assert_one_sentence(run_ccnvr("predict", NETWORK_BUNDLE, path), 2, "sample 'flat'", "constant")
    path.write_text(f"{header}\nbright,{','.join(['42'] * columns)}\n")
    assert_one_sentence(
        run_ccnvr("predict", NETWORK_BUNDLE, path),
        2,
        "sample 'bright'",
        "reflectance 42",
        "percent",
    )
    # Percent taken for absorbance would be a black that no soil has.
    as_absorbance = run_ccnvr("predict", NETWORK_BUNDLE, path, "--quantity", "absorbance")
    assert_one_sentence(as_absorbance, 2, "absorbance 42", "above -0.3 and below 6")
    wet_looking = (
        f"{header}\nx,{','.join(str(1.0 - float(cell)) for cell in first.split(',')[1:])}\n"
    )
    path.write_text(wet_looking)
    words = (
        f"{path} row 2: sample 'x' rises at 1917 nm, read as reflectance",
        "give --quantity absorbance",
        "otherwise correct it or leave it out",
    )
    assert_one_sentence(run_ccnvr("predict", NETWORK_BUNDLE, path), 2, *words)
    as_percent = run_ccnvr("predict", NETWORK_BUNDLE, soils_csv, "--quantity", "percent")
    assert_one_sentence(as_percent, 2, "fractions and not percent")
    as_absorbance = run_ccnvr("predict", NETWORK_BUNDLE, soils_csv, "--quantity", "absorbance")
    assert_one_sentence(as_absorbance, 2, "rises at 1917 nm, read as absorbance")
    cells = [line.split(",") for line in (header, first)]
    path.write_text("\n".join(",".join([row[0], *row[1::50], row[-1]]) for row in cells))
    assert_one_sentence(
        run_ccnvr("predict", NETWORK_BUNDLE, path), 2, "up to 50.0 nm apart", "12 nm or less"
    )
    short = [line.rsplit(",", 300)[0] for line in (header, first)]
    path.write_text("\n".join(short))
    assert_one_sentence(
        run_ccnvr("predict", NETWORK_BUNDLE, path),
        2,
        f"{path}: the spectrum",
        "the model needs 1104.0-2492.0 nm",
    )


def test_nothing_that_is_read_is_written_over(soils_csv: Path, tmp_path: Path) -> None:
    folder, bundle, linked = tmp_path / "folder", tmp_path / "mine.ccnvr", tmp_path / "linked.csv"
    folder.mkdir()
    bundle.write_bytes(NETWORK_FILE.read_bytes())
    for name in ("a.csv", "b.csv"):
        (folder / name).write_bytes(soils_csv.read_bytes())
    linked.symlink_to(folder / "b.csv")
    for read, out in (
        (folder / "a.csv", folder / "a.csv"),
        (folder / "a.csv", bundle),
        (folder, folder / "b.csv"),
        (folder, linked),
        (linked, folder / "b.csv"),
    ):
        kept = bundle.read_bytes(), out.read_bytes()
        assert_one_sentence(
            run_ccnvr("predict", bundle, read, "--out", out),
            2,
            f"--out {out} is a file that is read",
        )
        assert (bundle.read_bytes(), out.read_bytes()) == kept
    # Earlier predictions are among the files that the reader of a folder skips.
    for _ in range(2):
        assert (
            run_ccnvr(
                "predict", bundle, folder, "--json", "--out", folder / "predicted.json"
            ).returncode
            == 0
        )


def test_files_that_are_not_there(tmp_path: Path, soils_csv: Path) -> None:
    assert_one_sentence(
        run_ccnvr("predict", NETWORK_BUNDLE, tmp_path / "none.csv"), 2, "none.csv", "cannot be read"
    )
    assert_one_sentence(run_ccnvr("predict", tmp_path / "none.ccnvr", soils_csv), 2, "no bundle at")
    (tmp_path / "binary.csv").write_bytes(bytes(range(128, 256)))
    assert_one_sentence(
        run_ccnvr("predict", NETWORK_BUNDLE, tmp_path / "binary.csv"),
        2,
        "not UTF-8 text from line 1 on",
    )
    for head, words in (
        (b"PAR1\x15\x04", "a Parquet file, which only ccnvr train and finetune read"),
        (b"PK\x03\x04", "a workbook"),
    ):
        (tmp_path / "soils.parquet").write_bytes(head + bytes(100))
        assert_one_sentence(
            run_ccnvr("predict", NETWORK_BUNDLE, tmp_path / "soils.parquet"),
            2,
            "soils.parquet",
            words,
        )


def test_every_file_and_every_spectrum_is_looked_at(soils_csv: Path, tmp_path: Path) -> None:
    header, *rows = [line.split(",") for line in soils_csv.read_text().splitlines()]
    other = [[row[0], *map(str, -np.log10(np.array(row[1:], dtype=float)))] for row in rows]
    folder, out = tmp_path / "folder", tmp_path / "out.csv"
    folder.mkdir()
    for name, lines in (
        ("a", rows),
        ("b", other),
        ("mixed", [rows[0], other[1], rows[2], other[3]]),
    ):
        (folder / f"{name}.csv").write_text("\n".join(",".join(line) for line in [header, *lines]))
    for files, words in (
        (
            [soils_csv, folder / "b.csv"],
            f"{folder / 'b.csv'} row 2: sample {rows[0][0]!r} rises at 1917 nm",
        ),
        (
            [folder / "mixed.csv"],
            f"{folder / 'mixed.csv'} row 3: sample {rows[1][0]!r} rises at 1917 nm",
        ),
    ):
        assert_one_sentence(run_ccnvr("predict", NETWORK_BUNDLE, *files, "--out", out), 2, words)
        assert not out.exists()
    fractions = run_ccnvr("predict", NETWORK_BUNDLE, folder / "a.csv", "--quantity", "percent")
    assert_one_sentence(
        fractions, 2, f"{folder / 'a.csv'} row 2", "holds fractions and not percent"
    )


@pytest.mark.parametrize(
    ("of_nm", "unit"),
    [(lambda nm: nm / 1e3, "micrometres"), (lambda nm: 1e7 / nm, "wavenumbers in cm-1")],
)
def test_wavelengths_in_another_unit_are_known(
    soils_csv: Path, tmp_path: Path, of_nm: Any, unit: str
) -> None:
    header, rows = soils_csv.read_text().split("\n", 1)
    path = tmp_path / "other.csv"
    names = [f"{of_nm(float(nm)):.6g}" for nm in header.split(",")[1:]]
    path.write_text(",".join(["sample_id", *names]) + "\n" + rows)
    assert_one_sentence(
        run_ccnvr("predict", NETWORK_BUNDLE, path),
        2,
        f"{path} has columns named ",
        f"these look like {unit}",
        "name the bands by nm",
    )


def test_the_best_default_model_is_taken_for_each_file(soils_csv: Path, tmp_path: Path) -> None:
    """Files of two instruments go into one table; what a model does not predict is empty."""
    header, *rows = [line.split(",") for line in soils_csv.read_text().splitlines()]
    narrow = tmp_path / "narrow.csv"
    kept = [0, *(at for at, nm in enumerate(header[1:], 1) if 1545 <= float(nm) <= 1955)]
    narrow.write_text("\n".join(",".join(row[at] for at in kept) for row in (header, *rows)))
    result = run_ccnvr("predict", "default", soils_csv, narrow)
    assert result.returncode == 0, result.stderr
    chosen = [line for line in result.stderr.splitlines() if line.startswith("ccnvr: model ")]
    names = [line.split()[2].partition(":")[2] for line in chosen]
    assert len(names) == 2 and names[1] == "nirone20"
    found = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(found) == 2 * len(rows)
    family_of = {member.name: member for member in family.members()}
    for name, some in zip(names, (found[: len(rows)], found[len(rows) :]), strict=True):
        predicted = {target.name for target in family_of[name].manifest.targets}
        for row in some:
            cells = {cell.partition(" ")[0] for cell, value in row.items() if value and "(" in cell}
            assert cells == predicted


def test_a_bundle_after_the_files_is_put_in_its_place() -> None:
    assert_one_sentence(
        run_ccnvr("predict", "soils.csv", "default"),
        2,
        "name the bundle first: ccnvr predict default soils.csv",
    )
    assert_one_sentence(run_ccnvr("predict", "soils.csv"), 2, "name a bundle, and after it files")
