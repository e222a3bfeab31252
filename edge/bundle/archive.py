"""Reads and writes `*.ccnvr` bundles: a zip of a manifest, model files and self-test spectra.

Reading bounds every size before it allocates and verifies every part; nothing is run before that.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass, field, replace
from importlib.resources import as_file, files
from pathlib import Path
from shlex import quote

from ccnvr.edge.atomic_files import check_writable, is_same_file, write_atomically
from ccnvr.edge.bundle.manifest import Manifest, Part, parse
from ccnvr.edge.chemometrics import correction as corrections
from ccnvr.edge.chemometrics import domain as domains
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import Domain
from ccnvr.edge.typed import build
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError

MANIFEST = "manifest.json"
MODEL_FORMATS = ("network", "onnx", "tflite")
"""Of a network in a bundle: as data for NumPy (`edge.quantized`), as ONNX, as TFLite."""
SELF_TEST = "selftest.json"

_LARGEST_BYTES = 64 << 20
_MOST_PARTS = 16
# Parsed, JSON takes many times its size; ours have 22 and 11 kB.
_LARGEST_JSON_BYTES = 1 << 20


class BundleError(CcnvrError):
    """A bundle is damaged, of another schema, or does not do what it says."""


@dataclass(frozen=True)
class SelfTest:
    """Absorbance on the model's grid and the values that the exported model must give, a row a
    spectrum.

    `expected` is for the float artefacts; `quantized` has the values of other profiles, which
    differ by what they round.
    """

    absorbance: tuple[tuple[float, ...], ...]
    expected: tuple[tuple[float, ...], ...]
    quantized: dict[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle; `digest` is the sha256 of its manifest, which holds those of all parts."""

    source: str
    digest: str
    manifest: Manifest
    parts: dict[str, bytes]

    def self_test(self) -> SelfTest:
        """The bundle's self-test spectra."""
        try:
            return build(SelfTest, json.loads(self.parts[SELF_TEST]))
        except (KeyError, ValueError, RecursionError) as error:
            raise BundleError(
                f"bundle {self.source} has no usable self-test ({error}); export it again"
            ) from error

    def domain(self) -> Domain | None:
        """Which spectra the model knows; None where the bundle does not say."""
        shape = self.manifest.domain
        if shape is None:
            return None
        try:
            return domains.read(self.parts[domains.PART], shape, self.manifest.preprocessing.grid)
        except KeyError:
            raise BundleError(
                f"bundle {self.source} states a domain but has no {domains.PART}; export it again"
            ) from None
        except ValueError as error:
            raise BundleError(
                f"the domain of bundle {self.source} cannot be used: {error}; export it again"
            ) from error

    def correction(self) -> Correction | None:
        """The correction of absorbance that the bundle carries; most carry none."""
        content = self.parts.get(corrections.PART)
        if content is None:
            return None
        try:
            return corrections.unpack(content, self.manifest.preprocessing.grid.bands)
        except Exception as error:  # zipfile and NumPy raise a dozen types on damaged content
            raise BundleError(
                f"the correction in bundle {self.source} cannot be used ({error}); make the "
                "bundle again"
            ) from error


def read(path: str | Path) -> Bundle:
    """Read and verify a bundle; `default` names the one that comes with ccnvr.

    Raises:
        UsageError: there is no such file.
        BundleError: it is truncated, altered, too large, or of another schema.
    """
    if str(path) == "default":
        with as_file(files("ccnvr.edge") / "default.ccnvr") as packaged:
            # Under the name that the user gave.
            return replace(_read_file(packaged), source=str(path))
    return _read_file(Path(path))


def _read_file(path: Path) -> Bundle:
    try:
        with zipfile.ZipFile(path) as archive:
            contents = _contents(archive)
        text = contents.pop(MANIFEST)
        manifest = parse(text.decode())
        _verify(manifest, contents)
    except FileNotFoundError:
        raise UsageError(
            f"no bundle at {path}; give the path of a .ccnvr file, or 'default'"
        ) from None
    except IsADirectoryError:
        export = f"ccnvr export {quote(str(path))} --out FILE.ccnvr"
        raise UsageError(
            f"{path} is a folder and no bundle; if ccnvr train made it, make a bundle of it: "
            f"{export}"
        ) from None
    except zipfile.BadZipFile as error:
        raise BundleError(
            f"{path} is no ccnvr bundle, or is damaged ({error}); copy it again from its source"
        ) from error
    except KeyError:
        raise BundleError(
            f"{path} has no {MANIFEST}, so it is no ccnvr bundle; give a .ccnvr file"
        ) from None
    except (
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        OSError,
        ValueError,
    ) as error:
        raise BundleError(
            f"bundle {path} cannot be used: {error}; copy it again from its source"
        ) from error
    return Bundle(str(path), hashlib.sha256(text).hexdigest(), manifest, contents)


def _contents(archive: zipfile.ZipFile) -> dict[str, bytes]:
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    if len(entries) > _MOST_PARTS or total > _LARGEST_BYTES:
        raise ValueError(
            f"{len(entries)} files of {total} bytes exceed {_MOST_PARTS} files of "
            f"{_LARGEST_BYTES} bytes"
        )
    for entry in entries:
        if entry.filename in (MANIFEST, SELF_TEST) and entry.file_size > _LARGEST_JSON_BYTES:
            raise ValueError(
                f"its {entry.filename} of {entry.file_size} bytes exceeds {_LARGEST_JSON_BYTES}"
            )
    if any(
        entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries
    ):
        raise ValueError("it is compressed in a way that bundles are not")
    if len({entry.filename for entry in entries}) != len(entries):
        raise ValueError("a file name stands in it twice")
    # zipfile stops at the stated size and checks the CRC, so a lying header cannot make this
    # allocate more.
    return {entry.filename: archive.read(entry) for entry in entries}


def _verify(manifest: Manifest, contents: dict[str, bytes]) -> None:
    if set(contents) != set(manifest.parts):
        different = ", ".join(sorted(set(contents) ^ set(manifest.parts)))
        raise ValueError(f"its files and its manifest differ in {different}")
    for name, part in manifest.parts.items():
        if part_of(contents[name]) != part:
            raise ValueError(
                f"{name} does not have the size and the sha256 that the manifest states"
            )


def model_file_name(profile: str, kind: str) -> str:
    """The name of the network of a profile (`quantized.PROFILES`) in a format (`MODEL_FORMATS`)."""
    return f"model.{profile}.{kind}"


def part_of(content: bytes) -> Part:
    """The manifest's entry for a file."""
    return Part(len(content), hashlib.sha256(content).hexdigest())


def check_destination(path: Path, source: str = "") -> None:
    """Before long work: whether `write` may put a bundle at `path`, where nothing but another
    bundle may be lost, and not the one at `source`.

    Raises:
        UsageError: there is something else.
        CcnvrError: its folder cannot be written to.
    """
    check_writable(path)
    if not path.exists():
        return
    if is_same_file(path, Path(source)):
        raise UsageError(f"--out {path} is the bundle that is read; give another --out")
    try:
        with zipfile.ZipFile(path) as archive:
            archive.getinfo(MANIFEST)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, NotImplementedError):
        raise UsageError(
            f"{path} is there already and is no bundle; give another --out, or delete it"
        ) from None


def write(path: Path, manifest: Manifest, parts: dict[str, bytes]) -> None:
    """Write a bundle; the file is there whole or not at all. Equal contents give equal bytes."""
    with (
        write_atomically(path) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, content in {MANIFEST: manifest.to_json().encode(), **parts}.items():
            # A fixed time stamp, so that the same training run gives the same file.
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
