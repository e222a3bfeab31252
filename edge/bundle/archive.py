"""Bundles on disk: a zip of a manifest, model files, self-test spectra and arrays.

Reading checks every size before memory is allocated and the SHA-256 of every file before anything
is used. Equal contents are written as equal bytes.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from dataclasses import dataclass, field, replace
from importlib.resources import as_file, files
from pathlib import Path
from shlex import quote

from ccnvr.edge.atomic_files import check_writable, is_same_file, write_atomically
from ccnvr.edge.bundle.manifest import Manifest, Part, parse, read_json
from ccnvr.edge.chemometrics import correction as corrections
from ccnvr.edge.chemometrics import domain as domains
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import Domain
from ccnvr.edge.typed import build
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError

MANIFEST = "manifest.json"
MODEL_FORMATS = ("network", "onnx", "tflite")
"""The formats of model files: arrays for NumPy (`edge.network.file`), ONNX, TFLite."""

SELF_TEST = "selftest.json"

DEFAULT = "default"
"""The name of the family of bundles that comes with ccnvr, see `family`."""

MODELS = "models"
"""The folder of the package with the family's bundles."""

# A bundle of three profiles and three formats has 12 files of 2.6 MB in all.
LARGEST_BYTES = 64 << 20
"""The most bytes of a bundle's files."""
_MOST_PARTS = 16
# Parsed JSON takes many times its size in memory; those of such a bundle have 22 and 11 kB.
_LARGEST_JSON_BYTES = 1 << 20


class BundleError(CcnvrError):
    """The error for a bundle that is damaged, has another schema, or fails its self-test."""


@dataclass(frozen=True)
class SelfTest:
    """Self-test spectra and the outputs that an exported model must give for them.

    `absorbance` has one row of grid bands for each spectrum, `expected` one row of standardised
    outputs. `quantized` has the outputs of the profiles that round weights or activations.
    """

    absorbance: tuple[tuple[float, ...], ...]
    expected: tuple[tuple[float, ...], ...]
    quantized: dict[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    `source` is the path as the user gave it. `digest` is the SHA-256 of the manifest, and so
    identifies the whole bundle, because the manifest holds the SHA-256 of every other file.
    """

    source: str
    digest: str
    manifest: Manifest
    parts: dict[str, bytes]

    def self_test(self) -> SelfTest:
        """Return the self-test.

        Raises:
            BundleError: it is missing or malformed.
        """
        try:
            return build(SelfTest, read_json(self.parts[SELF_TEST]))
        # Deeply nested JSON raises RecursionError, which is no ValueError.
        except (KeyError, ValueError, RecursionError) as error:
            raise BundleError(
                f"bundle {self.source} has no usable self-test ({error}); export it again"
            ) from error

    def domain(self) -> Domain | None:
        """Return the domain of the training soils, or None if the bundle has none.

        Raises:
            BundleError: it is missing though the manifest states it, or malformed.
        """
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
        """Return the correction of absorbance, or None if the bundle has none, as most have.

        Raises:
            BundleError: it is malformed or made for another grid.
        """
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


def names_default(source: str) -> bool:
    """Return whether a source is `default` or `default:NAME`, and not a path."""
    return source.partition(":")[0] == DEFAULT


def read(path: str | Path) -> Bundle:
    """Read and verify a bundle; `default:NAME` stands for one of those that come with ccnvr.

    Raises:
        UsageError: there is no such file, or the whole family was named.
        BundleError: the bundle is truncated, altered or too large, or has another schema.
    """
    if not names_default(str(path)):
        return _read_file(Path(path))
    name = str(path).partition(":")[2]
    folder = files("ccnvr.edge") / MODELS
    known = sorted(file.name for file in folder.iterdir() if file.name.endswith(".ccnvr"))
    if f"{name}.ccnvr" not in known:
        named = ", ".join(f"{DEFAULT}:{file.removesuffix('.ccnvr')}" for file in known)
        raise UsageError(
            f"{str(path)!r} is not one bundle of the default family; name one of {named}, or a "
            ".ccnvr file"
        )
    # As a resource of the package, which need not lie in a folder of its own.
    with as_file(folder / f"{name}.ccnvr") as packaged:
        # Messages name the bundle as the user did.
        return replace(_read_file(packaged), source=str(path))


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
            f"{path} is a folder and not a bundle; if ccnvr train made it, make a bundle from it: "
            f"{export}"
        ) from None
    except zipfile.BadZipFile as error:
        raise BundleError(
            f"{path} is not a ccnvr bundle, or is damaged ({error}); copy it again from its source"
        ) from error
    except KeyError:
        raise BundleError(
            f"{path} has no {MANIFEST}, so it is not a ccnvr bundle; give a .ccnvr file"
        ) from None
    # What zipfile, zlib and the decoders raise on damaged content has no common base class.
    except (
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        OSError,
        ValueError,
    ) as error:
        raise BundleError(
            f"bundle {path} cannot be used: {error!s:.500}; copy it again from its source"
        ) from error
    return Bundle(str(path), hashlib.sha256(text).hexdigest(), manifest, contents)


def _contents(archive: zipfile.ZipFile) -> dict[str, bytes]:
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    if len(entries) > _MOST_PARTS or total > LARGEST_BYTES:
        raise ValueError(
            f"{len(entries)} files of {total} bytes exceed {_MOST_PARTS} files of "
            f"{LARGEST_BYTES} bytes"
        )
    # The sizes are those that the zip's directory states; nothing has been unpacked yet.
    for entry in entries:
        if entry.filename in (MANIFEST, SELF_TEST) and entry.file_size > _LARGEST_JSON_BYTES:
            raise ValueError(
                f"its {entry.filename} of {entry.file_size} bytes exceeds {_LARGEST_JSON_BYTES}"
            )
    if any(
        # bzip2 and LZMA are optional modules of Python, so a bundle with them would not open
        # everywhere.
        entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        for entry in entries
    ):
        raise ValueError("a file in it is compressed in a way that bundles are not")
    # zipfile would read the last of two, and other programs may show the first.
    if len({entry.filename for entry in entries}) != len(entries):
        raise ValueError("it holds a file name twice")
    # zipfile stops at the stated size, which was checked above, so a false header cannot make this
    # allocate more.
    return {entry.filename: archive.read(entry) for entry in entries}


def _verify(manifest: Manifest, contents: dict[str, bytes]) -> None:
    # A file that the manifest does not list has no checksum.
    if set(contents) != set(manifest.parts):
        different = ", ".join(sorted(set(contents) ^ set(manifest.parts)))
        raise ValueError(f"its files and those in its manifest differ in {different}")
    for name, part in manifest.parts.items():
        if part_of(contents[name]) != part:
            raise ValueError(f"{name} does not have the size and the sha256 stated in the manifest")


def model_file_name(profile: str, model_format: str) -> str:
    """Return the name of a model file, by profile and format (one of `MODEL_FORMATS`)."""
    return f"model.{profile}.{model_format}"


def part_of(content: bytes) -> Part:
    """Return the manifest's entry for a file of the bundle."""
    return Part(len(content), hashlib.sha256(content).hexdigest())


def check_destination(path: Path, source: str = "") -> None:
    """Check before long work that `write` may put a bundle at `path`.

    It may replace another bundle, but not the one at `source` and no other file.

    Raises:
        UsageError: something that must not be replaced is there.
        CcnvrError: the folder cannot be written to.
    """
    check_writable(path)
    if not path.exists():
        return
    if is_same_file(path, Path(source)):
        raise UsageError(f"--out {path} is the bundle to be read; give another --out")
    try:
        with zipfile.ZipFile(path) as archive:
            archive.getinfo(MANIFEST)
    # A file that is no zip, is damaged or cannot be read counts as the user's own: it is kept.
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, NotImplementedError):
        raise UsageError(
            f"{path} exists already and is not a bundle; give another --out, or delete it"
        ) from None


def write(path: Path, manifest: Manifest, parts: dict[str, bytes]) -> None:
    """Write a bundle, whole or not at all; equal contents give equal bytes.

    Raises:
        UsageError: there is something at `path` that is not a regular file.
        CcnvrError: the folder cannot be written to, or the disk is full.
    """
    with (
        write_atomically(path) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, content in {MANIFEST: manifest.to_json().encode(), **parts}.items():
            # A fixed time stamp, so that the same contents always give the same file.
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
