"""Intervals and domain limits: what they promise on soils that took no part, and how they travel to
the edge.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle.accept_curve import half_widths_of
from ccnvr.edge.bundle.archive import BundleError
from ccnvr.edge.chemometrics import domain as edge
from ccnvr.edge.chemometrics.domain_distances import DomainDistances, Position
from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.chemometrics.targets import Difficulty, Target
from ccnvr.edge.inference.pipeline import Pipeline, References
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings
from ccnvr.train.calibration import domain as domains
from ccnvr.train.calibration import folds, intervals
from ccnvr.train.calibration.domain import FittedDomain, Positions, conformal_quantile
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.published import r_packages
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.ccnvr import CCNVR
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.runs.report import accuracy_by_library
from ccnvr.train.studies import domain as domain_study
from ccnvr.train.studies import intervals as interval_study
from ccnvr.train.studies import materials, out_of_fold
from tests.support import recipes
from tests.support.estimates import estimate, half_width
from tests.support.helpers import assert_one_sentence, run_ccnvr

GRID = Grid(1104.0, 10.0, 140)
LIBRARIES = ("CV.98", "SSP.460", "UL.120")


@pytest.fixture(scope="module")
def pool() -> Soils:
    return libraries.join([libraries.load_library(f"{name}:train", GRID) for name in LIBRARIES])


@pytest.fixture(scope="module")
def fitted(pool: Soils) -> FittedDomain:
    found = domains.fit(GRID, pool.spectra, pool.origin, folds.fold_of(pool, 5, 1))
    assert found is not None
    return found


def outside(fitted: FittedDomain, spectra: np.ndarray) -> float:
    return float(np.mean(domains.positions(fitted.domain, GRID, spectra).distance > 1.0))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a finished small run, of a network with a linear path, and its bundle."""
    folder = tmp_path_factory.mktemp("run")
    recipe = recipes.write(folder, recipes.SMALL.replace("[network]", "[network]\nlinear = true"))
    assert run_ccnvr("train", recipe, "--out", folder / "run").returncode == 0
    assert run_ccnvr("export", folder / "run", "--out", folder / "small.ccnvr").returncode == 0
    return folder / "run", folder / "small.ccnvr"


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=200), st.floats(0.01, 0.99))
def test_the_conformal_quantile_leaves_enough_scores_below_it(
    scores: list[float], coverage: float
) -> None:
    found = conformal_quantile(np.array(scores), coverage)
    assert found in scores
    below = sum(score <= found for score in scores)
    assert below >= min(len(scores), math.ceil((len(scores) + 1) * coverage))


def soils_of_varied_difficulty(
    rng: np.random.Generator, n: int
) -> tuple[np.ndarray, np.ndarray, Positions]:
    """Errors whose spread grows with the output and differs threefold between two libraries."""
    outputs = rng.normal(size=n)
    distance = rng.lognormal(-1.0, 0.5, n)
    where = Positions(rng.integers(0, 2, n), distance, distance <= 1.0)
    spread = np.exp(0.3 * outputs) * np.where(where.nearest == 0, 0.1, 0.3)
    return np.abs(rng.normal(0.0, spread)), outputs, where


def test_exchangeable_soils_are_covered_and_easy_ones_get_narrower_intervals(
    rng: np.random.Generator,
) -> None:
    inside: list[float] = []
    by_library: list[list[float]] = [[], []]
    ratio = []
    for _ in range(40):
        errors, outputs, where = soils_of_varied_difficulty(rng, 400)
        known = np.arange(400) < 200
        fold_of = np.arange(200) % 5
        half, difficulty = intervals.fit_interval(
            errors[known], outputs[known], fold_of, where[known], 2
        )
        widths = half * intervals.factors(difficulty, outputs[~known], where[~known])
        covered = errors[~known] <= widths
        inside.append(float(covered.mean()))
        for library, shares in enumerate(by_library):
            shares.append(float(covered[where.nearest[~known] == library].mean()))
        ratio.append(widths.mean() / conformal_quantile(errors[known], intervals.COVERAGE))
    # 40 x 200 soils, quantiles of 200 each: the mean's standard error is some 0.5 %.
    assert 0.885 < np.mean(inside) < 0.92
    # One width would cover 99 % of the first library and 80 % of the second.
    assert all(0.86 < np.mean(shares) < 0.95 for shares in by_library)
    assert np.mean(ratio) < 0.9


@given(
    st.floats(-100.0, 100.0),
    st.floats(0.0, 1e300),
    st.integers(0, 1),
    st.tuples(st.floats(-999.0, 999.0), st.floats(-0.5, 999.0), st.floats(-0.1, 999.0)),
)
def test_no_width_vanishes_or_explodes(
    output: float, distance: float, nearest: int, weights: tuple[float, float, float]
) -> None:
    # The mean keeps clear of zero, below which values are cut off.
    target = Target(
        "pH", "pH", "identity", 200.0, 1.0, 4.0, 9.0, 0.5, Difficulty(*weights, (0.1, -0.1))
    )
    where = Position(nearest, distance, distance <= 1.0)
    found = estimate(target, output, half_width(target, output, where))
    assert found.low is not None and found.high is not None
    assert 0.4999 <= found.high - found.low <= 2.0001
    assert half_width(dataclasses.replace(target, difficulty=None), output, where) == 0.5


def test_few_soils_and_a_run_without_domain_get_widths_that_grow_with_the_prediction(
    rng: np.random.Generator,
) -> None:
    errors, outputs, where = soils_of_varied_difficulty(rng, 49)
    _, few = intervals.fit_interval(errors, outputs, np.arange(49) % 5, where, 2)
    assert few.libraries == () and few.by_bin == () and few.output > 0.0
    # Laboratories err more on high values; that few soils show the contrary is chance.
    _, falling = intervals.fit_interval(errors, -outputs, np.arange(49) % 5, where, 2)
    assert falling.output == 0.0
    target = Target("pH", "pH", "identity", 0.0, 1.0, -9.0, 9.0)
    measured = outputs[:, None]
    (found,) = intervals.with_intervals(
        (target,), measured, measured + errors[:, None], np.arange(49) % 5, None
    )
    assert found.difficulty is not None and found.difficulty.libraries == ()
    assert found.half_width_90 is not None
    halves = found.half_width_90 * found.difficulty.factor(outputs + errors)
    assert np.mean(errors <= halves) >= 0.85 and halves[np.argmax(outputs)] > np.median(halves)


def test_an_output_beyond_all_numbers_stays_a_number() -> None:
    """JSON knows no infinity."""
    target = Target("OC", "g/kg", "log1p", 2.5, 0.9, 0.1, 80.0, half_width_90=0.5)
    answer = estimate(target, 1e6, 0.5)
    assert answer.low is not None and answer.high is not None
    assert 80.0 < answer.low <= answer.value <= answer.high < np.inf


def test_soils_held_out_are_in_the_domain_and_what_is_no_soil_is_not(
    pool: Soils, fitted: FittedDomain, rng: np.random.Generator
) -> None:
    assert fitted.domain.shape.libraries == LIBRARIES
    assert np.mean(fitted.held_out.distance > 1.0) <= domains.FALSE_ALARMS
    held_out = np.concatenate(
        [libraries.load_library(f"{name}:test", GRID).spectra for name in LIBRARIES]
    )
    assert outside(fitted, held_out) <= 0.08  # 68 soils
    # By its spectrum alone, a soil is found to be of its library.
    nearest = np.array(fitted.domain.shape.libraries)[fitted.held_out.nearest]
    assert np.mean(nearest == np.array(pool.origin)) > 0.95
    for name, make in materials.MATERIALS.items():
        spectra = make(GRID.wavelengths(), 100, rng)
        assert np.all(np.isfinite(spectra)) and spectra.min() > -1.0, name
        assert outside(fitted, spectra) >= 0.95, name


def test_wet_soils_are_outside_where_they_are_inside_when_dry(
    nirsoil_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even with moist field soils of another place, CV.98, among those trained on."""
    monkeypatch.setenv("CCNVR_DATA", str(nirsoil_data))
    if not all((nirsoil_data / name).exists() for name in ("datEPO.rda", "datsoilspc.rda")):
        pytest.skip("CCNVR_DATA names no folder with datEPO.rda and datsoilspc.rda")
    pool = libraries.join([libraries.load_library(name, GRID) for name in ("CV.98", "geeves")])
    fitted = domains.fit(GRID, pool.spectra, pool.origin, folds.fold_of(pool, 5, 1))
    assert fitted is not None
    states = r_packages.read_moisture(GRID).by_state
    assert outside(fitted, states["wet"]) >= 0.95
    assert outside(fitted, states["air-dry"]) <= 0.2


def test_a_layer_is_what_its_limits_are() -> None:
    absorbs, scatters, thick, thin = (np.array(value) for value in (0.5, 2.0, 1e3, 1e-9))
    ratio = 0.5 / 2.0
    # Kubelka & Munk 1931: reflectance of a layer without end; and a layer of no thickness shows its
    # background.
    assert materials.layer(absorbs, scatters, thick, np.array(0.3)) == pytest.approx(
        1 + ratio - math.sqrt(ratio**2 + 2 * ratio)
    )
    assert materials.layer(absorbs, scatters, thin, np.array(0.3)) == pytest.approx(0.3)
    peaks = GRID.wavelengths()[
        np.argmax(materials.absorption(materials.METHYLENE, GRID.wavelengths()))
    ]
    assert peaks == pytest.approx(2311.0, abs=5.0)


def test_distances_are_those_of_the_definition(pool: Soils, fitted: FittedDomain) -> None:
    domain = fitted.domain
    views = domains.prepare(domain.shape, GRID, pool.spectra[::50])
    ratios = domain.ratios(views)
    for library in range(3):
        for view in range(2):
            centred = views[:, view] - domain.means[library, view]
            scores = centred @ domain.loadings[library, view].T
            q = np.sum((centred - scores @ domain.loadings[library, view]) ** 2, axis=1)
            t2 = np.sum(scores**2 / domain.variances[library, view], axis=1)
            expected = np.stack([q, t2], axis=1) / domain.limits[library, view]
            np.testing.assert_allclose(ratios[:, library, view], expected, rtol=1e-3)
    products = domain.loadings @ domain.loadings.swapaxes(2, 3)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(4), products.shape), atol=1e-6)


def test_one_spectrum_lies_where_training_says(pool: Soils, fitted: FittedDomain) -> None:
    """The edge, spectrum by spectrum, against training, all at once."""
    smooth = Preprocessor(fitted.domain.shape.preprocessing(GRID), GRID.wavelengths())
    locate = DomainDistances(fitted.domain)
    together = domains.positions(fitted.domain, GRID, pool.spectra[::40])
    for row, spectrum in enumerate(pool.spectra[::40]):
        (found,) = locate(smooth(spectrum)[None])
        assert found.nearest == together.nearest[row]
        assert found.distance == pytest.approx(together.distance[row], rel=1e-6)
        assert bool(found.flags) == (found.distance > 1.0)


def test_libraries_too_small_for_components_have_none(pool: Soils) -> None:
    few = np.flatnonzero(np.array(pool.origin) == "CV.98")[: domains.FEWEST_SOILS - 1]
    assert (
        domains.fit(GRID, pool.spectra[few], ["CV.98"] * len(few), np.arange(len(few)) % 5) is None
    )
    rows = np.concatenate([few, np.flatnonzero(np.array(pool.origin) == "UL.120")])
    origin = [pool.origin[row] for row in rows]
    found = domains.fit(GRID, pool.spectra[rows], origin, np.arange(len(rows)) % 5)
    assert found is not None and found.domain.shape.libraries == ("UL.120",)


def test_a_domain_survives_its_bytes_and_damage_is_refused(fitted: FittedDomain) -> None:
    domain, content = fitted.domain, fitted.domain.to_bytes()
    again = edge.read(content, domain.shape, GRID)
    assert again.to_bytes() == content
    np.testing.assert_array_equal(again.limits, domain.limits)
    for wrong in (b"", content[:-4], content + b"\0\0\0\0"):
        with pytest.raises(
            ValueError, match=r"bytes where 3 libraries of 4 components and 140 bands have"
        ):
            edge.read(wrong, domain.shape, GRID)
    with pytest.raises(ValueError, match="finite number"):
        edge.read(np.float32(np.nan).tobytes() + content[4:], domain.shape, GRID)
    with pytest.raises(ValueError, match="not positive"):
        edge.read(content[:-4] + np.float32(0.0).tobytes(), domain.shape, GRID)
    with pytest.raises(ValueError, match="longer than the grid"):
        edge.read(content, dataclasses.replace(domain.shape, window=141), GRID)
    huge = dataclasses.replace(domain.shape, libraries=tuple(map(str, range(64))), components=16)
    with pytest.raises(ValueError, match="at most 16777216 are allowed"):
        edge.read(content, huge, Grid(400.0, 0.5, 4200))
    for change in (
        {"window": 4},
        {"every": 0},
        {"every": 99},
        {"components": 65},
        {"libraries": ()},
        {"false_alarms": 0.0},
    ):
        with pytest.raises(ValueError, match="not possible"):
            dataclasses.replace(domain.shape, **change)


def test_a_bundle_carries_domain_and_intervals_to_the_output(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, path = finished
    _, _, report = run_folder.load(folder)
    model = ProvedModel(str(path))
    assert model.domain is not None and model.domain.to_bytes() == (folder / edge.PART).read_bytes()
    assert model.bundle.manifest.targets == report.targets
    shown = run_ccnvr("inspect", path).stdout
    assert "domain: flags spectra unlike the soils of UL.120, SL.125" in shown
    assert "0.125 to 8 times that for others" in shown
    # The card states the half widths of the soils that the intervals were calibrated on.
    assert not any(curve.estimated for curve in half_widths_of(model.bundle.manifest))
    assert "of the soils that the intervals were calibrated on" in shown
    assert "no domain" in run_ccnvr("inspect", without_domain(path, tmp_path / "old.ccnvr")).stdout
    # Two soils that it knows and a sheet of paper.
    soils = limesoda.load("UL.120")
    wavelengths = soils.wavelengths_nm
    sheet = 10.0 ** -materials.paper(wavelengths, 1, np.random.default_rng(3))
    rows = [("a", soils.reflectance[0]), ("b", soils.reflectance[1]), ("paper", sheet[0])]
    lines = [
        ",".join(["sample_id", *map(str, wavelengths)]),
        *(",".join([name, *map(str, row)]) for name, row in rows),
    ]
    (tmp_path / "three.csv").write_text("\n".join(lines))
    result = run_ccnvr("predict", path, tmp_path / "three.csv", "--json")
    assert result.returncode == 0, result.stderr
    soil, other, paper = (json.loads(line) for line in result.stdout.splitlines())
    assert not [
        flag for line in (soil, other) for flag in line["flags"] if flag.startswith("out_of_domain")
    ]
    assert "out_of_domain:Q" in paper["flags"]
    assert set(paper["predictions"]) == {"OC", "pH"}
    widths = [
        line["predictions"]["pH"]["high"] - line["predictions"]["pH"]["low"]
        for line in (soil, other, paper)
    ]
    # What is far from all soils is as uncertain as anything may be, and these two soils are not.
    assert widths[2] > 1.5 * max(widths[:2])
    old = run_ccnvr("predict", tmp_path / "old.ccnvr", tmp_path / "three.csv", "--json")
    assert "out_of_domain" not in old.stdout and old.returncode == 0


def test_a_scan_out_of_domain_keeps_its_numbers_and_is_flagged(finished: tuple[Path, Path]) -> None:
    wavelengths = np.arange(1100.0, 2501.0, 4.0)
    info = InstrumentInfo("sim", "1", "1.0", 1, wavelengths, 65535, 1_000, 1_000_000, 64)
    settings = Settings(10_000, 1)

    def scan(kind: ScanKind, counts: np.ndarray) -> Scan:
        return Scan(1, kind, counts, settings, False, 25.0)

    dark, white = (
        scan(ScanKind.DARK, np.full(wavelengths.size, 100.0)),
        scan(ScanKind.WHITE, np.full(wavelengths.size, 50_100.0)),
    )
    leaf = 10.0 ** -materials.green_plant(wavelengths, 1, np.random.default_rng(1))[0]
    pipeline = Pipeline(
        ProvedModel(str(finished[1])).bind(wavelengths), info, References(dark, white, 1.0)
    )
    prediction = pipeline(scan(ScanKind.SAMPLE, 100.0 + 50_000.0 * leaf))
    assert "out_of_domain:Q" in prediction.flags
    assert set(prediction.estimates) == {"OC", "pH"}


def changed(path: Path, out: Path, parts: Mapping[str, bytes], **manifest: object) -> Path:
    """The bundle with other parts or another manifest, whole in all else."""
    bundle = bundles.read(path)
    described = {name: bundles.part_of(content) for name, content in parts.items()}
    bundles.write(out, dataclasses.replace(bundle.manifest, parts=described, **manifest), parts)  # type: ignore[arg-type]
    return out


def without_domain(path: Path, out: Path) -> Path:
    """As bundles were before there were domains: not even the keys are there."""
    bundle = bundles.read(path)
    targets = tuple(
        dataclasses.replace(target, difficulty=None) for target in bundle.manifest.targets
    )
    changed(
        path,
        out,
        {name: part for name, part in bundle.parts.items() if name != edge.PART},
        targets=targets,
        domain=None,
    )
    with zipfile.ZipFile(out) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(contents[bundles.MANIFEST])
    del manifest["domain"]
    for target in manifest["targets"]:
        del target["difficulty"]
    contents[bundles.MANIFEST] = json.dumps(manifest).encode()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return out


def test_a_bundle_whose_domain_does_not_fit_is_refused(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    _, path = finished
    parts, out = bundles.read(path).parts, tmp_path / "bad.ccnvr"
    with pytest.raises(
        BundleError, match=r"cannot be used: it has 4 bytes where 2 libraries.*export it again"
    ):
        ProvedModel(str(changed(path, out, {**parts, edge.PART: b"none"})))
    with pytest.raises(BundleError, match=r"states a domain but has no domain\.f32"):
        ProvedModel(
            str(
                changed(
                    path, out, {name: part for name, part in parts.items() if name != edge.PART}
                )
            )
        )
    with pytest.raises(ValueError, match="is for 2 libraries where the domain has 0"):
        changed(path, out, parts, domain=None)
    result = run_ccnvr(
        "inspect",
        changed(path, out, {**parts, edge.PART: parts[edge.PART][:-4] + b"\xff\xff\xff\xff"}),
    )
    assert_one_sentence(result, 1, "not a finite number of sensible size", "export it again")
    with pytest.raises(ValueError, match="within 1000 of 0"):
        Difficulty(math.nan, 0.0, 0.0, (0.0,))


def test_a_run_whose_domain_is_lost_is_refused_before_the_work(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(finished[0], tmp_path / "run")
    (folder / edge.PART).unlink()
    shutil.rmtree(folder / "quantized")
    assert_one_sentence(
        run_ccnvr("export", folder, "--out", tmp_path / "x.ccnvr"),
        2,
        "domain.f32",
        "run ccnvr train",
    )
    assert not (folder / "quantized").exists()


def test_dropout_leaves_a_linear_path_alone() -> None:
    torch.manual_seed(1)
    network = CCNVR(recipes.network_config(linear=True, dropout=0.0)).eval()
    point, draws = out_of_fold.with_dropout(network, torch.randn(4, 2, 140).numpy(), 0)
    np.testing.assert_allclose(draws, np.broadcast_to(point, draws.shape), rtol=0.0, atol=1e-6)


def test_the_studies_run_on_the_folder_of_a_run(finished: tuple[Path, Path]) -> None:
    folder, _ = finished
    table = interval_study.coverage_table(folder, unknown=("SSP.460",))
    assert json.loads(json.dumps(table)) == table
    recipe, _, report = run_folder.load(folder)
    seen = out_of_fold.out_of_fold(
        folder, recipe, load_soils(recipe.libraries, recipe), report.targets
    )
    for column, name in enumerate(("OC", "pH")):
        found = table["properties"][name]
        assert found["intervals"]["by difficulty"]["n"] == 221
        # Each fold's width is the other's quantile.
        errors = np.abs(seen.outputs - seen.measured)[:, column]
        widths = [conformal_quantile(errors[seen.fold_of != fold], 0.9) for fold in seen.fold_of]
        assert found["intervals"]["one width"]["coverage"] == pytest.approx(
            np.mean(errors <= widths), abs=1e-3
        )
        assert found["intervals"]["one width"]["width_sd"] == pytest.approx(
            2.0 * np.mean(widths), abs=1e-3
        )
        assert (
            found["intervals"]["MC-dropout"]["coverage"]
            > found["intervals"]["MC-dropout, raw"]["coverage"]
        )
        assert (
            found["intervals"]["by difficulty"]["width_sd"]
            != found["intervals"]["one width"]["width_sd"]
        )
        assert set(found["libraries"]) == {"UL.120", "SL.125"}
        assert found["final network"]["unknown library SSP.460"]["n"] == 460
    assert "MC-dropout, raw" in interval_study.coverage_text(table)
    with pytest.raises(UsageError, match=r"soils of UL\.120 were trained on"):
        interval_study.coverage_table(folder, unknown=("UL.120",))
    flagged = domain_study.domain_table(folder)
    assert json.loads(json.dumps(flagged)) == flagged
    assert flagged["false alarms on held-out folds"]["all"]["flagged"] < 0.1
    assert min(rows["flagged"] for rows in flagged["simulated materials"].values()) >= 0.95
    assert max(rows["sure"] for rows in flagged["simulated materials"].values()) == 0.0
    assert flagged["false alarms on held-out folds"]["all"]["sure"] > 0.6
    assert flagged["soils held out from training"]["CV.98"]["sure"] < 0.05
    assert flagged["soils held out from training"]["CV.98"]["flagged"] > 0.9
    assert "white paper" in domain_study.domain_text(flagged)


def test_out_of_fold_outputs_are_those_of_the_run(finished: tuple[Path, Path]) -> None:
    folder, _ = finished
    recipe, _, report = run_folder.load(folder)
    pool = load_soils(recipe.libraries, recipe)
    seen = out_of_fold.out_of_fold(folder, recipe, pool, report.targets)
    predicted = np.stack(
        [
            target.restore(column)
            for target, column in zip(seen.targets, seen.outputs.T, strict=True)
        ],
        axis=1,
    )
    table = accuracy_by_library(pool, predicted)
    for library, properties in table.items():
        for name, figures in properties.items():
            assert figures == pytest.approx(
                report.accuracy["2-fold cross-validation"][library][name], abs=2e-4
            )
    checkpoint = folder / "fold-1" / "checkpoint.pt"
    content = checkpoint.read_bytes()
    checkpoint.unlink()
    try:
        with pytest.raises(UsageError, match="is missing; run the same ccnvr train again"):
            out_of_fold.out_of_fold(folder, recipe, pool, report.targets)
    finally:
        checkpoint.write_bytes(content)
