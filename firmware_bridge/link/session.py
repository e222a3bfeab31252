"""The host's side of the link: requests and replies with time-outs, repeats and counters."""

from __future__ import annotations

import time
from collections import deque

from ccnvr.firmware_bridge.errors import InstrumentError, LinkLost
from ccnvr.firmware_bridge.framing import Damage
from ccnvr.firmware_bridge.instrument import LinkStatistics
from ccnvr.firmware_bridge.link.frames import Decoder, Frame, Reason, encode
from ccnvr.firmware_bridge.link.messages import ErrorCode, Refusal, Type
from ccnvr.firmware_bridge.link_constants import AFTER_DAMAGE_MS, ATTEMPTS, VERSION
from ccnvr.firmware_bridge.transport import Transport

_AFTER_DAMAGE_S = AFTER_DAMAGE_MS / 1000.0

_REFUSALS: dict[int, tuple[str, str]] = {
    ErrorCode.UNKNOWN_REQUEST: ("it cannot do this", "update its firmware, or do without it"),
    ErrorCode.MALFORMED: (
        "it could not read the request",
        "update the older of its firmware and ccnvr",
    ),
    ErrorCode.OUT_OF_RANGE: ("a value is outside its limits", "choose one within what it states"),
    ErrorCode.NO_SUCH_SCAN: ("it does not keep the scan", "scan again"),
    ErrorCode.STORE_FULL: (
        "it cannot keep more samples",
        "let ccnvr run read those it has, or restart it and lose them",
    ),
    ErrorCode.HARDWARE: (
        "a part of it failed",
        "check its lamp, detector and power, then restart it",
    ),
    ErrorCode.OTHER_VERSION: (
        "it speaks another version of the link",
        "update the older of its firmware and ccnvr",
    ),
    ErrorCode.WRONG_STATE: (
        "its lamp or shutter is held in another position",
        "set both back to automatic",
    ),
}
"""For each code, what is wrong if the instrument does not say, and what to do next."""


class Refused(InstrumentError):
    """A request that the instrument understood and refused.

    `code` is a `messages.ErrorCode`, or a number that this version does not know.
    """

    def __init__(self, request: Type, refusal: Refusal) -> None:
        unknown = "it gave no reason", "look the error up in its manual, or update ccnvr"
        what, then = _REFUSALS.get(refusal.code, unknown)
        super().__init__(
            f"the instrument refused {request.name} with error {refusal.code}: "
            f"{refusal.detail or what}; {then}"
        )
        self.code = refusal.code


class Link:
    """Sends one request at a time, and waits for the reply that has its sequence number.

    A request is repeated unchanged if its reply is late, or soon after something damaged arrived,
    which may have been the reply. The instrument answers a repeated request with the reply it gave
    before, so that a repeated SCAN takes no second scan. However much noise arrives, only time ends
    a request.
    """

    def __init__(self, transport: Transport, statistics: LinkStatistics) -> None:
        self._transport = transport
        self._statistics = statistics
        self._decoder = Decoder()
        self._events: deque[Frame | Damage] = deque()
        self._sequence = 0

    def call(
        self,
        request: Type,
        payload: bytes = b"",
        *,
        chunk: int = 0,
        chunks: int = 1,
        timeout_s: float,
    ) -> Frame:
        """Return the reply to one request, which is given up after `ATTEMPTS` times `timeout_s`.

        Raises:
            Refused: the instrument answered ERROR.
            LinkLost: no valid reply came.
            InstrumentError: the instrument speaks another version of the link.
        """
        self._sequence = (self._sequence + 1) % 0x10000
        wanted = request | 0x80
        # Encoded once: the instrument recognises a repeat by its bytes.
        encoded = encode(Frame(request, self._sequence, payload, chunk, chunks))
        # Time and not a number of tries limits a request, because damage makes tries short.
        give_up = time.monotonic() + ATTEMPTS * timeout_s
        while (now := time.monotonic()) < give_up:
            self._transport.write(encoded)
            reply = self._await(self._sequence, (wanted, Type.ERROR), min(now + timeout_s, give_up))
            if reply is None:
                self._statistics.retries += 1
                continue
            if reply.type == Type.ERROR:
                raise Refused(request, Refusal.unpack(reply.payload))
            return reply
        raise LinkLost(
            f"nothing valid on {self._transport.url} answered {request.name} within "
            f"{ATTEMPTS * timeout_s:.1f} s ({self._statistics.bytes_read} bytes read, "
            f"{self._statistics.frames_damaged} damaged frames); check the instrument's power, "
            "the port and the baud rate"
        )

    def pull(self, request: Type, payload: bytes, length: int, timeout_s: float) -> bytes:
        """Ask for chunk after chunk until all `length` bytes have arrived, and return them.

        Raises:
            InstrumentError: the chunks do not add up to `length` bytes. `call` says what else is
                raised.
        """
        parts: list[bytes] = []
        chunks = 1
        while len(parts) < chunks:
            index = len(parts)
            frame = self.call(
                request, payload, chunk=index, chunks=max(chunks, index + 1), timeout_s=timeout_s
            )
            # The first reply says how many chunks there are; later ones must agree.
            chunks = frame.chunks if index == 0 else chunks
            parts.append(frame.payload)
            received = sum(map(len, parts))
            if (
                frame.chunk != index
                or frame.chunks != chunks
                or not frame.payload
                or received > length
            ):
                raise InstrumentError(
                    f"{request.name} sent chunk {frame.chunk} of {frame.chunks} with {received} "
                    f"of {length} bytes when chunk {index} of {chunks} was asked for; restart the "
                    "instrument"
                )
        if received != length:
            raise InstrumentError(
                f"{request.name} gave {received} bytes instead of {length}; restart the instrument"
            )
        return b"".join(parts)

    def reset(self) -> None:
        """Forget what has arrived, as after a change of the line's rate."""
        self._decoder = Decoder()
        self._events.clear()

    def _await(self, sequence: int, types: tuple[int, ...], deadline: float) -> Frame | None:
        """Return the frame asked for, or None if it has not arrived by the deadline.

        Damage brings the deadline nearer.
        """
        damaged = False
        while True:
            while self._events:
                event = self._events.popleft()
                if isinstance(event, Damage):
                    self._note_damage(event)
                    damaged = True
                    # It may have been the reply, so waiting for the whole time-out would be in
                    # vain; yet the reply may also follow at once, behind mere noise.
                    deadline = min(deadline, time.monotonic() + _AFTER_DAMAGE_S)
                    continue
                if event.sequence == sequence and event.type in types:
                    return event
                self._statistics.frames_stale += 1  # the answer to an earlier try or request
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                self._statistics.frames_missing += not damaged
                return None
            data = self._transport.read(remaining)
            self._statistics.bytes_read += len(data)
            self._events.extend(self._decoder.feed(data))

    def _note_damage(self, damage: Damage) -> None:
        self._statistics.frames_damaged += 1
        if damage.reason is Reason.VERSION:
            raise InstrumentError(
                f"the instrument speaks link version {damage.found}, this ccnvr speaks {VERSION}; "
                "update the older of the two"
            )
        if damage.reason is Reason.FLAGS:
            raise InstrumentError(
                f"the instrument uses link flags 0x{damage.found:02x} that this ccnvr does not "
                "know; update ccnvr"
            )
