"""A few soils are chosen that stand for all that were measured, ready for the laboratory."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ccnvr.edge.cli import main
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.train.members.covariance import squared_distances
from ccnvr.train.selection import medoids
from tests.support.helpers import NETWORK_BUNDLE
from tests.support.soil_files import write_soils


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixty soils without laboratory values; the first was scanned twice."""
    monkeypatch.chdir(tmp_path)
    nothing: dict[str, Any] = dict.fromkeys(("OC", "pH", "clay"))
    path = write_soils(tmp_path / "measured.csv", "SL.125", 60, **nothing)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1]]))
    return path


def rows_of(path: str) -> list[dict[str, str]]:
    with open(path) as stream:
        return list(csv.DictReader(stream))


def select(*more: str) -> int:
    return main(["select-soils", NETWORK_BUNDLE, *more])


def test_the_table_is_ready_for_the_laboratory_s_values_and_for_finetune(
    measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert select("measured.csv", "--count", "12", "--out", "lab.csv") == 0
    printed = capsys.readouterr()
    chosen = printed.out.split()
    assert len(set(chosen)) == 12 and "12 of 60 soils are in lab.csv" in printed.err
    assert "fill in OC (g/kg), N (g/kg)" in printed.err
    assert f"ccnvr finetune {NETWORK_BUNDLE} lab.csv" in printed.err
    rows = rows_of("lab.csv")
    assert {row["sample_id"] for row in rows} == set(chosen)
    assert all(row["OC"] == row["clay"] == "" for row in rows)
    # As a user does: the laboratory's values, and one property that was not asked for.
    carbon = limesoda.load("SL.125").properties["OC"]
    for row in rows:
        row["OC"] = str(carbon[int(row["sample_id"].removeprefix("field-"))])
    with open("filled.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    tune = ("filled.csv", "--out", "run", "--folds", "2")
    assert main(["finetune", NETWORK_BUNDLE, *tune]) == 0
    assert "12 soils, 2 folds; fine-tuned for OC" in capsys.readouterr().out


def test_values_that_are_there_are_kept(measured: Path) -> None:
    write_soils(measured, "SL.125", 20)
    assert select("measured.csv", "--count", "5", "--out", "lab.csv") == 0
    rows = rows_of("lab.csv")
    assert all(float(row["OC"]) > 0.0 and row["N"] == "" for row in rows) and len(rows) == 5


def test_the_chosen_lie_nearer_to_all_soils_than_any_at_random() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(centre, 0.3, (20, 3)) for centre in (0.0, 3.0, 6.0)])
    distances = np.sqrt(squared_distances(points, points))

    def apart(rows: np.ndarray) -> float:
        return float(distances[:, rows].min(axis=1).mean())

    chosen = medoids(points, 6)
    assert len(set(chosen.tolist())) == 6
    assert set(chosen // 20) == {0, 1, 2}
    drawn = [apart(rng.choice(60, 6, replace=False)) for _ in range(200)]
    assert apart(chosen) < min(drawn)


def test_laboratory_columns_of_other_names_are_kept_and_no_second_one_is_added(
    measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, *rows = measured.read_text().splitlines()
    measured.write_text("\n".join([f"{head},OC_g_kg", *(f"{row},12" for row in rows)]))
    assert select("measured.csv", "--count", "12", "--out", "lab.csv") == 0
    assert "fill in N (g/kg)" in capsys.readouterr().err
    assert "OC" not in rows_of("lab.csv")[0] and "OC_g_kg" in rows_of("lab.csv")[0]


def test_equal_points_are_chosen_no_more_often_than_others() -> None:
    points = np.concatenate([np.zeros((30, 2)), np.eye(2)])
    assert {30, 31} < set(medoids(points, 4).tolist())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("measured.csv", "--count", "60", "--out", "x.csv"), "60 soils cannot be chosen from"),
        (("measured.csv", "--count", "5", "--out", "measured.csv"), "measured.csv"),
        (("short.csv", "--count", "5", "--out", "x.csv"), "the spectrum covers"),
        (("measured.csv", "other.csv", "--count", "5", "--out", "x.csv"), "of one instrument"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    measured: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    content = measured.read_text()
    table = [line.split(",") for line in content.splitlines()]
    Path("short.csv").write_text("\n".join(",".join(cells[:60]) for cells in table))
    write_soils(Path("other.csv"), "SL.125", 20, step=10)
    assert select(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ccnvr: ") and words in line
    assert not Path("x.csv").exists() and measured.read_text() == content
