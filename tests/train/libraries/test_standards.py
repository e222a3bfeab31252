"""Paired standards: EPO, PDS, slope and bias, on real soils seen by a simulated
second instrument.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from chemotools.adaptation import PiecewiseDirectStandardization
from chemotools.projection import ExternalParameterOrthogonalization

from ccnvr.edge.batch.predict_files import predict_blocks
from ccnvr.edge.chemometrics.grid import Grid, resampling_matrix
from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.edge.cli import main
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.edge.spectrum_files.tables.text_table import read_spectra
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import domain as domains
from ccnvr.train.calibration import finetuning
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries import standards
from ccnvr.train.libraries.sensor import Sensor, line_shapes
from ccnvr.train.libraries.standards import Pairs
from ccnvr.train.network import scales
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.runs import run as runs
from ccnvr.train.runs.report import accuracy_by_library
from ccnvr.train.studies import domain as domain_study
from ccnvr.train.studies import out_of_fold
from tests.support import recipes
from tests.support.helpers import NETWORK_BUNDLE, run_ccnvr

GRID = Grid(1104.0, 10.0, 140)


def second_instrument(wavelengths: np.ndarray, reflectance: np.ndarray) -> np.ndarray:
    """Simulated: lines of 12 nm, a scale that reads 2 nm high, 3 % gain, an offset and a tilt of
    absorbance.
    """
    sensor = Sensor(
        tuple(
            np.clip(wavelengths - 2.0, wavelengths[0], None) + np.arange(wavelengths.size) * 1e-9
        ),
        12.0,
    )
    seen = absorbance(reflectance @ line_shapes(wavelengths, sensor).T)
    return np.asarray(1.03 * seen + 0.02 + 0.03 * np.linspace(-1.0, 1.0, wavelengths.size))


@pytest.fixture(scope="module")
def soils() -> Pairs:
    """Every soil of SL.125 on both instruments."""
    library = limesoda.load("SL.125")
    resample = resampling_matrix(library.wavelengths_nm, GRID).T
    field = second_instrument(library.wavelengths_nm, library.reflectance)
    return Pairs(
        tuple(library.sample_ids), absorbance(library.reflectance) @ resample, field @ resample
    )


def some(soils: Pairs, rows: slice) -> Pairs:
    return Pairs(soils.sample_ids[rows], soils.reference[rows], soils.field[rows])


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(difference**2)))


def test_pds_recovers_the_reference_s_spectra_of_soils_that_it_never_saw(soils: Pairs) -> None:
    correct = standards.fit_pds(some(soils, slice(0, 20)), window=11, components=2)
    before = rms(soils.field[20:] - soils.reference[20:])
    assert rms(correct(soils.field[20:]) - soils.reference[20:]) < 0.1 * before


def test_pds_is_chemotools_own(soils: Pairs) -> None:
    pairs = some(soils, slice(0, 12))
    theirs = PiecewiseDirectStandardization(window_length=3, n_components=2, scale=False)
    theirs.fit(pairs.field, X_source=pairs.reference)
    ours = standards.fit_pds(pairs, window=7, components=2)
    np.testing.assert_allclose(ours(soils.field), theirs.transform(soils.field), rtol=0, atol=1e-10)


def test_epo_is_chemotools_own_and_brings_pairs_together(soils: Pairs) -> None:
    pairs = some(soils, slice(0, 30))
    correct = standards.fit_epo(pairs, 3)
    theirs = ExternalParameterOrthogonalization(n_components=3)
    theirs.fit(
        pairs.reference,
        X_external=np.concatenate([pairs.reference, pairs.field]),
        sample_ids=pairs.sample_ids * 2,
    )
    np.testing.assert_allclose(
        correct(soils.field), theirs.transform(soils.field), rtol=0, atol=1e-10
    )
    before = rms(soils.field[30:] - soils.reference[30:])
    assert rms(correct(soils.field[30:]) - correct(soils.reference[30:])) < 0.2 * before


def test_left_out_standards_are_corrected_without_themselves(soils: Pairs) -> None:
    pairs = some(soils, slice(0, 6))
    fit = partial(standards.fit_pds, window=3, components=1)
    corrected = standards.left_out(pairs, fit)
    np.testing.assert_array_equal(corrected[:1], fit(some(soils, slice(1, 6)))(pairs.field[:1]))


def test_standardising_goes_before_projecting(soils: Pairs) -> None:
    pairs = some(soils, slice(0, 20))
    pds, epo = standards.fit_pds(pairs, 5, 2), standards.fit_epo(pairs, 2)
    both = standards.after(epo, pds)
    np.testing.assert_allclose(both(soils.field), epo(pds(soils.field)), rtol=0, atol=1e-12)
    with pytest.raises(UsageError, match="standardised for an instrument already"):
        standards.after(both, pds)


def test_too_few_standards_and_impossible_windows_are_refused(soils: Pairs) -> None:
    few = some(soils, slice(0, 4))
    with pytest.raises(UsageError, match="4 standards are too few for 2 components, which need 5"):
        standards.fit_pds(few, 5, 2)
    with pytest.raises(UsageError, match="4 standards are too few for 3 components"):
        standards.fit_epo(few, 3)
    for window in (4, 1, 401):
        with pytest.raises(UsageError, match=f"window of {window} bands"):
            standards.fit_pds(soils, window, 2)
    with pytest.raises(UsageError, match="4 components do not fit the 2 bands"):
        standards.fit_pds(soils, 3, 4)


def test_slope_and_bias_are_found_and_need_nothing_new_on_the_edge(
    rng: np.random.Generator,
) -> None:
    target = Target("OC", "g/kg", "log1p", 2.0, 0.5, 1.0, 60.0, half_width_90=0.4)
    outputs = rng.normal(size=20)
    measured = target.restore(0.8 * outputs + 0.3)
    fitted, line = standards.fit_line(target, outputs, measured)
    assert line.standards == 20
    assert [line.slope, line.bias] == pytest.approx([0.8, 0.3])
    np.testing.assert_allclose(fitted.restore(outputs), measured)
    assert line.after < 1e-9 < line.before
    with pytest.raises(UsageError, match="measured in 5 standards and needs 6"):
        standards.fit_line(target, outputs, np.where(np.arange(20) < 5, measured, np.nan))
    with pytest.raises(UsageError, match="do not rise with the measured values"):
        standards.fit_line(target, outputs, target.restore(-outputs))


def write(path: Path, rows: slice, spectra: np.ndarray, laboratory: bool = False) -> Path:
    """Soils of SL.125 as a CSV file of reflectance, every 4 nm."""
    library = limesoda.load("SL.125")
    names = ["OC", "pH"] if laboratory else []
    lines = [",".join(["sample_id", *names, *(f"{nm:g}" for nm in library.wavelengths_nm[::4])])]
    for number, spectrum in list(zip(range(len(spectra)), spectra, strict=True))[rows]:
        values = [f"{library.properties[name][number]:.4g}" for name in names]
        lines.append(
            ",".join(
                [library.sample_ids[number], *values, *(f"{value:.6f}" for value in spectrum[::4])]
            )
        )
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Eight standards and four other soils, on both instruments."""
    folder = tmp_path_factory.mktemp("standards")
    library = limesoda.load("SL.125")
    field = 10.0 ** -second_instrument(library.wavelengths_nm, library.reflectance)
    return {
        "reference": write(folder / "reference.csv", slice(0, 8), library.reflectance),
        "field": write(folder / "field.csv", slice(0, 8), field),
        "laboratory": write(folder / "laboratory.csv", slice(0, 12), field, laboratory=True),
        "few": write(folder / "few.csv", slice(0, 4), field),
        "others": write(folder / "others.csv", slice(20, 24), library.reflectance),
        "others in the field": write(folder / "others-field.csv", slice(20, 24), field),
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Path]) -> Path:
    """A bundle of a small network that was trained with EPO: an export carries its projection."""
    epo = (
        f"\n[epo]\nreference = '{files['reference']}'\nfield = '{files['field']}'\ncomponents = 2\n"
    )
    return exported(tmp_path_factory.mktemp("run"), recipes.SMALL + epo)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without EPO."""
    return exported(tmp_path_factory.mktemp("plain"), recipes.SMALL)


def exported(folder: Path, recipe: str) -> Path:
    """The bundle of a recipe; its run lies beside it."""
    assert main(["train", str(recipes.write(folder, recipe)), "--out", str(folder / "run")]) == 0
    assert main(["export", str(folder / "run"), "--out", str(folder / "small.ccnvr")]) == 0
    return folder / "small.ccnvr"


def out_of_domain(bundle: Path, wavelengths: np.ndarray, spectra: np.ndarray) -> float:
    """Share of absorbance `(n, bands)` that a bundle flags as unlike its training soils."""
    predictor = ProvedModel(str(bundle)).bind(wavelengths)
    flags = [predictor(spectrum[predictor.bands]).flags for spectrum in spectra]
    return float(
        np.mean([any(flag.startswith("out_of_domain") for flag in found) for found in flags])
    )


def answers(bundle: Path, file: Path) -> np.ndarray:
    """OC of each spectrum."""
    rows = predict_blocks(ProvedModel(str(bundle)), [read_spectra(file)], "reflectance")
    return np.array([prediction["OC"].value for _, prediction in rows])


def standardise(*arguments: object) -> int:
    return main(["standardise", *map(str, arguments)])


def test_a_bundle_trained_with_epo_answers_as_its_checkpoint(small: Path) -> None:
    recipe, calibration, _ = run_folder.load(small.parent / "run")
    assert calibration.correction is not None
    assert calibration.correction.directions.shape == (140, 2)
    pool = load_soils(("CV.98:test",), recipe)
    predictor = ProvedModel(str(small)).bind(GRID.wavelengths())
    found = [predictor(spectrum)["OC"].value for spectrum in pool.spectra]
    np.testing.assert_allclose(
        found, fitting.predict(recipe, calibration, pool.spectra)[:, 0], rtol=1e-3
    )
    # What EPO takes out may not matter to the answer.
    nuisance = calibration.correction.directions @ np.array([0.05, 0.02])
    found_with_nuisance = [predictor(spectrum + nuisance)["OC"].value for spectrum in pool.spectra]
    np.testing.assert_allclose(found_with_nuisance, found, rtol=1e-4)


def test_fine_tuning_keeps_the_correction(small: Path) -> None:
    recipe, calibration, _ = run_folder.load(small.parent / "run")
    pool = load_soils(("CV.98:test",), recipe)
    tuned = finetuning.finetune(Fitting(recipe, 1), calibration, pool.spectra, pool.values)
    assert tuned.correction is not None
    assert tuned.correction is calibration.correction
    nuisance = tuned.correction.directions @ np.array([0.05, 0.02])
    found, with_nuisance = (
        fitting.predict(recipe, tuned, pool.spectra + change) for change in (0.0, nuisance)
    )
    assert np.abs(found - fitting.predict(recipe, calibration, pool.spectra)).max() > 0.01
    np.testing.assert_allclose(with_nuisance, found, rtol=1e-4)


def test_the_domain_of_a_bundle_with_epo_knows_corrected_soils(small: Path, soils: Pairs) -> None:
    recipe, calibration, _ = run_folder.load(small.parent / "run")
    held_out = load_soils(("UL.120:test", "SL.125:test"), recipe).spectra
    assert out_of_domain(small, GRID.wavelengths(), held_out) < 0.1
    domain = ProvedModel(str(small)).domain
    assert domain is not None
    in_training = domains.positions(domain, GRID, held_out, calibration.correction).distance
    assert np.mean(in_training > 1.0) < 0.1
    # To spectra that are not corrected it is a strange land, so nobody may forget to.
    assert np.mean(domains.positions(domain, GRID, held_out).distance > 1.0) > 0.9
    # What EPO takes out is no reason for a flag.
    assert out_of_domain(small, GRID.wavelengths(), soils.field[20:]) < 0.1


def test_the_studies_of_a_run_with_epo_look_at_corrected_soils(small: Path) -> None:
    table = domain_study.domain_table(small.parent / "run")
    assert table["false alarms on held-out folds"]["all"]["flagged"] < 0.15
    recipe, calibration, report = run_folder.load(small.parent / "run")
    pool = load_soils(recipe.libraries, recipe)
    seen = out_of_fold.out_of_fold(
        small.parent / "run", recipe, pool, report.targets, calibration.correction
    )
    figures = accuracy_by_library(pool, scales.restore(seen.targets, seen.outputs))
    for library, by_property in report.accuracy["2-fold cross-validation"].items():
        for name, found in by_property.items():
            assert figures[library][name] == pytest.approx(found, abs=1e-3)


def test_a_standardised_bundle_s_domain_knows_the_other_instrument(
    plain: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "adapted.ccnvr"
    options = ["--reference", files["reference"], "--field", files["field"], "--window", 5]
    assert standardise(plain, *options, "--out", out) == 0
    library = limesoda.load("SL.125")
    field = second_instrument(library.wavelengths_nm, library.reflectance)[20:]
    assert out_of_domain(plain, library.wavelengths_nm, field) > 0.5
    assert out_of_domain(out, library.wavelengths_nm, field) < 0.1


def test_pds_adapts_a_bundle(
    small: Path, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "adapted.ccnvr"
    options = ["--reference", files["reference"], "--field", files["field"], "--window", 5]
    assert standardise(small, *options, "--out", out, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["absorbance"]["standards"] == 8
    assert figures["absorbance"]["after"] < 0.3 * figures["absorbance"]["before"]
    assert set(figures) == {"method", "absorbance", "OC (g/kg)", "pH (pH)"}
    correction = ProvedModel(str(out)).correction
    assert correction is not None
    assert (correction.weights.shape, correction.directions.shape) == ((140, 5), (140, 2))
    reference = answers(small, files["others"])
    before, after = (answers(bundle, files["others in the field"]) for bundle in (small, out))
    assert rms(after - reference) < rms(before - reference)
    printed = run_ccnvr("predict", out, files["others in the field"], "--json")
    lines = [json.loads(line)["predictions"]["OC"]["value"] for line in printed.stdout.splitlines()]
    assert lines == pytest.approx(after.tolist())
    assert main(["inspect", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "corrects absorbance: each band from 5 bands, 2 directions projected out" in shown
    assert main(["inspect", str(out), "--json"]) == 0
    assert '"method": "pds"' in capsys.readouterr().out
    assert standardise(out, *options, "--out", tmp_path / "again.ccnvr") == 2
    assert "standardised for an instrument already" in capsys.readouterr().err


def test_slope_and_bias_adapt_a_bundle(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "adapted.ccnvr"
    assert (
        # A bundle that predicts OC itself: on a logarithm, the mean of the values is not kept.
        standardise(
            NETWORK_BUNDLE, "--field", files["laboratory"], "--method", "slope-bias", "--out", out
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "OC (g/kg)" in printed and "pH (pH)" in printed and "CEC" not in printed
    measured = limesoda.load("SL.125").properties["OC"][:12]
    before, after = (answers(bundle, files["laboratory"]) for bundle in (Path(NETWORK_BUNDLE), out))
    assert abs(np.mean(after - measured)) < 1e-2 < abs(np.mean(before - measured))
    assert rms(after - measured) < rms(before - measured)


def test_wrong_use_of_standardise_is_said(
    small: Path, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", tmp_path / "x.ccnvr"]

    def refused(*arguments: object, words: str) -> None:
        assert standardise(small, *arguments, *out) == 2
        message = capsys.readouterr().err
        assert words in message
        assert message.count("\n") == 1

    refused("--field", files["field"], words="--reference is for pds")
    refused("--field", files["field"], "--reference", files["few"], words="is only in")
    refused("--field", files["few"], "--reference", files["few"], words="4 standards are too few")
    refused("--field", files["field"], "--method", "slope-bias", words="none of the columns OC")
    both = ("--reference", files["reference"], "--field", files["field"])
    refused(
        *both,
        "--quantity",
        "absorbance",
        words=f"{files['reference']} row 2: sample 'SL.125/1' rises at 1917 nm",
    )
    absorbs = -np.log10(limesoda.load("SL.125").reflectance)
    inverted = write(tmp_path / "inverted.csv", slice(0, 8), absorbs)
    refused(
        "--reference",
        files["reference"],
        "--field",
        inverted,
        words=f"{inverted} row 2: sample 'SL.125/1' rises",
    )
    micrometres = tmp_path / "micrometres.csv"
    header, rows = files["field"].read_text().split("\n", 1)
    micrometres.write_text(re.sub(r"\d+", lambda nm: str(int(nm[0]) / 1e3), header) + "\n" + rows)
    options = ("--reference", files["reference"], "--field", micrometres)
    assert standardise(small, *options, *out) == 2
    error = capsys.readouterr().err
    assert f"{micrometres} has columns named '0.42' to '2.5'" in error
    assert "these look like micrometres" in error
    assert not (tmp_path / "x.ccnvr").exists()


def test_standardise_writes_over_none_of_its_inputs(
    small: Path, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--reference", files["reference"], "--field", files["field"]]
    for out, words in (
        (files["reference"], "exists already and is not a bundle"),
        (small, "is the bundle to be read"),
    ):
        before = out.read_bytes()
        assert standardise(small, *options, "--out", out) == 2
        assert words in capsys.readouterr().err
        assert out.read_bytes() == before


def test_epo_s_settings_are_checked(tmp_path: Path, files: dict[str, Path]) -> None:
    inverted = write(
        tmp_path / "inverted.csv", slice(0, 8), -np.log10(limesoda.load("SL.125").reflectance)
    )
    for epo, words in (
        ("reference = 'a.csv'\nfield = 'b.csv'\ncomponents = 0", "components = 0 must be from 1"),
        ("reference = 'a.csv'\ncomponents = 2", "key 'epo.field' is missing"),
        ("reference = 'a.csv'\nfield = 'b.csv'\ncomponents = 2", "a.csv cannot be read"),
        (
            f"reference = '{files['few']}'\nfield = '{files['few']}'\ncomponents = 4",
            "4 standards are too few",
        ),
        (
            f"reference = '{inverted}'\nfield = '{inverted}'\ncomponents = 2",
            "inverted.csv row 2: sample 'SL.125/1' rises",
        ),
    ):
        path = recipes.write(tmp_path, f"{recipes.SMALL}\n[epo]\n{epo}\n")
        with pytest.raises(UsageError, match=words):
            runs.train(path, tmp_path / "run")
        assert not (tmp_path / "run").exists()
