"""A server of simulated instruments, and an `Instrument` that runs its own simulator."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from ccnvr.firmware_bridge.instrument import Instrument, Scan, ScanKind
from ccnvr.firmware_bridge.serving.faults import Answering, Line
from ccnvr.firmware_bridge.serving.port import ServedPort
from ccnvr.firmware_bridge.serving.pty_baud import heard_at
from ccnvr.firmware_bridge.simulators.bench import Bench

_LOOK_UP_S = 0.1


def serve(port: ServedPort, device: Answering | Line, stop: threading.Event) -> None:
    """Answer whoever opens `port` until `stop` is set; `device` may be a `faults.Line`."""
    line = device if isinstance(device, Line) else Line(device)
    greeted = 0
    while not stop.is_set():
        data = port.read(_LOOK_UP_S)
        # Some instruments say something to each host that connects.
        if port.hosts != greeted:
            greeted = port.hosts
            port.write(line.connect(), stop)
        if data:
            _answer(port, line, data, stop)


def _answer(port: ServedPort, line: Line, data: bytes, stop: threading.Event) -> None:
    line.device.tick()
    # The reply leaves at the rate at which the request was heard, so the rate is looked up before
    # the device may change it.
    baud = line.device.baud
    for piece in line.exchange(heard_at(baud, port.baud(), data)):
        # Waiting on the event instead of sleeping: a stall of minutes must not delay the end.
        if stop.wait(piece.after_s) if piece.after_s else stop.is_set():
            return
        port.write(heard_at(port.baud(), baud, piece.data), stop)
        if piece.hang_up:
            port.hang_up()
            return


class BackgroundServer:
    """A thread of this process that serves a device at a port; also a context manager."""

    def __init__(self, port: ServedPort, device: Answering | Line) -> None:
        self.url = port.url
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=serve, args=(port, device, self._stop), name="simulator", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving and close the port."""
        self._stop.set()
        self._thread.join()
        self._port.close()


class SimulatedInstrument:
    """An `Instrument` that runs its own simulator.

    It puts what is to be scanned under the simulated probe, and stops the simulator when closed.
    """

    def __init__(self, instrument: Instrument, bench: Bench, server: BackgroundServer) -> None:
        self.statistics = instrument.statistics
        self.identify = instrument.identify
        self.configure = instrument.configure
        self.unacknowledged = instrument.unacknowledged
        self.acknowledge = instrument.acknowledge
        self._instrument, self._bench, self._server = instrument, bench, server

    def scan(self, kind: ScanKind) -> Scan:
        """Take one scan; the operator is simulated too."""
        self._bench.put(kind)
        return self._instrument.scan(kind)

    def close(self) -> None:
        """Close the port and end the simulator."""
        self._instrument.close()
        self._server.close()
