"""Who may ask the page for what.

On loopback alone no secret is needed, but a foreign site in the same browser must not reach the
page: not by a name of its own that resolves to this computer (the `Host` is checked), and not by a
form or script of its own (`Origin` and `Sec-Fetch-Site` are checked where something is changed, and
the body must be JSON, which such a form cannot send).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from ccnvr.edge.web.http import BadRequest, Request

COOKIE = "ccnvr-token"

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Guard:
    """The guard of one page.

    Args:
        token: the secret, or "" where none is needed.
        names: the names and addresses by which browsers reach the page, besides those of loopback.
    """

    def __init__(self, token: str, names: Iterable[str] = ()) -> None:
        self._token = token
        self._names = {*_LOOPBACK, *(name.lower() for name in names)}

    def check(self, request: Request) -> None:
        """Check that a request may be answered.

        Raises:
            BadRequest: it may not.
        """
        host = request.headers.get("host", "")
        # With a secret any name will do: a foreign site does not know it.
        if not self._token and _without_port(host).lower() not in self._names:
            raise BadRequest(
                421,
                f"this page is not {host[:80]!r}; open http://127.0.0.1 with its port, or add the "
                "name to [web] names",
            )
        if self._token and not self._is_known(request):
            raise BadRequest(401, "open the page once with ?token= and the secret at its end")
        if request.method != "GET":
            self._check_origin(request, host)

    def is_token(self, text: str) -> bool:
        """Return whether a text is the secret."""
        # In constant time, so that its length of agreement cannot be measured.
        return bool(self._token) and hmac.compare_digest(
            text.encode("utf-8", "replace"), self._token.encode()
        )

    def _is_known(self, request: Request) -> bool:
        # For programs; browsers send the cookie.
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return True
        try:
            cookies = SimpleCookie(request.headers.get("cookie", "")[:8192])
        except CookieError:
            return False
        return COOKIE in cookies and self.is_token(cookies[COOKIE].value)

    def _check_origin(self, request: Request, host: str) -> None:
        # A form cannot send JSON, and a script of another site must first ask by OPTIONS, which is
        # refused.
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise BadRequest(415, "a request that changes something must have a body of JSON")
        origin = request.headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if foreign or request.headers.get("sec-fetch-site", "same-origin") not in (
            "same-origin",
            "none",
        ):
            raise BadRequest(403, "another site may not ask this page to do anything")


def _without_port(host: str) -> str:
    """Return a `Host` without its port: `[::1]:80` is `[::1]`."""
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() and not name.endswith(":") else host
