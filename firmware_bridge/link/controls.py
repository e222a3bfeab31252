"""What an instrument on the ccnvr link offers beside scans.

That is lamp, shutter, button, temperature, user memory, calibration coefficients and baud rate.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.errors import InstrumentError, InstrumentRestarted, LinkLost
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.link.messages import (
    BaudRate,
    Capabilities,
    CoefficientKind,
    Coefficients,
    CoefficientsRequest,
    ErrorCode,
    Feature,
    Held,
    Hello,
    Hold,
    MemoryBlock,
    MemoryWritten,
    Status,
    StatusFlag,
    Type,
)
from ccnvr.firmware_bridge.link.session import Link, Refused
from ccnvr.firmware_bridge.link_constants import BAUD_FALLBACK_MS, BAUD_SETTLE_MS, MAX_REQUEST
from ccnvr.firmware_bridge.transport import Transport

# Short enough that the operator notices no delay.
_POLL_S = 0.1
# The offset takes two bytes of the request.
_BLOCK = MAX_REQUEST - 2


@frozen
class State:
    """The state of the instrument at one moment.

    `temperature_c` is NaN without a thermometer; `presses` counts since the instrument's start.
    """

    boot: int
    presses: int
    temperature_c: float
    samples_waiting: int
    lamp_on: bool
    shutter_open: bool


class LinkControls:
    """The requests beyond scanning.

    Each raises `InstrumentError` if this instrument lacks what the request is for.
    """

    def __init__(
        self, link: Link, transport: Transport, capabilities: Capabilities, timeout_s: float
    ) -> None:
        self.features = capabilities.features
        self.memory_bytes = capabilities.memory_bytes
        self.fastest_baud = capabilities.fastest_baud
        self.samples_kept = capabilities.samples_kept
        self._serial = capabilities.serial
        self._boot = capabilities.boot
        self._knows_status = True
        self._link = link
        self._transport = transport
        self._timeout_s = timeout_s

    def state(self) -> State:
        """Return temperature, button presses, lamp and shutter now."""
        return self._state(Status.unpack(self._call(Type.STATUS, b"")))

    def check_running(self) -> None:
        """Check that the instrument has not restarted since it was identified.

        Raises:
            InstrumentRestarted: it states another boot now.
        """
        if self._knows_status:
            try:
                self.check_boot(Status.unpack(self._call(Type.STATUS, b"")).boot)
                return
            except Refused as refused:
                if refused.code != ErrorCode.UNKNOWN_REQUEST:
                    raise
                # An early instrument, made before STATUS; every one states its boot to HELLO.
                self._knows_status = False
        hello = Hello(secrets.randbits(32))
        stated = Capabilities.unpack(self._call(Type.HELLO, hello.pack()))
        self.check_boot(stated.boot)

    def check_boot(self, boot: int) -> None:
        """Compare a boot that the instrument states now with that of its identification.

        Raises:
            InstrumentRestarted: they differ.
        """
        if boot != self._boot:
            raise InstrumentRestarted(
                f"instrument {self._serial} has restarted since it was identified (boot {boot} "
                f"instead of {self._boot}); check its power supply and take new references"
            )

    def hold(self, lamp: Held = Held.AUTOMATIC, shutter: Held = Held.AUTOMATIC) -> State:
        """Hold lamp and shutter until told otherwise or restarted.

        AUTOMATIC leaves them to the scans.
        """
        # Checked here as well as by the instrument, for a message that names what is missing.
        if lamp is not Held.AUTOMATIC:
            self._need(Feature.LAMP in self.features, "lamp that can be switched")
        if shutter is not Held.AUTOMATIC:
            self._need(Feature.SHUTTER in self.features, "shutter")
        return self._state(Status.unpack(self._call(Type.HOLD, Hold(lamp, shutter).pack())))

    def presses(self) -> int:
        """Return how often the button was pressed since the instrument's start.

        Raises:
            InstrumentRestarted: it has restarted since it was identified, and counts anew.
        """
        self._need(Feature.BUTTON in self.features, "button")
        state = self.state()
        self.check_boot(state.boot)
        return state.presses

    def wait_for_button(self, timeout_s: float) -> bool:
        """Return whether the button is pressed within `timeout_s`.

        The instrument counts the presses, so that none is missed or counted twice.
        """
        deadline = time.monotonic() + timeout_s
        # A restart sets the count of presses to zero; `presses` notices it, so that comparing
        # invents and misses no press.
        before = self.presses()
        while (remaining := deadline - time.monotonic()) > 0:
            time.sleep(min(_POLL_S, remaining))
            if self.presses() != before:
                return True
        return False

    def coefficients(self, kind: CoefficientKind) -> NDArray[np.float64]:
        """Return the maker's calibration polynomial, lowest power first; empty if there is none.

        ccnvr itself does not apply it.
        """
        answer = Coefficients.unpack(
            self._call(Type.COEFFICIENTS, CoefficientsRequest(kind).pack())
        )
        if answer.kind is not kind or not all(map(math.isfinite, answer.values)):
            raise InstrumentError(
                f"instrument {self._serial} gave {answer.kind.name} coefficients "
                f"{tuple(answer.values)} when finite {kind.name} ones were asked for; update its "
                "firmware"
            )
        return np.array(answer.values)

    def read_memory(self) -> bytes:
        """Return all of the user memory."""
        self._need(self.memory_bytes > 0, "user memory")
        return self._link.pull(Type.MEMORY, b"", self.memory_bytes, self._timeout_s)

    def write_memory(self, offset: int, data: bytes) -> None:
        """Write `data` at `offset` of the user memory, block by block.

        If the link is lost midway, the first blocks are written.
        """
        self._need(self.memory_bytes > 0, "user memory")
        if offset < 0 or offset + len(data) > self.memory_bytes:
            raise InstrumentError(
                f"{len(data)} bytes at {offset} do not fit into the {self.memory_bytes} bytes of "
                "user memory; write fewer"
            )
        for start in range(0, len(data), _BLOCK):
            block = MemoryBlock(offset + start, data[start : start + _BLOCK])
            written = MemoryWritten.unpack(self._call(Type.WRITE, block.pack()))
            if written != MemoryWritten(block.offset, len(block.data)):
                raise InstrumentError(
                    f"the instrument wrote {written.length} bytes at {written.offset} when "
                    f"{len(block.data)} at {block.offset} were asked for; read the memory and "
                    "write again"
                )

    def change_baud(self, baud: int, handshake: Callable[[], object]) -> bool:
        """Run the line at `baud` if the instrument answers there, and return whether it does.

        Otherwise the line goes back to the rate before. Over TCP there is no rate, and nothing is
        done.
        """
        before = self._transport.baud
        if before is None or before == baud:
            return before == baud
        self._call(Type.BAUD, BaudRate(baud).pack())
        self._switch(baud, BAUD_SETTLE_MS)
        try:
            handshake()
        except LinkLost:
            # The line is not good enough, or this port cannot run at the rate. The instrument falls
            # back on its own once it has understood nothing for BAUD_FALLBACK_MS.
            self._switch(before, BAUD_FALLBACK_MS)
            handshake()
            return False
        return True

    def celsius(self, hundredths: int) -> float:
        """Return a temperature of the wire in degrees; NaN without a thermometer."""
        return hundredths / 100.0 if Feature.THERMOMETER in self.features else math.nan

    def _switch(self, baud: int, wait_ms: int) -> None:
        self._transport.set_baud(baud)
        time.sleep(wait_ms / 1000.0)
        self._link.reset()

    def _state(self, status: Status) -> State:
        return State(
            boot=status.boot,
            presses=status.presses,
            temperature_c=self.celsius(status.temperature_centi_c),
            samples_waiting=status.waiting,
            lamp_on=StatusFlag.LAMP_ON in status.flags,
            shutter_open=StatusFlag.SHUTTER_OPEN in status.flags,
        )

    def _need(self, present: bool, what: str) -> None:
        if not present:
            raise InstrumentError(
                f"instrument {self._serial} has no {what}; use an instrument that has one"
            )

    def _call(self, request: Type, payload: bytes) -> bytes:
        return self._link.call(request, payload, timeout_s=self._timeout_s).payload
