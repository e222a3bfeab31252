"""Post an export to a real server of OGC SensorThings, and count what it has then.

    python3.11 -m venv sta && sta/bin/pip install django-ogc-sensorthings
    python -m tools.sensor_things_server sta/bin/python [field.sta.jsonl]

Without a file, two records of one instrument are exported, one of them without a position. The
server keeps its database in memory, and is asked within its own process.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from ccnvr.edge.history.sensor_things import write_things
from tools.mqtt_campaign import record

# Runs in the server's environment, where ccnvr is not installed.
_SERVE = """
import json, sys, uuid
from django.conf import settings
V = "sensorthings.versions.v1_1"
settings.configure(
    SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF="__main__", USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[V, f"{V}.backends.django"],
    SENSORTHINGS_V1_1_SERVICE_URL="http://localhost/sensorthings",
    SENSORTHINGS_V1_1_BACKEND_ADAPTER=f"{V}.backends.django.adapter.DjangoBackendAdapter",
    SENSORTHINGS_V1_1_ID_TYPE=uuid.UUID, SENSORTHINGS_V1_1_ID_DELIMITER="'",
)
import django
django.setup()
from django.core.management import call_command
from django.test import Client
from django.urls import include, path
from importlib.metadata import version
call_command("migrate", run_syncdb=True, verbosity=0)
urlpatterns = [path("sensorthings/", include(f"{V}.urls"))]
client, root = Client(), "/sensorthings/v1.1/"
observations = 0
for line in sys.stdin:
    streams = json.loads(line)["Datastreams"]
    observations += sum(len(stream["Observations"]) for stream in streams)
    answer = client.post(f"{root}Things", line, content_type="application/json")
    assert answer.status_code == 201, answer.content[:2000]
found = client.get(f"{root}Observations?$count=true").json()
assert found["@iot.count"] == observations, found["@iot.count"]
assert all("low" in one["resultQuality"] for one in found["value"])
server = f"django-ogc-sensorthings {version('django-ogc-sensorthings')}"
print(f"{server} has taken {observations} observations with their resultQuality")
"""


def main(python: str, file: str = "") -> None:
    """Post the lines by an interpreter that has the server."""
    if file:
        text = Path(file).read_text()
    else:
        stream, placed = io.StringIO(), {"latitude": 50.5, "longitude": 4.7, "accuracy_m": 3.0}
        write_things([{**record("S1-2-3"), "position": placed}, record("S1-2-4")], stream)
        text = stream.getvalue()
    subprocess.run([python, "-c", _SERVE], input=text, check=True, text=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
