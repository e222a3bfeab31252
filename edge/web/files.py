"""The files of the page, which come with the package and are served as they are."""

from __future__ import annotations

from functools import cache
from importlib.resources import files as resources

from ccnvr.firmware_bridge.frozen import frozen

_KINDS = {
    "": "text/html; charset=utf-8",
    "index.html": "text/html; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "drawing.js": "text/javascript; charset=utf-8",
    "worker.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "texts.en.json": "application/json",
    "page.webmanifest": "application/manifest+json",
    "icon.svg": "image/svg+xml",
    "icon-192.png": "image/png",
    "icon-512.png": "image/png",
}


@frozen
class PageFile:
    """A file and its media type."""

    content: bytes
    kind: str


def read(path: str) -> PageFile | None:
    """Return the file at a path such as `/page.js`; None if there is none.

    Only the names listed here are looked for, so no path leads out of the package.
    """
    name = path.removeprefix("/")
    return _read(name) if name in _KINDS else None


@cache
def _read(name: str) -> PageFile:
    content = resources("ccnvr.edge").joinpath("web", "static", name or "index.html").read_bytes()
    return PageFile(content, _KINDS[name])
