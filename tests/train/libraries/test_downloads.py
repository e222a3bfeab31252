"""Fetching published files, from a server on this machine: good, cut short, altered, too large,
missing, silent.
"""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.spectrum_files.limesoda import DataError
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.train.libraries import downloads
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.downloads import PublishedFile
from ccnvr.train.libraries.published import r_packages

CONTENT = bytes(range(256)) * 700
FILE = PublishedFile(
    "someone/soils", "abc1234", "data/soils.rda", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()
)


class Server:
    """Serves `body` for every path; `stated` is the length that it claims."""

    def __init__(self) -> None:
        self.body, self.status, self.stated = CONTENT, 200, len(CONTENT)
        self.paths: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.paths.append(self.path)
                self.send_response(server.status)
                self.send_header("Content-Length", str(server.stated))
                self.end_headers()
                self.wfile.write(server.body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server()
    monkeypatch.setattr(downloads, "HOST", running.url)
    yield running
    running.close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CCNVR_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ccnvr"


def test_a_file_is_fetched_once_and_kept(server: Server, cache: Path) -> None:
    assert downloads.present(FILE) is None
    assert downloads.read(FILE) == CONTENT
    assert server.paths == ["/someone/soils/abc1234/data/soils.rda"]
    assert downloads.present(FILE) == cache / "soils.rda"
    assert downloads.read(FILE) == CONTENT
    assert len(server.paths) == 1
    assert [path.name for path in cache.iterdir()] == ["soils.rda"]


def test_a_damaged_copy_in_the_cache_is_fetched_again(server: Server, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "soils.rda").write_bytes(CONTENT[:-1])
    assert downloads.read(FILE) == CONTENT
    assert (cache / "soils.rda").read_bytes() == CONTENT


def test_the_user_s_folder_comes_first_and_is_never_changed(
    server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCNVR_DATA", str(tmp_path))
    (tmp_path / "soils.rda").write_bytes(CONTENT)
    assert downloads.read(FILE) == CONTENT
    (tmp_path / "soils.rda").write_bytes(b"other")
    with pytest.raises(
        DataError, match=r"soils\.rda does not have the sha256 .*replace it, or delete it"
    ):
        downloads.read(FILE)
    assert (tmp_path / "soils.rda").read_bytes() == b"other"
    assert not server.paths and not cache.exists()
    monkeypatch.setenv("CCNVR_DATA", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"none' and must name a folder"):
        downloads.read(FILE)


def cut_short(server: Server) -> None:
    server.body = CONTENT[:1000]


def short_and_honest(server: Server) -> None:
    server.body, server.stated = CONTENT[:1000], 1000


def altered(server: Server) -> None:
    server.body = CONTENT[:-1] + b"!"


def too_large(server: Server) -> None:
    server.body, server.stated = CONTENT + bytes(50_000_000), len(CONTENT) + 50_000_000


def not_there(server: Server) -> None:
    server.status = 404


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (cut_short, "sent 1000 bytes that do not have the sha256"),
        (short_and_honest, "sent 1000 bytes that do not have the sha256"),
        (altered, f"sent {len(CONTENT)} bytes that do not have the sha256"),
        (too_large, f"sent {len(CONTENT) + 1} bytes that do not have the sha256"),
        (not_there, "HTTP Error 404"),
    ],
)
def test_what_is_not_the_file_is_not_kept(
    server: Server, cache: Path, fault: Callable[[Server], None], words: str
) -> None:
    fault(server)
    with pytest.raises(CcnvrError, match=words) as raised:
        downloads.read(FILE)
    assert "soils.rda into the folder that CCNVR_DATA names" in str(raised.value)
    assert not cache.exists()


def test_offline_it_says_which_file_to_put_where(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setattr(downloads, "HOST", f"http://127.0.0.1:{port}")
    with pytest.raises(CcnvrError, match="cannot be fetched") as raised:
        libraries.load_library("nirsoil", Grid(1104.0, 10.0, 140))
    for words in (
        "refused",
        "NIRsoil.RData",
        "CCNVR_DATA",
        str(cache),
        "l-ramirez-lopez/prospectr",
    ):
        assert words in str(raised.value)


def test_a_server_that_falls_silent_is_given_up(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_SILENCE_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(downloads, "HOST", f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(CcnvrError, match="timed out"):
            downloads.read(FILE)


def test_a_cache_that_cannot_be_made_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CCNVR_DATA", raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(CcnvrError, match="XDG_CACHE_HOME"):
        downloads.read(FILE)


def test_the_real_file_comes_through_the_server(
    nirsoil_data: Path, server: Server, cache: Path
) -> None:
    server.body = (nirsoil_data / "NIRsoil.RData").read_bytes()
    server.stated = len(server.body)
    assert len(libraries.load_library("nirsoil:train", Grid(1104.0, 10.0, 140)).sample_ids) == 618
    assert (cache / "NIRsoil.RData").exists()


def test_the_moisture_set_holds_three_states_of_each_soil(nirsoil_data: Path) -> None:
    if not (nirsoil_data / "datEPO.rda").exists():
        pytest.skip("CCNVR_DATA names no folder with datEPO.rda")
    grid = Grid(360.0, 10.0, 200)
    moisture = r_packages.read_moisture(grid)
    states = {"air_dry": moisture.air_dry, "wet": moisture.wet, "wet_1day_dried": moisture.drying}
    # Water's band at 1940 nm, against 1800 nm, tells the states apart in every soil.
    band, shoulder = 158, 144
    water = {state: spectra[:, band] - spectra[:, shoulder] for state, spectra in states.items()}
    assert np.all(water["wet"] > water["air_dry"])
    assert (
        np.median(water["wet"]) > np.median(water["wet_1day_dried"]) > np.median(water["air_dry"])
    )
    assert moisture.total_carbon[0] == pytest.approx(1.8)
    csv = nirsoil_data / "geeves_moisture.csv.gz"
    if csv.exists():
        table = np.genfromtxt(csv, delimiter=",", dtype=str, skip_header=1)
        for state, spectra in states.items():
            rows = table[table[:, 2] == state]
            np.testing.assert_allclose(rows[:, 1].astype(float) * 10.0, moisture.total_carbon)
            # The table holds means over 10 nm: the same but for the noise of the single bands.
            assert np.median(np.abs(rows[:, 4:204].astype(float) - spectra)) < 2e-3
