"""Intact and damaged bundles."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle.archive import BundleError
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.firmware_bridge.errors import UsageError
from tests.support.helpers import NETWORK_BUNDLE, NETWORK_FILE


@pytest.fixture
def default(tmp_path: Path) -> Path:
    """A copy of a bundle."""
    path = tmp_path / "copy.ccnvr"
    path.write_bytes(NETWORK_FILE.read_bytes())
    return path


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Change the files of a bundle; it stays a valid zip."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    change(contents)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def edit_manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], None]:
    def edit(contents: dict[str, bytes]) -> None:
        manifest = json.loads(contents[bundles.MANIFEST])
        change(manifest)
        contents[bundles.MANIFEST] = json.dumps(manifest).encode()

    return edit


def test_the_packaged_bundle_goes_by_the_name_that_was_given() -> None:
    assert bundles.read(NETWORK_BUNDLE).source == NETWORK_BUNDLE


def test_what_is_written_is_read(default: Path, tmp_path: Path) -> None:
    original = bundles.read(default)
    again, twice = tmp_path / "again.ccnvr", tmp_path / "twice.ccnvr"
    bundles.write(again, original.manifest, original.parts)
    read = bundles.read(again)
    assert (read.manifest, read.parts) == (original.manifest, original.parts)
    bundles.write(twice, read.manifest, read.parts)
    assert twice.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update({"model.fp32.onnx": c["model.fp32.onnx"][:-1] + b"x"}), "sha256"),
        (lambda c: c.pop(bundles.SELF_TEST), "selftest.json"),
        (lambda c: c.update({"extra.bin": b""}), "extra.bin"),
        (lambda c: c.pop(bundles.MANIFEST), "no manifest.json"),
        (lambda c: c.update({bundles.MANIFEST: b"{"}), "cannot be used"),
        (lambda c: c.update({bundles.MANIFEST: b"\xff"}), "cannot be used"),
        (lambda c: c.update({bundles.MANIFEST: b"[]"}), "schema is None"),
        (lambda c: c.update({f"f{i}": b"" for i in range(20)}), "exceed 16 files"),
        (
            edit_manifest(lambda m: m.update(schema=2)),
            "schema is 2 and this ccnvr reads 1; update ccnvr",
        ),
        (edit_manifest(lambda m: m.update(colour="red")), "unknown key 'colour'"),
        (edit_manifest(lambda m: m.pop("recipe")), "key 'recipe' is missing"),
        (edit_manifest(lambda m: m.update(targets=[])), "at least one is needed"),
        (edit_manifest(lambda m: m["targets"][0].update(transform="exp")), "transform 'exp'"),
        (edit_manifest(lambda m: m["targets"][0].update(sd=0.0)), "sd 0.0"),
        (
            edit_manifest(lambda m: m["recipe"]["grid"].update(bands=10**9)),
            "grid of 1000000000 bands",
        ),
        (
            edit_manifest(lambda m: m["recipe"]["channels"][1].update(window=4)),
            "filter of window 4",
        ),
        (edit_manifest(lambda m: m["recipe"].update(channels=[])), "0 input channels"),
        (
            edit_manifest(lambda m: m["recipe"]["channels"][1].update(window=301, polyorder=300)),
            "order 300",
        ),
        (edit_manifest(lambda m: m["targets"].append(m["targets"][0])), "each once"),
        (edit_manifest(lambda m: m["targets"][0].update(half_width_90=-1.0)), "half_width_90 -1.0"),
        (edit_manifest(lambda m: m["targets"][0].update(half_width_90=0.0)), "half_width_90 0.0"),
        (
            edit_manifest(lambda m: m["targets"][0]["difficulty"].update(output=-1.0)),
            "the slopes -1.0 and",
        ),
        (
            edit_manifest(lambda m: m["targets"][0]["difficulty"].update(distance=-1)),
            "and -1.0 of a difficulty",
        ),
        (edit_manifest(lambda m: m.update(name="")), "the model, a target or a library"),
        (edit_manifest(lambda m: m["targets"][0].update(transform="x" * 10**5)), "'xxxxxxxxxx"),
        (edit_manifest(lambda m: m["targets"][0].update(sd=1e308)), "sd 1e+308"),
        (edit_manifest(lambda m: m["targets"][0].update(mean=10**400)), "too large a number"),
        (edit_manifest(lambda m: m["card"].update(accuracy=5)), "'card.accuracy' is 5"),
        (
            edit_manifest(
                lambda m: m["card"]["accuracy"].update(all={"nirsoil": {"OC": {"n": 10**400}}})
            ),
            "'card.accuracy.all.nirsoil.OC.n' is too large a number",
        ),
        (
            edit_manifest(lambda m: m["card"].update(soils={"n": float("nan")})),
            "NaN is not a number",
        ),
        (edit_manifest(lambda m: m["parts"]["selftest.json"].update(bytes=1)), "the size"),
        (
            lambda c: c.update(
                {
                    bundles.MANIFEST: c[bundles.MANIFEST].replace(
                        b'"targets"', b'"targets": [], "targets"', 1
                    )
                }
            ),
            "the key 'targets' is there twice",
        ),
        (
            edit_manifest(lambda m: m["targets"][0].update(name="")),
            "a target or a library of the domain has no name",
        ),
        (
            edit_manifest(lambda m: m["targets"][0].update(unit="g\u202e/kg")),
            r"'g\u202e/kg' has characters that cannot be shown",
        ),
        (
            edit_manifest(lambda m: m["domain"]["libraries"].__setitem__(0, "\x1b[31m")),
            "has characters that cannot be shown",
        ),
        (edit_manifest(lambda m: m.update(name="x" * 2_000)), "more than 1000 characters"),
        (
            edit_manifest(lambda m: m.update(name="a\x1b]0;x\x07")),
            "has characters that cannot be shown",
        ),
        (lambda c: c.update({bundles.MANIFEST: b"[" * 100_000}), "cannot be used"),
    ],
)
def test_an_altered_bundle_is_refused_with_its_reason(
    default: Path, change: Any, words: str
) -> None:
    rewrite(default, change)
    with pytest.raises(BundleError) as caught:
        ProvedModel(str(default))
    assert words in str(caught.value)


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no bundle at"):
        bundles.read(tmp_path / "none.ccnvr")


def test_a_name_that_stands_twice_is_refused(default: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(default, "a") as archive:
        archive.writestr(bundles.SELF_TEST, b"{}")
    with pytest.raises(BundleError, match="twice"):
        bundles.read(default)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(default: Path) -> None:
    rewrite(default, lambda contents: contents.update(bomb=bytes(65 << 20)))
    assert default.stat().st_size < 5 << 20
    with pytest.raises(BundleError, match="exceed"):
        bundles.read(default)


def test_only_the_compression_of_bundles_is_read(default: Path) -> None:
    with zipfile.ZipFile(default) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(default, "w", zipfile.ZIP_LZMA) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    with pytest.raises(BundleError, match="compressed in a way"):
        bundles.read(default)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 0.9999])
def test_a_truncated_bundle_is_refused(default: Path, share: float) -> None:
    content = default.read_bytes()
    default.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BundleError):
        bundles.read(default)


@pytest.mark.slow
def test_random_damage_is_refused_or_harmless(default: Path) -> None:
    source = random.Random(3)
    content = default.read_bytes()
    original = bundles.read(default)
    refused = 0
    for _ in range(500):
        damaged = bytearray(content)
        for _ in range(source.randrange(1, 4)):
            damaged[source.randrange(len(damaged))] ^= 1 << source.randrange(8)
        default.write_bytes(damaged)
        try:
            read = bundles.read(default)
        except BundleError:
            refused += 1
        else:
            # Unused bits, such as those of a time stamp, may change; what is used may not.
            assert (read.parts, read.manifest) == (original.parts, original.manifest)
    assert refused > 400


@pytest.mark.slow
def test_a_self_test_that_fails_here_is_refused(default: Path) -> None:
    bundle = bundles.read(default)
    test = json.loads(bundle.parts[bundles.SELF_TEST])

    def write(name: str, content: bytes) -> None:
        parts = {**bundle.parts, name: content}
        described = {key: bundles.part_of(value) for key, value in parts.items()}
        manifest = type(bundle.manifest)(**{**vars(bundle.manifest), "parts": described})
        bundles.write(default, manifest, parts)

    test["expected"][0][0] += 0.01
    write(bundles.SELF_TEST, json.dumps(test).encode())
    with pytest.raises(BundleError, match=r"differs from its self-test by 0.01 sd on engine onnx"):
        ProvedModel(str(default))
    ragged = b'{"absorbance": [[1.0], [1.0, 2.0]], "expected": [[1.0]]}'
    for content in (
        b'{"absorbance": [[1.0]], "expected": []}',
        ragged,
        b'{"absorbance": [], "expected": []}',
    ):
        write(bundles.SELF_TEST, content)
        with pytest.raises(BundleError, match="fails its self-test"):
            ProvedModel(str(default))
    for content in (b"{}", b"[" * 100_000, b'{"absorbance": [[1e999]], "expected": []}'):
        write(bundles.SELF_TEST, content)
        with pytest.raises(BundleError, match="no usable self-test"):
            ProvedModel(str(default))
    write("model.fp32.onnx", b"no model")
    with pytest.raises(BundleError, match="onnxruntime refuses the model"):
        ProvedModel(str(default))


def test_an_unknown_or_missing_engine_is_wrong_use(
    default: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        UsageError, match="engine 'tpu' is not one of auto, onnx, litert, tflite, numpy"
    ):
        ProvedModel(str(default), "tpu")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install 'ccnvr\[onnx\]'"):
        ProvedModel(str(default), "onnx")


@pytest.mark.parametrize("name", ["manifest.json", "selftest.json"])
def test_long_json_is_refused_before_it_is_parsed(default: Path, name: str) -> None:
    rewrite(default, lambda contents: contents.update({name: contents[name] + b" " * (1 << 20)}))
    with pytest.raises(BundleError, match=f"its {name} of .* exceeds"):
        bundles.read(default)


def damage(path: Path, name: str) -> None:
    """Change a byte in the middle of a file of the bundle; it stays a valid zip."""

    def change(contents: dict[str, bytes]) -> None:
        content = bytearray(contents[name])
        content[len(content) // 2] ^= 1
        contents[name] = bytes(content)

    rewrite(path, change)


def test_model_files_of_an_opened_bundle_are_verified_when_they_are_used(default: Path) -> None:
    whole = bundles.read(default)
    damage(default, "model.fp32.tflite")
    opened = bundles.opened(default)
    assert (opened.digest, set(opened.parts)) == (whole.digest, set(whole.parts))
    assert opened.parts["model.fp32.onnx"] == whole.parts["model.fp32.onnx"]
    assert opened.parts[bundles.SELF_TEST] == whole.parts[bundles.SELF_TEST]
    for take in (lambda: opened.parts["model.fp32.tflite"], opened.verify):
        with pytest.raises(BundleError, match=r"model\.fp32\.tflite does not have the size"):
            take()
    # Whether a file is listed is answered without unpacking it.
    assert "model.fp32.tflite" in opened.parts
    assert "model.fp64.onnx" not in opened.parts


def test_a_bundle_that_is_replaced_after_opening_is_refused(default: Path) -> None:
    def leave_out(contents: dict[str, bytes]) -> None:
        del contents["model.fp32.onnx"]

    opened = bundles.opened(default)
    damage(default, "model.fp32.onnx")
    with pytest.raises(BundleError, match=r"model\.fp32\.onnx does not have the size"):
        opened.parts["model.fp32.onnx"]
    rewrite(default, leave_out)
    with pytest.raises(BundleError, match=r"cannot be used: it holds no model\.fp32\.onnx;"):
        opened.parts["model.fp32.onnx"]
    default.unlink()
    with pytest.raises(UsageError, match="no bundle at"):
        opened.parts["model.fp32.onnx"]
    # The self-test stays at hand, as the model is bound to an instrument again.
    assert opened.self_test().expected


def test_a_new_bundle_is_verified_whole(
    default: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(default, "model.fp32.tflite")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "new"))
    with pytest.raises(BundleError, match=r"model\.fp32\.tflite does not have the size"):
        ProvedModel(default, "numpy")
    # The same bundle has proved itself here on that engine, and the damage is none of its files.
    monkeypatch.setattr("ccnvr.edge.inference.proofs.known", lambda bundle, choice: True)
    assert ProvedModel(default, "numpy").self_test_difference < 1e-3
