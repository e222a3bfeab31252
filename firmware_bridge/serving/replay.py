"""The replay of a recorded session to a host, each recorded answer with its delay.

`replay_of` chooses how requests are recognised. In general they must be those of the recording,
byte for byte and in order. The requests of the ccnvr link carry a nonce and sequence numbers that
differ from session to session, and a daemon need not acknowledge at the same points; so its frames
are matched by what they ask.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.link.frames import Decoder, Frame, encode
from ccnvr.firmware_bridge.link.messages import Hello, Type
from ccnvr.firmware_bridge.serving.port import ServedPort
from ccnvr.firmware_bridge.serving.recording import TO_INSTRUMENT, Event, Recording

_LOOK_UP_S = 0.1
# HELLO and CAPABILITIES begin with the nonce.
_NONCE = len(Hello(0).pack())


class ReplayError(CcnvrError):
    """A request that the recording does not hold."""


@frozen
class Answer:
    """Bytes to send, `delay_s` after what came before them on the line."""

    delay_s: float
    data: bytes


class Replay(Protocol):
    """Recognises requests, and returns the recorded answers."""

    def receive(self, data: bytes) -> list[Answer]:
        """Return what follows `data`.

        It is called once without data at the start, for an instrument that speaks first.

        Raises:
            ReplayError: the recording has no answer to `data`.
        """
        ...


def replay_of(recording: Recording) -> Replay:
    """Return the way to play this recording."""
    asked = b"".join(event.data for event in recording.events if event.direction == TO_INSTRUMENT)
    # Only the ccnvr link begins with a frame that is a HELLO.
    frames = [frame for frame in Decoder().feed(asked) if isinstance(frame, Frame)]
    return (
        LinkReplay(recording.events)
        if frames and frames[0].type == Type.HELLO
        else ByteReplay(recording.events)
    )


def serve(port: ServedPort, replay: Replay, pace: float, stop: threading.Event) -> None:
    """Play to whoever opens `port` until `stop` is set.

    `pace` scales the recorded delays; 0 leaves them out.

    Raises:
        ReplayError: the host asked for what the recording does not hold.
    """
    waiting: deque[tuple[float, bytes]] = deque()
    data = b""
    due = time.monotonic()
    while not stop.is_set():
        for answer in replay.receive(data):
            # Delays count from the bytes before, so an answer never overtakes another.
            due = max(due, time.monotonic()) + pace * answer.delay_s
            waiting.append((due, answer.data))
        while waiting and waiting[0][0] <= time.monotonic():
            port.write(waiting.popleft()[1], stop)
        # Reading sleeps until the next answer is due, so that no delay is longer than recorded.
        until_next = waiting[0][0] - time.monotonic() if waiting else _LOOK_UP_S
        data = port.read(min(_LOOK_UP_S, max(0.0, until_next)))


@dataclass
class _Turn:
    """A request of the host, and the answers that came before it sent more."""

    request: bytearray = field(default_factory=bytearray)
    answers: list[Answer] = field(default_factory=list)


class ByteReplay:
    """A replay that expects the recorded bytes in order.

    It starts over when a host sends the first request again after the last one.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self._turns = [_Turn()]
        last = 0.0
        for event in events:
            if event.direction == TO_INSTRUMENT:
                if self._turns[-1].answers:
                    self._turns.append(_Turn())
                self._turns[-1].request += event.data
            else:
                self._turns[-1].answers.append(Answer(event.time_s - last, event.data))
            last = event.time_s
        self._turn = 0
        self._matched = 0

    def receive(self, data: bytes) -> list[Answer]:
        """See `Replay`."""
        answers: list[Answer] = []
        while True:
            if self._turn == len(self._turns):
                if not data:
                    return answers
                self._turn = 0
            turn = self._turns[self._turn]
            wanted = turn.request[self._matched : self._matched + len(data)]
            given, data = data[: len(wanted)], data[len(wanted) :]
            if given != wanted:
                raise self._mismatch(given, bytes(wanted))
            self._matched += len(given)
            if self._matched < len(turn.request):
                return answers
            # Without this, the loop would never consume the data.
            if data and not any(turn.request for turn in self._turns):
                raise ReplayError(
                    "the host sent something, but in the recording nothing was sent; let it only "
                    "listen"
                )
            answers += turn.answers
            self._turn, self._matched = self._turn + 1, 0

    def _mismatch(self, given: bytes, wanted: bytes) -> ReplayError:
        at = next(
            index
            for index, (one, other) in enumerate(zip(given, wanted, strict=True))
            if one != other
        )
        return ReplayError(
            f"the host sent 0x{given[at]:02x} as byte {self._matched + at + 1} of request "
            f"{self._turn + 1} of {len(self._turns)}, where the recording has "
            f"0x{wanted[at]:02x}; use the settings of the recorded session"
        )


_Key = tuple[int, int, bytes]


class LinkReplay:
    """A replay that gives each request of the ccnvr link its next recorded answer.

    Sequence numbers and the nonce are those of the live host. A request that was not answered in
    the recording is not answered here either, so that the host repeats it as it did then. A HELLO
    beyond the recorded ones starts the recording over. Damaged frames of the recording are left
    out.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self._recorded = list(_link_turns(events))
        self._decoder = Decoder()
        self._left: dict[_Key, deque[list[tuple[float, Frame]]]] = {}
        self._last: tuple[Frame, list[Answer]] | None = None
        self._rewind()

    def receive(self, data: bytes) -> list[Answer]:
        """See `Replay`."""
        requests = (event for event in self._decoder.feed(data) if isinstance(event, Frame))
        return [answer for request in requests for answer in self._answer(request)]

    def _rewind(self) -> None:
        self._left.clear()
        for request, answers in self._recorded:
            self._left.setdefault(_key(request), deque()).append(answers)

    def _answer(self, request: Frame) -> list[Answer]:
        # As an instrument does: a request that is repeated because its answer was late is answered
        # again.
        if self._last is not None and self._last[0] == request and self._last[1]:
            return self._last[1]
        left = self._left.get(_key(request))
        if left is not None and not left and request.type == Type.HELLO:
            self._rewind()
            left = self._left[_key(request)]
        if not left:
            raise ReplayError(
                f"the recording has no {'further ' if left is not None else ''}answer to "
                f"{_name(request)}; ask for as many scans as were recorded, with the same settings"
            )
        answers = [
            Answer(delay_s, encode(_to(request, frame))) for delay_s, frame in left.popleft()
        ]
        self._last = request, answers
        return answers


def _link_turns(events: Iterable[Event]) -> Iterable[tuple[Frame, list[tuple[float, Frame]]]]:
    host, instrument = Decoder(), Decoder()
    turn: tuple[Frame, list[tuple[float, Frame]]] | None = None
    last = 0.0
    for event in events:
        if event.direction == TO_INSTRUMENT:
            for request in host.feed(event.data):
                if isinstance(request, Frame):
                    if turn is not None:
                        yield turn
                    turn = request, []
                    last = event.time_s
            continue
        for answer in instrument.feed(event.data):
            if isinstance(answer, Frame) and turn is not None:
                turn[1].append((event.time_s - last, answer))
                last = event.time_s
    if turn is not None:
        yield turn


def _key(request: Frame) -> _Key:
    """Return what a request asks, whoever asks it and when."""
    payload = request.payload[_NONCE:] if request.type == Type.HELLO else request.payload
    return request.type, request.chunk, payload


def _to(request: Frame, answer: Frame) -> Frame:
    """Return a recorded answer as one to this request."""
    payload = answer.payload
    if answer.type == Type.CAPABILITIES:
        # The host accepts only a reply to its own nonce.
        payload = request.payload[:_NONCE] + payload[_NONCE:]
    return replace(answer, sequence=request.sequence, payload=payload)


def _name(request: Frame) -> str:
    return (
        Type(request.type).name
        if request.type in Type.__members__.values()
        else f"request 0x{request.type:02x}"
    )
