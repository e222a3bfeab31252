"""The kept bundles predict as on record, and the tools that say so notice a difference."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from ccnvr.train.libraries.downloads import data_folder
from tools import rescore, same_predictions
from tools.exit_code import explained

RECORD = json.loads(rescore.RECORD.read_text())
MODEL = "as7265x"


def test_a_model_predicts_its_held_out_soils_as_on_record() -> None:
    found, record = rescore.figures(rescore.BUNDLES[MODEL]), RECORD[MODEL]
    assert found["properties"].keys() == record["properties"].keys() == {"OC", "pH", "clay"}
    # In float32 a sum in another order moves an RMSE by up to 6e-6 of it.
    for name, one in found["properties"].items():
        assert one == pytest.approx(record["properties"][name], rel=5e-5)
    for key in ("soils", "flagged", "sure", "moisture"):
        assert found[key] == record[key]
    # The card has what torch computed, with four decimals.
    assert found["card"] < 1e-3 and found["batch"] < 1e-6
    for engine in found["parity"]["fp32"].values():
        assert engine["test"] < 3e-4 and engine["rmse"] < 1e-4


def test_the_record_and_the_page_have_every_bundle_and_property() -> None:
    assert RECORD.keys() == rescore.BUNDLES.keys()
    page = rescore.PAGE.read_text()
    for title, table in rescore.TABLES.items():
        part = page.split(rescore.BEGIN.format(title))[1].split(rescore.END)[0]
        assert on_record(part.split("\n")[1:-1]) == on_record(list(table(RECORD, RECORD)))


def on_record(lines: list[str]) -> list[list[str]]:
    """Return the rows of a table without the columns of now and those of differences."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    heads = rows[0]
    pairs = [before for before, after in enumerate(heads[1:]) if after == "now"]
    return [[row[column] for column in (0, *pairs)] for row in rows]


def test_the_worth_of_predictions_counts_the_soils_that_were_measured() -> None:
    # The last of four soils was not measured; an error of 1 is beyond an interval of half as much.
    measured = np.array([1.0, 2.0, 3.0, np.nan])
    values = np.array([1.0, 2.0, 4.0, 9.0])
    numbers = np.stack([values, values - 0.5, values + 0.5, np.zeros(4)], axis=1)
    found = rescore.worth(measured, numbers)
    assert found["n"] == 3 and found["width"] == 1.0
    assert found["r2"] == pytest.approx(0.5) and found["rmse"] == pytest.approx(3**-0.5)
    assert found["covered"] == pytest.approx(2 / 3)


def test_a_prediction_that_moved_is_found() -> None:
    numbers = np.array([[[5.0, 4.0, 8.0, 1.0]], [[0.0, 0.0, 0.0, 0.0]], [[2.0, 1.0, 3.0, 0.0]]])
    earlier = {"m: held out": numbers, "m: held out, flags": np.array(["", "", "OC:noisy"])}
    moved = {title: array.copy() for title, array in earlier.items()}
    moved["m: held out"][0, 0] = [5.4, 4.0, 8.8, 0.0]
    moved["m: held out, flags"][2] = ""
    # The second estimate is at the limit of what is possible: its interval is no difference.
    moved["m: held out"][1, 0, 2] = 3.0
    lines = [list(same_predictions.compared(earlier, now))[-1] for now in (earlier, moved)]
    assert lines[0] == "| `m` | 3 | 0e+00 | 0e+00 | 0 | 0 | 1 |"
    # A tenth and a fifth of an interval that is 4 wide; one soil's flags, and another's interval.
    assert lines[1] == "| `m` | 3 | 1e-01 | 2e-01 | 1 | 1 | 1 |"


def test_an_input_that_is_another_in_one_bit_is_found() -> None:
    name, recipe = next(same_predictions.recipes())
    assert name == "gaussian_recipe.toml"
    part = dataclasses.replace(recipe, libraries=("UL.120:train",), tests=("UL.120:test",))
    earlier = {f"inputs, {name}": same_predictions.inputs(part)}
    now = {title: sums.copy() for title, sums in earlier.items()}
    now[f"inputs, {name}"][3] += 1.0
    lines = [list(same_predictions.compared_inputs(earlier, one))[-1] for one in (earlier, now)]
    assert lines == [f"| {name} | 120 | 0 |", f"| {name} | 120 | 1 |"]


def test_a_table_of_the_page_is_written_between_its_marks() -> None:
    mark = rescore.BEGIN.format("domain")
    page = f"before\n{mark}\nold\n{rescore.END}\nafter"
    assert rescore.written(page, "domain", ["| new |"]) == page.replace("old", "| new |")


def test_the_figures_of_one_bundle_leave_the_others_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = {**RECORD[MODEL], "soils": 1}
    copy = tmp_path / "record.json"
    copy.write_text(json.dumps(RECORD))
    monkeypatch.setattr(rescore, "RECORD", copy)
    monkeypatch.setattr(rescore, "figures", lambda path: moved)
    monkeypatch.setattr("sys.argv", ["rescore", MODEL, "--record"])
    rescore.main()
    assert json.loads(copy.read_text()) == {**RECORD, MODEL: moved}


def test_the_page_is_not_cut_to_some_bundles(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rescore, "figures", lambda path: pytest.fail("scored before the check"))
    monkeypatch.setattr("sys.argv", ["rescore", MODEL, "--page"])
    with pytest.raises(SystemExit, match="2"):
        rescore.main()
    assert "name no bundle with it" in capsys.readouterr().err


def test_a_bundle_that_is_not_kept_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["rescore", "nope"])
    with pytest.raises(SystemExit, match="2"):
        rescore.main()
    assert "there is no bundle 'nope'; name some of as7265x" in capsys.readouterr().err


def test_missing_data_are_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CCNVR_DATA", "/nonexistent")
    monkeypatch.setattr("sys.argv", ["rescore", MODEL])
    monkeypatch.setattr(rescore, "figures", lambda path: data_folder())
    assert explained(rescore.main) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("CCNVR_DATA is '/nonexistent' and must name a folder")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "give --keep FILE"),
        ("--keep x.npz --page", "give --against FILE with it"),
        ("--keep nowhere/x.npz", "there is no folder nowhere"),
        ("--against absent.npz", "absent.npz cannot be read (No such file or directory)"),
        ("--against text.npz", "text.npz cannot be read (it is no .npz file)"),
    ],
)
def test_files_of_a_comparison_are_looked_at_first(
    words: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text.npz").write_text("text")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["same_predictions", *words.split()])
    monkeypatch.setattr(same_predictions, "inputs", lambda recipe: pytest.fail("too late"))
    try:
        code: object = explained(same_predictions.main)
    except SystemExit as error:
        code = error.code
    assert code == 2 and said in capsys.readouterr().err


def test_predictions_are_read_as_they_were_kept(tmp_path: Path) -> None:
    file = tmp_path / "earlier.npz"
    np.savez_compressed(file, allow_pickle=False, **{"m: held out": np.arange(3.0)})
    assert same_predictions.kept(file)["m: held out"].tolist() == [0.0, 1.0, 2.0]
