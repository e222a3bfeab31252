"""Find the files of libraries: in the folder CCNVR_DATA, in the cache, or in a public repository.

Only small files under a free licence are fetched. A published file is used only if its sha256 is
the known one; a fetched file is kept in the cache.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ccnvr.edge.atomic_files import write_atomically
from ccnvr.edge.spectrum_files.limesoda import DataError
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError

HOST = "https://raw.githubusercontent.com"

_SILENCE_S = 30.0
_LONGEST_S = 600.0  # a server that sends a byte now and then would never time out otherwise
_CHUNK = 1 << 16


@dataclass(frozen=True)
class PublishedFile:
    """A file at a commit of a public repository, of which size and sha256 are known."""

    repository: str
    commit: str
    path: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The name without folders."""
        return self.path.rpartition("/")[2]

    @property
    def origin(self) -> str:
        """The origin in words, for messages."""
        return f"the file {self.path} of the public repository {self.repository}"

    @property
    def url(self) -> str:
        """The address that it is fetched from."""
        return f"{HOST}/{self.repository}/{self.commit}/{self.path}"

    def matches(self, content: bytes) -> bool:
        """Return whether `content` is the published file."""
        return len(content) == self.size and hashlib.sha256(content).hexdigest() == self.sha256


def data_folder() -> Path | None:
    """Return the folder that the environment variable CCNVR_DATA names, or None if it is unset.

    Raises:
        UsageError: it names something that is not a folder.
    """
    value = os.environ.get("CCNVR_DATA", "")
    if value and not Path(value).is_dir():
        raise UsageError(
            f"CCNVR_DATA is {value!r} and must name a folder with data files; correct it, or unset "
            "it"
        )
    return Path(value) if value else None


def required_folder(file: str, origin: str) -> Path:
    """Return the folder that CCNVR_DATA names, for files that only the user can get.

    Raises:
        UsageError: it is unset or not a folder; the message names the file and its origin.
    """
    folder = data_folder()
    if folder is None:
        raise UsageError(f"CCNVR_DATA is '' and must name the folder that holds {file}, {origin}")
    return folder


def cache_folder() -> Path:
    """Return the folder of fetched files: `ccnvr` in XDG_CACHE_HOME, or in ~/.cache."""
    # The XDG specification says that a relative path must be ignored.
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "ccnvr"


def present(file: PublishedFile) -> Path | None:
    """Return the path of the file, or None if it would have to be fetched."""
    folders = [folder for folder in (data_folder(), cache_folder()) if folder is not None]
    return next((folder / file.name for folder in folders if (folder / file.name).is_file()), None)


def read(file: PublishedFile) -> bytes:
    """Return the file's content, from CCNVR_DATA, from the cache, or fetched into the cache.

    Raises:
        UsageError: the user's copy cannot be read.
        DataError: the user's copy, or what the repository sent, is not the published file.
        CcnvrError: the file cannot be fetched, or the cache cannot be written.
    """
    path = present(file)
    cached = cache_folder() / file.name
    if path is not None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UsageError(
                f"{path} cannot be read ({error.strerror}); put that file there, {file.origin}"
            ) from error
        if file.matches(content):
            return content
        # A damaged file in the cache is fetched again; one of the user's is not replaced.
        if path != cached:
            raise DataError(
                f"{path} does not have the sha256 {file.sha256[:12]}... of {file.origin}; replace "
                "it, or delete it"
            )
    content = _fetch(file)
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CcnvrError(
            f"the cache {cached.parent} cannot be made ({error.strerror}); name another folder in "
            "XDG_CACHE_HOME"
        ) from error
    with write_atomically(cached) as stream:
        stream.write(content)
    return content


def _fetch(file: PublishedFile) -> bytes:
    try:
        content = _download(file)
    except (OSError, http.client.HTTPException, ValueError) as error:
        # An HTTPError is also the open response.
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise CcnvrError(
            f"{file.url} cannot be fetched ({error}); put {file.name} into the folder that "
            f"CCNVR_DATA names, or into {cache_folder()}: it is {file.origin} at {file.commit}"
        ) from error
    if not file.matches(content):
        raise DataError(
            f"{file.url} sent {len(content)} bytes that do not have the sha256 "
            f"{file.sha256[:12]}... of the published {file.size}; try again, or put {file.name} "
            "into the folder that CCNVR_DATA names"
        )
    return content


def _download(file: PublishedFile) -> bytes:
    """Read at most one byte more than the file has, so a larger one is noticed and never held."""
    request = urllib.request.Request(file.url, headers={"User-Agent": "ccnvr"})  # noqa: S310 - HOST is https
    content = bytearray()
    deadline = time.monotonic() + _LONGEST_S
    with (
        urllib.request.urlopen(request, timeout=_SILENCE_S) as response,  # noqa: S310 - HOST is https
        tqdm(
            total=file.size, desc=file.name, unit="B", unit_scale=True, disable=None, leave=False
        ) as bar,
    ):
        # `read1` returns what has come, so that the deadline is checked while a server is slow.
        while len(content) <= file.size and (
            chunk := response.read1(min(_CHUNK, file.size + 1 - len(content)))
        ):
            content += chunk
            bar.update(len(chunk))
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(content)} of {file.size} bytes came in {_LONGEST_S:g} s")
    return bytes(content)
