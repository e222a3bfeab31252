"""The lines of the control socket: JSON objects, one a line, checked before anything is done.

A request is `{"request": NAME, ...}` with NAME `scan`, `reference`, `check-sample`, `status`,
`proceed` or `cancel`. An answer is `{"event": NAME, "text": ...}` with NAME `prompt`, `progress`,
`finished`, `failed` or `status`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ccnvr.edge.typed import build
from ccnvr.edge.workflow.requests import (
    CheckRequest,
    JobEvent,
    JobFailed,
    JobFinished,
    JobProgress,
    JobRequest,
    OperatorPrompt,
    ReferenceRequest,
    SampleRequest,
)

MOST_LINE = 16_384
"""The most bytes of a line: a note of 1,000 characters, each as a pair of escapes, fits."""

_JOBS: Mapping[str, type[JobRequest]] = {
    "scan": SampleRequest,
    "reference": ReferenceRequest,
    "check-sample": CheckRequest,
}
_ANSWERS = ("status", "proceed", "cancel")

_EVENTS: Mapping[type[JobEvent], str] = {
    OperatorPrompt: "prompt",
    JobProgress: "progress",
    JobFinished: "finished",
    JobFailed: "failed",
}


def encode(data: Mapping[str, object]) -> bytes:
    """Return a JSON object as a line."""
    # Escapes for all but ASCII, so that the line cannot hold what acts on a terminal.
    return json.dumps(data).encode("ascii") + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Return the JSON object of a line.

    Raises:
        ValueError: the line holds none.
    """
    try:
        data = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a line is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise ValueError("a line is not a JSON object")
    return data


def request_line(request: JobRequest) -> bytes:
    """Return the line that asks for a job."""
    if isinstance(request, SampleRequest):
        data: dict[str, Any] = {"sample": request.sample.as_data()}
        if request.replicates:
            data["replicates"] = request.replicates
        return encode({"request": "scan", **data})
    if isinstance(request, ReferenceRequest):
        return encode({"request": "reference", "accept_white": request.accept_white})
    return encode({"request": "check-sample"})


def read_request(line: bytes) -> JobRequest | str:
    """Return the job that a line asks for, or the name of another request.

    Raises:
        ValueError: the line is not a request.
    """
    data = decode(line)
    name = data.pop("request", None)
    # Not looked up at once: a list or a table has no hash.
    if not isinstance(name, str) or name not in (*_JOBS, *_ANSWERS):
        raise ValueError(f"request {name!r:.60} is not one of {', '.join((*_JOBS, *_ANSWERS))}")
    if name in _JOBS:
        return build(_JOBS[name], data)
    if data:
        raise ValueError(f"request {name} takes no {', '.join(map(ascii, data))!s:.60}")
    return name


def event_line(event: JobEvent) -> bytes:
    """Return the line that tells an event of a job."""
    data: dict[str, object] = {"event": _EVENTS[type(event)], "text": event.text}
    if isinstance(event, JobFinished) and event.record is not None:
        data["record"] = event.record
    return encode(data)


def read_event(line: bytes) -> JobEvent:
    """Return the event that a line tells.

    Raises:
        ValueError: the line tells none.
    """
    data = decode(line)
    kinds = {name: kind for kind, name in _EVENTS.items()}
    name, text = data.get("event"), str(data.get("text", ""))
    if not isinstance(name, str) or name not in kinds:
        raise ValueError(f"event {name!r:.60} is unknown")
    if name == "finished":
        record = data.get("record")
        return JobFinished(text, record if isinstance(record, dict) else None)
    # The others have a text alone.
    kind = kinds[name]
    assert kind is not JobFinished
    return kind(text)
