"""Bundles on disk: a zip of a manifest, model files, self-test spectra and arrays.

Reading checks every size before memory is allocated, and the SHA-256 of each file before anything
of it is used. Equal contents are written as equal bytes.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field, replace
from pathlib import Path

from ccnvr.edge.atomic_files import check_writable, is_same_file, write_atomically
from ccnvr.edge.bundle.checks_of_files import check_names, entries_of, verified
from ccnvr.edge.bundle.manifest import Manifest, Part, parse, read_json
from ccnvr.edge.chemometrics import correction as corrections
from ccnvr.edge.chemometrics import domain as domains
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import Domain
from ccnvr.edge.typed import build
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.firmware_bridge.frozen import frozen

MANIFEST = "manifest.json"
MODEL_FORMATS = ("network", "onnx", "tflite")
"""The formats of model files: arrays for NumPy (`edge.network.file`), ONNX, TFLite."""

SELF_TEST = "selftest.json"

DEFAULT = "default"
"""The name of the family of bundles that comes with ccnvr, see `family`."""

MODELS = Path(__file__).parents[1] / "models"
"""The folder with the family's bundles."""


class BundleError(CcnvrError):
    """The error for a bundle that is damaged, has another schema, or fails its self-test."""


@frozen
class SelfTest:
    """Self-test spectra and the outputs that an exported model must give for them.

    `absorbance` has one row of grid bands for each spectrum, `expected` one row of standardised
    outputs. `quantized` has the outputs of the profiles that round weights or activations.
    """

    absorbance: tuple[tuple[float, ...], ...]
    expected: tuple[tuple[float, ...], ...]
    quantized: dict[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)


@frozen
class Bundle:
    """A bundle whose manifest is verified, and with it every file that `parts` gives.

    `source` is the path as the user gave it. `digest` is the SHA-256 of the manifest, and so
    identifies the whole bundle, because the manifest holds the SHA-256 of every other file.
    `parts` are the files other than the manifest, by name. Those that `opened` left are read, and
    verified, only when they are taken.
    """

    source: str
    digest: str
    manifest: Manifest
    parts: Mapping[str, bytes]

    def verify(self) -> None:
        """Read and verify every file, also those that `opened` left.

        Raises:
            BundleError: one is not as the manifest lists it.
        """
        for name in self.parts:
            self.parts[name]

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
    """Read and verify a whole bundle; `default:NAME` stands for one of those that come with ccnvr.

    Raises:
        UsageError: there is no such file, or the whole family was named.
        BundleError: the bundle is truncated, altered or too large, or has another schema.
    """
    bundle = opened(path)
    return replace(bundle, parts=dict(bundle.parts))


def opened(path: str | Path) -> Bundle:
    """Read and verify a bundle but for its model files, as few of them are needed.

    Each model file is read, and verified, whenever it is taken from `parts`, which raises a
    `BundleError` if it is not the file that the manifest lists.

    Raises:
        UsageError: there is no such file, or the whole family was named.
        BundleError: the bundle is truncated, altered or too large, or has another schema.
    """
    place = _place(str(path))
    with _errors_explained(path), zipfile.ZipFile(place) as archive:
        entries = entries_of(archive)
        text = archive.read(entries.pop(MANIFEST))
        manifest = parse(text.decode())
        check_names(manifest, entries)
        others = {
            name: verified(archive, name, part)
            for name, part in manifest.parts.items()
            if not is_model_file(name)
        }
    return Bundle(
        str(path), hashlib.sha256(text).hexdigest(), manifest, _Parts(path, manifest.parts, others)
    )


class _Parts(Mapping[str, bytes]):
    """The files of an opened bundle, of which those in `read` stay in memory."""

    def __init__(self, path: str | Path, listed: dict[str, Part], read: dict[str, bytes]) -> None:
        self._path = path
        self._listed = listed
        self._read = read

    def __getitem__(self, name: str) -> bytes:
        if name in self._read:
            return self._read[name]
        part = self._listed[name]
        with _errors_explained(self._path), zipfile.ZipFile(_place(str(self._path))) as archive:
            entries_of(archive)  # another file may lie there by now
            return verified(archive, name, part)

    def __contains__(self, name: object) -> bool:
        # That of Mapping would take the file, and so unpack and verify it.
        return name in self._listed

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


def _place(source: str) -> Path:
    """Return the path of a bundle as the user named it.

    Raises:
        UsageError: the whole family was named, or a bundle that it does not have.
    """
    if not names_default(source):
        return Path(source)
    name = source.partition(":")[2]
    known = sorted(path.stem for path in MODELS.glob("*.ccnvr"))
    if name not in known:
        named = ", ".join(f"{DEFAULT}:{one}" for one in known)
        raise UsageError(
            f"{source!r} is not one bundle of the default family; name one of {named}, or a "
            ".ccnvr file"
        )
    return MODELS / f"{name}.ccnvr"


@contextmanager
def _errors_explained(path: str | Path) -> Iterator[None]:
    """Turn whatever reading a damaged bundle raises into an error that says what to do."""
    try:
        yield
    except FileNotFoundError:
        raise UsageError(
            f"no bundle at {path}; give the path of a .ccnvr file, or 'default'"
        ) from None
    except IsADirectoryError:
        # Imported only here, as for most bundles it is not needed.
        from shlex import quote

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


def is_model_file(name: str) -> bool:
    """Return whether a file of a bundle is a model file."""
    return name.startswith("model.")


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
        UsageError: something that must not be replaced is there, or the folder does not exist or
            may not be written to.
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


def write(path: Path, manifest: Manifest, parts: Mapping[str, bytes]) -> None:
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
