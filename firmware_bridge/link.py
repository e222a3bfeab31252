"""Requests and replies over a transport: the host's side of the link, with time-outs, retries and counters."""

from __future__ import annotations

import time
from collections import deque

from ccnvr.firmware_bridge.codec import VERSION, Damage, Decoder, Frame, Reason, encode
from ccnvr.firmware_bridge.errors import InstrumentError, LinkLost
from ccnvr.firmware_bridge.instrument import LinkStatistics
from ccnvr.firmware_bridge.messages import Refusal, Type
from ccnvr.firmware_bridge.transport import Transport

ATTEMPTS = 4


class Refused(InstrumentError):
    """The instrument understood a request and refused it; `code` is a `messages.ErrorCode` or unknown."""

    def __init__(self, request: Type, refusal: Refusal) -> None:
        super().__init__(f"the instrument refused {request.name} with error {refusal.code}: {refusal.detail}")
        self.code = refusal.code


class Link:
    """Sends one request at a time and waits for the reply that carries its sequence number.

    A request is repeated unchanged when its reply is damaged or late; the instrument answers a repeated sequence
    number with the reply it gave before, so a repeated SCAN takes no second scan.
    """

    def __init__(self, transport: Transport, statistics: LinkStatistics) -> None:
        self._transport = transport
        self._statistics = statistics
        self._decoder = Decoder()
        self._events: deque[Frame | Damage] = deque()
        self._sequence = 0

    def call(self, request: Type, payload: bytes = b"", *, chunk: int = 0, chunks: int = 1, timeout_s: float) -> Frame:
        """The reply to one request; `timeout_s` is for each of `ATTEMPTS` tries.

        Raises:
            Refused: the instrument answered ERROR.
            LinkLost: no valid reply came.
            InstrumentError: the instrument speaks another version of the link.
        """
        self._sequence = (self._sequence + 1) % 0x10000
        wanted = request | 0x80
        encoded = encode(Frame(request, self._sequence, payload, chunk, chunks))
        for attempt in range(ATTEMPTS):
            self._statistics.retries += attempt > 0
            self._transport.write(encoded)
            self._statistics.bytes_written += len(encoded)
            reply = self._await(self._sequence, (wanted, Type.ERROR), timeout_s)
            if reply is None:
                continue
            if reply.type == Type.ERROR:
                raise Refused(request, Refusal.unpack(reply.payload))
            return reply
        raise LinkLost(
            f"nothing valid answered {request.name} in {ATTEMPTS} tries of {timeout_s:.1f} s "
            f"({self._statistics.bytes_read} bytes read, {self._statistics.frames_damaged} damaged frames); "
            "check the instrument's power, the port and the baud rate"
        )

    def _await(self, sequence: int, types: tuple[int, ...], timeout_s: float) -> Frame | None:
        """The frame asked for, or None when it is late or something arrived damaged."""
        deadline = time.monotonic() + timeout_s
        while True:
            while self._events:
                event = self._events.popleft()
                if isinstance(event, Damage):
                    self._note_damage(event)
                    return None
                self._statistics.frames_read += 1
                if event.sequence == sequence and event.type in types:
                    return event
                self._statistics.frames_stale += 1
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return None
            data = self._transport.read(remaining)
            self._statistics.bytes_read += len(data)
            self._events.extend(self._decoder.feed(data))

    def _note_damage(self, damage: Damage) -> None:
        self._statistics.frames_damaged += 1
        counts = self._statistics.damage
        counts[damage.reason.value] = counts.get(damage.reason.value, 0) + 1
        if damage.reason is Reason.VERSION:
            raise InstrumentError(
                f"the instrument speaks link version {damage.found}, this ccnvr speaks {VERSION}; update the older one"
            )
        if damage.reason is Reason.FLAGS:
            raise InstrumentError(
                f"the instrument uses link flags 0x{damage.found:02x} that this ccnvr does not know; update ccnvr"
            )
