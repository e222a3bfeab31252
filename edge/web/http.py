"""Requests and responses of the page in terms of ASGI, with every length bounded.

ASGI 3.0: the specification at asgi.readthedocs.io.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import field
from typing import Any
from urllib.parse import parse_qsl

from ccnvr.firmware_bridge.frozen import frozen

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

MOST_BODY = 16_384
"""The most bytes of a request's body: a note of 1,000 characters, each escaped, fits."""

MOST_QUERY = 1_024

MOST_HEAD = 16_384
"""The most bytes of a request's head."""

BODY_S = 10.0
"""How long a body may take to arrive."""

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class BadRequest(Exception):
    """A request that is not answered: its status code, and the reason as a sentence."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@frozen
class Request:
    """A request: names of headers are in lower case, of several equal ones the first counts."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    receive: Receive

    @classmethod
    def of(cls, scope: Scope, receive: Receive) -> Request:
        """Return the request of a scope.

        Raises:
            BadRequest: the query or the headers are too long.
        """
        # Before it is parsed, which takes many times its size.
        query = bytes(scope.get("query_string", b""))
        if len(query) > MOST_QUERY:
            raise BadRequest(414, f"a query has more than {MOST_QUERY} bytes")
        # The server limits heads that come in parts, not one that comes at once.
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEAD:
            raise BadRequest(431, f"the headers have more than {MOST_HEAD} bytes")
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        values = dict(parse_qsl(query.decode("latin-1"), max_num_fields=16))
        return cls(scope["method"], scope["path"], values, headers, receive)

    async def json(self) -> dict[str, Any]:
        """Return the JSON object of the body.

        Raises:
            BadRequest: the body is too long, or holds no JSON object.
        """
        try:
            async with asyncio.timeout(BODY_S):
                body = await self._body()
        except TimeoutError as error:
            raise BadRequest(408, f"the body did not come within {BODY_S:.0f} s") from error
        try:
            data = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadRequest(400, f"the body is not JSON ({error})") from error
        if not isinstance(data, dict):
            raise BadRequest(400, "the body is not a JSON object")
        return data

    async def _body(self) -> bytes:
        body = b""
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                raise BadRequest(400, "the request was cut off")
            body += bytes(message.get("body", b""))
            if len(body) > MOST_BODY:
                raise BadRequest(413, f"a body has more than {MOST_BODY} bytes")
            if not message.get("more_body"):
                return body


@frozen
class Response:
    """A response; `parts`, if given, follow the body as they come."""

    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: AsyncIterator[bytes] | None = None

    async def send(self, send: Send) -> None:
        """Send it."""
        headers = {**SECURITY_HEADERS, "content-type": self.kind, **self.headers}
        # Without a length, HTTP/1.1 sends parts as they come.
        if self.parts is None:
            headers["content-length"] = str(len(self.body))
        await send(
            {
                "type": "http.response.start",
                "status": self.status,
                "headers": [
                    (name.encode("latin-1"), value.encode("latin-1"))
                    for name, value in headers.items()
                ],
            }
        )
        more = self.parts is not None
        await send({"type": "http.response.body", "body": self.body, "more_body": more})
        if self.parts is not None:
            async for part in self.parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
                # Without a pause the loop would not notice that the client has gone, and asyncio
                # would warn of each part that is written to the closed connection.
                await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def as_json(data: object, status: int = 200) -> Response:
    """Return a response with JSON."""
    return Response(json.dumps(data).encode("ascii"), "application/json", status)
