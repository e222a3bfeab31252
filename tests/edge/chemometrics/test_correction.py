"""Corrections: the projection, the compiled form, and malformed corrections in a bundle."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle.archive import BundleError
from ccnvr.edge.chemometrics import correction as corrections
from ccnvr.edge.chemometrics.correction import Correction, pack, projection, standardisation, unpack
from ccnvr.edge.chemometrics.grid import Grid, resampling_matrix
from ccnvr.edge.chemometrics.preprocess import Channel, Preprocessing, Preprocessor, absorbance
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.train.libraries import load as libraries
from ccnvr.train.network.augment import Mixture, VariedInputs
from ccnvr.train.recipe.settings import Augmentation
from tests.support.helpers import NETWORK_BUNDLE, assert_one_sentence, run_ccnvr

GRID = Grid(1104.0, 10.0, 140)
BANDS = ProvedModel(NETWORK_BUNDLE).bundle.manifest.preprocessing.grid.bands
"""The number of grid bands of the default bundle."""
CHANNELS = (Channel(snv=False), Channel(), Channel(7, 2, 1), Channel(9, 3, 2, snv=False))


def orthonormal(rng: np.random.Generator, bands: int, rank: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(bands, rank)))[0]


def some_correction(rng: np.random.Generator, bands: int, window: int, rank: int) -> Correction:
    weights = rng.normal(0.0, 0.1, (bands, window)) + (np.arange(window) == window // 2)
    return Correction(weights, orthonormal(rng, bands, rank), rng.normal(0.0, 0.05, bands))


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_a_projection_takes_its_directions_out_and_nothing_else(seed: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    directions = orthonormal(rng, 60, rank)
    correct = projection(directions, np.zeros(60))
    spectra, nuisance = rng.normal(size=(5, 60)), rng.normal(size=(5, rank)) @ directions.T
    np.testing.assert_allclose(correct(spectra + nuisance), correct(spectra), rtol=0, atol=1e-12)
    np.testing.assert_allclose(correct(spectra) @ directions, 0.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(correct(correct(spectra)), correct(spectra), rtol=0, atol=1e-12)
    beside = spectra - spectra @ directions @ directions.T
    np.testing.assert_allclose(correct(beside), beside, rtol=0, atol=1e-12)


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 11]), st.integers(0, 4))
def test_compiled_with_the_filters_it_equals_correcting_first(
    seed: int, window: int, rank: int
) -> None:
    rng = np.random.default_rng(seed)
    correction = some_correction(rng, GRID.bands, window, rank)
    wavelengths = np.arange(1100.0, 2500.0, 3.7)
    spectra = 0.5 + 0.01 * np.cumsum(rng.normal(size=(3, wavelengths.size)), axis=1)
    preprocessing = Preprocessing(GRID, CHANNELS)
    compiled = Preprocessor(preprocessing, wavelengths, correction)
    corrected = correction(spectra @ resampling_matrix(wavelengths, GRID).T)
    expected = Preprocessor(preprocessing, GRID.wavelengths()).batch(corrected)
    np.testing.assert_allclose(compiled.batch(spectra), expected, rtol=1e-5, atol=1e-6)
    for spectrum, answer in zip(spectra, expected, strict=True):
        np.testing.assert_allclose(compiled(spectrum), answer, rtol=1e-5, atol=1e-6)


def test_a_change_of_a_spectrum_is_projected_but_has_no_offset(rng: np.random.Generator) -> None:
    compiled = Preprocessor(
        Preprocessing(GRID, CHANNELS), GRID.wavelengths(), some_correction(rng, GRID.bands, 5, 3)
    )
    spectra, changes = rng.normal(0.5, 0.1, (2, 4, GRID.bands))
    difference = compiled.filter(spectra + changes) - compiled.filter(spectra)
    np.testing.assert_allclose(compiled.filter_change(changes), difference, rtol=0, atol=1e-12)
    assert np.all(compiled.filter_change(np.zeros((1, GRID.bands))) == 0.0)
    assert np.all(compiled.filter(np.zeros((1, GRID.bands))).std(axis=2) > 0.0)


def test_varied_training_spectra_are_corrected_after_they_are_varied(
    rng: np.random.Generator,
) -> None:
    """In the field, the offset, noise and scale of the instrument precede any correction too."""
    soils = libraries.load_library("UL.120", GRID).spectra
    settings = Augmentation(
        offset=0.1,
        slope=0.1,
        gain=0.1,
        shift_nm=1.0,
        broadening_nm=3.0,
        noise=0.01,
        input_shift=0.0,
    )
    correction = some_correction(rng, GRID.bands, 5, 3)
    preprocessing, rows = (
        Preprocessing(GRID, (Channel(snv=False),)),
        rng.permutation(len(soils))[:16],
    )

    def varied(correction: Correction | None) -> np.ndarray:
        inputs = VariedInputs(
            Preprocessor(preprocessing, GRID.wavelengths(), correction), soils, settings, seed=1
        )
        return inputs.batch(Mixture(rows), np.random.default_rng(5))[:, 0]

    np.testing.assert_allclose(varied(correction), correction(varied(None)), rtol=0, atol=1e-5)


def test_weights_of_zero_leave_the_offset(rng: np.random.Generator) -> None:
    offset = rng.normal(size=GRID.bands)
    compiled = Preprocessor(
        Preprocessing(GRID, (Channel(snv=False),)),
        GRID.wavelengths(),
        standardisation(np.zeros((GRID.bands, 3)), offset),
    )
    np.testing.assert_allclose(compiled(rng.normal(size=GRID.bands))[0], offset, rtol=1e-6)


def test_what_is_packed_is_unpacked(rng: np.random.Generator) -> None:
    for correction in (
        some_correction(rng, 50, 5, 3),
        projection(orthonormal(rng, 50, 2), np.zeros(50)),
    ):
        again = unpack(pack(correction), 50)
        for name in ("weights", "directions", "offset"):
            np.testing.assert_array_equal(getattr(again, name), getattr(correction, name))
        assert pack(again) == pack(correction)
    assert unpack(pack(standardisation(np.ones((50, 3)), np.zeros(50))), 50).standardises


@pytest.mark.parametrize(
    ("weights", "directions", "offset", "words"),
    [
        (np.ones((9, 1)), np.zeros((10, 0)), np.zeros(10), "do not belong to one grid"),
        (np.ones(10), np.zeros((10, 0)), np.zeros(10), "do not belong to one grid"),
        (np.ones((10, 2)), np.zeros((10, 0)), np.zeros(10), "window of 2 bands"),
        (np.ones((10, 203)), np.zeros((10, 0)), np.zeros(10), "window of 203 bands"),
        (np.ones((10, 1)), np.eye(10), np.zeros(10), "10 directions are not possible"),
        (np.ones((10, 1)), np.ones((10, 1)), np.zeros(10), "not orthonormal"),
        (np.ones((10, 1)), np.zeros((10, 0)), np.full(10, np.nan), "not finite"),
        (np.full((10, 1), 1e4), np.zeros((10, 0)), np.zeros(10), "not below 1000"),
    ],
)
def test_what_is_no_correction_is_refused(
    weights: np.ndarray, directions: np.ndarray, offset: np.ndarray, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Correction(weights, directions, offset)


def adapted(path: Path, content: bytes) -> Path:
    """The default bundle with this correction, but with its original self-test."""
    bundle = bundles.read(NETWORK_BUNDLE)
    parts = {**bundle.parts, corrections.PART: content}
    described = {name: bundles.part_of(part) for name, part in parts.items()}
    bundles.write(path, dataclasses.replace(bundle.manifest, parts=described), parts)
    return path


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def compressed() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(
        stream, weights=np.ones((BANDS, 1)), directions=np.zeros((BANDS, 0)), offset=np.zeros(BANDS)
    )
    return stream.getvalue()


def lying_shape() -> bytes:
    """An array whose header states a terabyte and which has no content."""
    member, stream = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(
        member, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 1)}
    )
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("weights.npy", member.getvalue())
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: b"", "not a zip file"),
        (lambda: b"PK\x03\x04" + b"x" * 100, "not a zip file"),
        (lambda: npz(weights=np.ones((BANDS, 1))), "directions.npy"),
        (lambda: npz(weights=np.ones((BANDS, 1), dtype=np.float32)), "float64"),
        (lambda: npz(weights=np.array([{}], dtype=object)), "float64"),
        (compressed, "is compressed"),
        (lying_shape, "does not hold the float64 numbers that its header states"),
        (
            lambda: pack(standardisation(np.ones((10, 1)), np.zeros(10))),
            f"for 10 bands, but the model has {BANDS}",
        ),
        (
            lambda: pack(standardisation(np.ones((BANDS, 1)), np.zeros(BANDS)))[:-40],
            "not a zip file",
        ),
    ],
)
def test_a_malformed_correction_is_refused_in_one_sentence(
    tmp_path: Path, content: Callable[[], bytes], words: str
) -> None:
    path = adapted(tmp_path / "x.ccnvr", content())
    with pytest.raises(BundleError, match="the correction in bundle") as caught:
        ProvedModel(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_bytes_never_get_further_than_a_bundle_error(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    content = pack(standardisation(np.ones((BANDS, 1)), np.zeros(BANDS)))
    manifest = bundles.read(NETWORK_BUNDLE).manifest
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.integers(400) if rng.random() < 0.5 else -1 - rng.integers(400)] ^= (
            1 << rng.integers(8)
        )
        bundle = bundles.Bundle("damaged", "", manifest, {corrections.PART: bytes(damaged)})
        try:
            correction = bundle.correction()
        except BundleError:
            continue
        assert correction is not None
        assert np.array_equal(correction.weights, np.ones((BANDS, 1)))


def test_the_self_test_proves_the_correction_too(tmp_path: Path) -> None:
    bends = standardisation(np.ones((BANDS, 1)), 0.1 * np.sin(np.arange(BANDS) / 5.0))
    path = adapted(tmp_path / "x.ccnvr", pack(bends))
    with pytest.raises(BundleError, match="differs from its self-test"):
        ProvedModel(str(path))
    assert_one_sentence(run_ccnvr("inspect", path), 1, "differs from its self-test")


def test_a_correction_that_changes_nothing_changes_no_answer(
    tmp_path: Path, model: ProvedModel
) -> None:
    path = adapted(
        tmp_path / "x.ccnvr", pack(standardisation(np.ones((BANDS, 1)), np.zeros(BANDS)))
    )
    soils = limesoda.load("CV.98")
    corrected = ProvedModel(str(path)).bind(soils.wavelengths_nm)
    plain = model.bind(soils.wavelengths_nm)
    for reflectance in soils.reflectance[:5]:
        spectrum = absorbance(reflectance[plain.bands])
        for name, estimate in plain(spectrum).items():
            assert corrected(spectrum)[name].value == pytest.approx(estimate.value, rel=1e-5)


def test_bundles_without_a_correction_have_none(model: ProvedModel) -> None:
    assert model.correction is None
    assert json.loads(model.bundle.manifest.to_json())["schema"] == 1
