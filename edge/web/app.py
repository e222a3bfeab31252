"""The page as an ASGI application: its files, its answers to programs, and its stream of events.

| way | answer |
|---|---|
| `GET /` and files | the page, which works without a network once it was loaded |
| `GET /api/events` | server-sent events, after `Last-Event-ID`: `record`, `status` and `job` |
| `GET /api/spectrum?id=N` | the reflectance of record N |
| `GET /api/checks` | the values of the check sample |
| `POST /api/scan`, `/api/reference`, `/api/check-sample` | begin a job of the daemon |
| `POST /api/proceed`, `/api/cancel` | answer or withdraw it |
| `GET /api/session.csv`, `/api/session.geojson` | the last records, to download |
| `GET /health`, `/metrics` | the daemon's state, for programs that watch it |
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import PurePosixPath
from typing import Any

from ccnvr.edge.typed import build
from ccnvr.edge.web import files
from ccnvr.edge.web.guard import COOKIE, Guard
from ccnvr.edge.web.http import BadRequest, Receive, Request, Response, Scope, Send, as_json
from ccnvr.edge.web.jobs import PageJobs
from ccnvr.edge.web.metrics import KIND, metrics_of
from ccnvr.edge.web.records import PageRecords
from ccnvr.edge.workflow.control import Control, JobRefused
from ccnvr.edge.workflow.requests import (
    CheckRequest,
    JobRequest,
    ReferenceRequest,
    SampleRequest,
)

_LOG = logging.getLogger(__name__)

MOST_WATCHERS = 16
"""The most pages that are open at once; each holds one connection."""

STATUS_EVERY_S = 1.0

SHOWN_AT_FIRST = 200
"""How many of the last records a page gets when it is opened."""

_JOBS: dict[str, type[JobRequest]] = {
    "/api/scan": SampleRequest,
    "/api/reference": ReferenceRequest,
    "/api/check-sample": CheckRequest,
}

Answer = Callable[[Request], Awaitable[Response]]


class App:
    """The application of one daemon.

    Args:
        control: the daemon's control.
        records: what the store holds for the page.
        guard: who may ask.
    """

    def __init__(self, control: Control, records: PageRecords, guard: Guard) -> None:
        self._control = control
        self._records = records
        self._guard = guard
        self._jobs = PageJobs(control, self.wake)
        self._watchers: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._answers: dict[tuple[str, str], Answer] = {
            ("GET", "/api/events"): self._events,
            ("GET", "/api/spectrum"): self._spectrum,
            ("GET", "/api/checks"): self._checks,
            ("GET", "/api/session.csv"): self._csv,
            ("GET", "/api/session.geojson"): self._geojson,
            ("GET", "/health"): self._health,
            ("GET", "/metrics"): self._metrics,
            ("POST", "/api/proceed"): self._proceed,
            ("POST", "/api/cancel"): self._cancel,
            **{("POST", path): self._begin for path in _JOBS},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI calls it."""
        if scope["type"] != "http":
            return  # a web socket, which nothing here uses: the server closes it
        self._loop = asyncio.get_running_loop()
        try:
            response = await self._answer(Request.of(scope, receive))
        except BadRequest as error:
            response = Response(f"{error}\n".encode(), status=error.status)
        except Exception:  # one request must not end the page, nor show its insides
            _LOG.exception("a request for the page failed; report this")
            response = Response(b"the page has an error; see the daemon's log\n", status=500)
        await response.send(send)

    def wake(self) -> None:
        """Tell the pages that something has changed; may be called from any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(self._wake_watchers)
            except RuntimeError:
                return  # the loop has ended since

    def close(self) -> None:
        """End all streams of events, so that the server can end; may be called from any thread."""
        self._closing = True
        self.wake()

    def _wake_watchers(self) -> None:
        for watcher in self._watchers:
            watcher.set()

    async def _answer(self, request: Request) -> Response:
        if self._guard.is_token(request.query.get("token", "")) and request.method == "GET":
            # The secret leaves the address bar and the history for a cookie.
            value = f"{COOKIE}={request.query['token']}; HttpOnly; SameSite=Strict; Path=/"
            return Response(
                status=303, headers={"location": "/", "set-cookie": f"{value}; Max-Age=31536000"}
            )
        self._guard.check(request)
        if answer := self._answers.get((request.method, request.path)):
            return await answer(request)
        # After the known ways, so that a wrong path of a program says what is wrong with it.
        if request.method != "GET":
            raise BadRequest(405, f"{request.method} of {request.path[:80]!r} does nothing")
        found = files.read(request.path)
        if found is None:
            raise BadRequest(404, f"there is no {PurePosixPath(request.path).name[:80]!r}")
        return Response(found.content, found.kind)

    async def _events(self, request: Request) -> Response:
        if len(self._watchers) >= MOST_WATCHERS:
            raise BadRequest(503, f"{MOST_WATCHERS} pages are open already; close one")
        given = request.headers.get("last-event-id", request.query.get("after", ""))
        after = int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None
        return Response(kind="text/event-stream", parts=self._watch(after))

    async def _watch(self, after: int | None) -> AsyncIterator[bytes]:
        watcher = asyncio.Event()
        self._watchers.add(watcher)
        told: dict[str, object] = {}
        try:
            newest = await self._records.newest()
            # Another store than before, if the page knows more than it holds.
            last = max(0, newest - SHOWN_AT_FIRST) if after is None or after > newest else after
            yield b"retry: 1000\n\n"
            while not self._closing:
                # Before the query: a record committed after it wakes the next round.
                watcher.clear()
                records = await self._records.after(last)
                for last, record in records:
                    yield _event("record", record, last)
                present = {"status": self._control.status(), "job": self._jobs.last}
                for name, value in present.items():
                    if told.get(name) != value:
                        told[name] = value
                        yield _event(name, value)
                if not records:
                    try:
                        await asyncio.wait_for(watcher.wait(), STATUS_EVERY_S)
                    except TimeoutError:
                        # A comment, so that a connection that is gone shows.
                        yield b":\n\n"
        finally:
            self._watchers.discard(watcher)

    async def _spectrum(self, request: Request) -> Response:
        number = request.query.get("id", "")
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise BadRequest(400, "id must be the number of a record")
        found = await self._records.spectrum(int(number))
        if found is None:
            raise BadRequest(404, f"record {number} has no spectrum")
        return as_json(found)

    async def _checks(self, request: Request) -> Response:
        chart = self._control.status().get("check_sample") or {}
        return as_json(await self._records.checks(chart))

    async def _begin(self, request: Request) -> Response:
        try:
            wanted = build(_JOBS[request.path], await request.json())
        except ValueError as error:
            raise BadRequest(400, str(error)) from error
        try:
            begun = self._jobs.submit(wanted)
        except JobRefused as refused:
            raise BadRequest(409, str(refused)) from refused
        self._wake_watchers()
        return as_json(begun, 409 if begun.get("busy") else 202)

    async def _proceed(self, request: Request) -> Response:
        self._jobs.proceed()
        self._wake_watchers()
        return as_json(self._jobs.last)

    async def _cancel(self, request: Request) -> Response:
        self._jobs.cancel()
        return as_json(self._jobs.last)

    async def _csv(self, request: Request) -> Response:
        headers = {"content-disposition": 'attachment; filename="ccnvr-session.csv"'}
        return Response(await self._records.csv(), "text/csv; charset=utf-8", headers=headers)

    async def _geojson(self, request: Request) -> Response:
        headers = {"content-disposition": 'attachment; filename="ccnvr-session.geojson"'}
        return Response(await self._records.geojson(), "application/geo+json", headers=headers)

    async def _health(self, request: Request) -> Response:
        status = self._control.status()
        health: Any = status.get("health")
        well = not isinstance(health, dict) or health.get("state", "ok") == "ok"
        return as_json(status, 200 if well else 503)

    async def _metrics(self, request: Request) -> Response:
        newest = await self._records.newest()
        return Response(metrics_of(self._control.status(), newest).encode(), KIND)


def _event(name: str, data: object, number: int | None = None) -> bytes:
    """Return a server-sent event; JSON in ASCII has no line break."""
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {name}\ndata: {json.dumps(data)}\n\n".encode("ascii")
