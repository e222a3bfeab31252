"""What the page answers programs, and what it refuses: over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ccnvr.edge.storage.context import SampleIdentity
from ccnvr.edge.streams.page_settings import WebConfig
from ccnvr.edge.web import http, server
from ccnvr.edge.web.http import MOST_BODY, Response
from ccnvr.edge.workflow.requests import SampleRequest
from ccnvr.firmware_bridge.errors import UsageError
from tests.edge.web.conftest import ServedPage

TOKEN = "a-good-secret-of-many-letters"
SCRIPT = "<script>alert(1)</script>"


def ask(page: ServedPage, way: str, body: object = None, **headers: str) -> tuple[int, Any, str]:
    """Return status, headers and text."""
    data = None if body is None else json.dumps(body).encode()
    given = {"content-type": "application/json"} if data is not None else {}
    request = urllib.request.Request(page.url + way.removeprefix("/"), data, {**given, **headers})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def raw(page: ServedPage, data: bytes, seconds: float = 20.0) -> bytes:
    """Send bytes and return all that comes back."""
    with socket.create_connection(("127.0.0.1", page.port), seconds) as connection:
        connection.sendall(data)
        received = b""
        try:
            while part := connection.recv(65_536):
                received += part
        except OSError:
            pass
        return received


def test_the_files_of_the_page_come_with_strict_headers(page: ServedPage) -> None:
    for way, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/icon.svg", "image")):
        status, headers, text = ask(page, way)
        assert status == 200
        assert headers["content-type"].startswith(kind)
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        # Nothing is fetched from elsewhere.
        assert "https://" not in text
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    "way",
    [
        "/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/static/index.html",
        "//etc/passwd",
        "/page.js/",
        "/page.js%00",
        "/index.html/../app.py",
        "/\\..\\app.py",
    ],
)
def test_no_path_leads_out_of_the_page(page: ServedPage, way: str) -> None:
    answer = raw(
        page, f"GET {way} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.split()[1] in (b"404", b"400")
    assert b"root:" not in answer
    assert b"import" not in answer


def test_programs_read_health_metrics_and_the_session(page: ServedPage) -> None:
    page.scan(SampleRequest(SampleIdentity(f"=1+1 {SCRIPT}", 0, 20, "me", "note")))
    status, _, text = ask(page, "/health")
    assert (status, json.loads(text)["activity"]) == (200, "ready")
    status, headers, text = ask(page, "/metrics")
    assert "version=0.0.4" in headers["content-type"]
    assert "ccnvr_records_total 1\n" in text
    assert "ccnvr_references_age_s 65\n" in text
    status, headers, text = ask(page, "/api/session.csv")
    assert "attachment" in headers["content-disposition"]
    assert f"'=1+1 {SCRIPT}" in text
    (feature,) = json.loads(ask(page, "/api/session.geojson")[2])["features"]
    assert feature["geometry"]["coordinates"] == pytest.approx([4.6906, 50.5603])
    assert feature["properties"]["OC"] == 23.0
    found = json.loads(ask(page, "/api/spectrum?id=1")[2])
    assert found["wavelengths_nm"][0] == 1100.0
    assert found["reflectance"][0] == pytest.approx(0.2, abs=0.02)
    for number in ("2", "", "x", "-1", "1" * 40):
        assert ask(page, f"/api/spectrum?id={number}")[0] in (400, 404)


def test_a_trouble_of_the_store_shows_in_health(page: ServedPage) -> None:
    page.daemon.control.show("health", lambda: {"state": "degraded", "problem": "disk full"})
    assert ask(page, "/health")[0] == 503


def events(page: ServedPage, count: int, **headers: str) -> list[tuple[str, Any, str]]:
    """Return the first events of the stream: name, data and id."""
    request = urllib.request.Request(page.url + "api/events", headers=headers)
    found: list[tuple[str, Any, str]] = []
    fields: dict[str, str] = {}
    with urllib.request.urlopen(request, timeout=20) as answer:
        while len(found) < count:
            line = answer.readline().decode().rstrip("\n")
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "data" in fields:
                found.append((fields["event"], json.loads(fields["data"]), fields.get("id", "")))
                fields = {}
            else:
                fields = {}
    return found


def test_events_go_on_after_the_last_that_was_seen(page: ServedPage) -> None:
    for _ in range(3):
        page.scan()
    first = [event for event in events(page, 5) if event[0] == "record"]
    assert [number for _, _, number in first] == ["1", "2", "3"]
    assert [record["scan_id"] for _, record, _ in first] == page.daemon.committed
    rest = [event for event in events(page, 3, **{"Last-Event-ID": "2"}) if event[0] == "record"]
    assert [number for _, _, number in rest] == ["3"]
    # A number of another store begins anew.
    again = events(page, 5, **{"Last-Event-ID": "99"})
    assert [event[2] for event in again if event[0] == "record"] == ["1", "2", "3"]


def test_a_loss_of_the_connection_is_noticed_between_two_parts() -> None:
    """Otherwise asyncio warns of each part that is written to a closed connection."""
    sent: list[object] = []

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"part"

    async def send(message: object) -> None:
        sent.append(message)

    async def answer() -> int:
        lost = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: lost.set_result(len(sent)))
        await Response(parts=parts()).send(send)
        return int(await lost)

    assert asyncio.run(answer()) < 5


def test_a_job_is_begun_answered_and_told(page: ServedPage) -> None:
    status, _, text = ask(page, "/api/reference", {})
    assert (status, json.loads(text)["job"]) == (202, 1)
    prompt = next(data for name, data, _ in events(page, 2) if name == "job")
    end = time.monotonic() + 20
    while prompt["event"] != "prompt" and time.monotonic() < end:
        prompt = next(data for name, data, _ in events(page, 2) if name == "job")
    assert prompt["text"] == "put the white panel under the probe"
    assert ask(page, "/api/scan", {})[0] == 409
    assert ask(page, "/api/proceed", {})[0] == 200
    while time.monotonic() < end:
        job = next(data for name, data, _ in events(page, 2) if name == "job")
        if job["event"] == "finished":
            break
    assert job["text"] == "references taken"


@pytest.mark.parametrize(
    "body",
    [
        {"sample": {"id": "x" * 101}},
        {"sample": {"top_cm": 1e9}},
        {"sample": {"top_cm": 30, "bottom_cm": 10}},
        {"replicates": 10**9},
        {"unknown": 1},
        {"sample": []},
        [],
        "text",
    ],
)
def test_wrong_samples_are_refused_with_a_reason(page: ServedPage, body: object) -> None:
    status, _, text = ask(page, "/api/scan", body)
    assert status == 400
    assert len(text.strip().splitlines()) == 1
    assert page.daemon.committed == []


def test_a_foreign_site_can_neither_read_nor_begin_anything(page: ServedPage) -> None:
    assert ask(page, "/", Host="evil.example")[0] == 421
    assert ask(page, "/api/session.csv", Host=f"evil.example:{page.port}")[0] == 421
    own = f"http://127.0.0.1:{page.port}"
    assert ask(page, "/api/scan", {}, Origin="http://evil.example")[0] == 403
    assert ask(page, "/api/scan", {}, Origin="null")[0] == 403
    assert ask(page, "/api/scan", {}, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    # What a form of another site can send.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert ask(page, "/api/scan", {}, **{"Content-Type": kind})[0] == 415
    assert page.daemon.committed == []
    assert ask(page, "/api/scan", {}, Origin=own)[0] == 202


def test_beyond_loopback_a_secret_is_needed(
    serve: Callable[..., ServedPage], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    page = serve(host="0.0.0.0", token_file=str(file))
    for way in ("/", "/health", "/metrics", "/api/events", "/api/session.csv"):
        assert ask(page, way)[0] == 401
    assert ask(page, "/api/scan", {})[0] == 401
    assert ask(page, "/", Authorization="Bearer wrong")[0] == 401
    assert ask(page, "/?token=wrong")[0] == 401
    assert ask(page, "/health", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask(page, "/health", Cookie=f"ccnvr-token={TOKEN}")[0] == 200
    answer = raw(
        page, f"GET /?token={TOKEN} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 303")
    assert b"HttpOnly; SameSite=Strict" in answer


def test_settings_that_would_open_the_page_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a token_file"):
        WebConfig(port=80, host="0.0.0.0")
    file = tmp_path / "token"
    for text, words in (("short", "no secret"), ("x y" * 10, "no secret"), (TOKEN, "by everyone")):
        file.write_text(text)
        file.chmod(0o644 if words == "by everyone" else 0o600)
        with pytest.raises(UsageError, match=words):
            WebConfig(port=80, host="0.0.0.0", token_file=str(file)).token()


def test_oversized_and_malformed_requests_are_refused(page: ServedPage) -> None:
    assert ask(page, "/api/scan", {"sample": {"note": "x" * MOST_BODY}})[0] == 413
    assert ask(page, "/?" + "x" * 2000)[0] == 414
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    assert (
        b"431" in raw(page, head + b"X: " + b"y" * 50_000 + b"\r\nConnection: close\r\n\r\n")[:20]
    )
    assert b"400" in raw(page, b"\x16\x03\x01 this is TLS\r\n\r\n")[:20]
    assert (
        b"400" in raw(page, b"GET / HTTP/1.1\r\nContent-Length: -5\r\nHost: localhost\r\n\r\n")[:20]
    )
    assert (
        b"405"
        in raw(
            page,
            b"DELETE /api/scan HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\n\r\n",
        )[:20]
    )
    deep = b"[" * 10_000
    request = (
        b"POST /api/scan HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(deep)
    )
    assert b"400" in raw(page, request + deep)[:20]
    # And the page still answers.
    assert ask(page, "/health")[0] == 200


def test_a_body_without_an_end_is_cut_off(page: ServedPage) -> None:
    head = (
        b"POST /api/scan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    answer = raw(
        page, head + b"1000\r\n" + b"x" * 4096 + b"\r\n" + 9 * (b"1000\r\n" + b"x" * 4096 + b"\r\n")
    )
    assert b"413" in answer[:20]
    assert b"400" in raw(page, head + b"zz\r\n")[:20]
    assert ask(page, "/health")[0] == 200


def test_a_body_that_comes_too_slowly_is_given_up(
    page: ServedPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "BODY_S", 0.3)
    head = (
        b"POST /api/scan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100\r\nConnection: close\r\n\r\n{"
    )
    assert b"408" in raw(page, head)[:20]
    assert page.daemon.committed == []


def test_connections_that_send_nothing_whole_end_and_shut_nobody_out(
    serve: Callable[..., ServedPage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PATIENCE_S", 0.2)
    page = serve()
    idle = [socket.create_connection(("127.0.0.1", page.port), 20) for _ in range(40)]
    for connection in idle:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: loc")
    assert ask(page, "/health")[0] == 200
    for connection in idle:
        assert connection.recv(100) == b""
        connection.close()


def test_pages_beyond_the_limit_are_turned_away(page: ServedPage) -> None:
    from ccnvr.edge.web.app import MOST_WATCHERS

    open_ones = [
        urllib.request.urlopen(page.url + "api/events", timeout=20) for _ in range(MOST_WATCHERS)
    ]
    assert ask(page, "/api/events")[0] == 503
    assert ask(page, "/health")[0] == 200
    for one in open_ones:
        one.close()
