"""Record a session: pass every byte between a host and an instrument, and write it to a file.

The command prints the URL of a port of its own, which the host (ccnvr run, or any other program)
then uses instead of the instrument's. ccnvr simulate --replay plays the session back. The baud
rate that the host sets is passed on; modem lines are not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ccnvr.edge.atomic_files import check_absent, check_writable
from ccnvr.edge.commands.signals import stop_on_signals
from ccnvr.edge.standard_error import tell
from ccnvr.firmware_bridge.connect import registry as drivers
from ccnvr.firmware_bridge.serving.port import serve_at
from ccnvr.firmware_bridge.serving.recording import FROM_INSTRUMENT, TO_INSTRUMENT, Recorder
from ccnvr.firmware_bridge.serving.relay import relay
from ccnvr.firmware_bridge.transport import SerialTransport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr record`."""
    parser.add_argument(
        "url",
        help="the instrument, as for ccnvr run: serial:///dev/NAME or socket://HOST:PORT",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="a new file for the session"
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help="serve the host over TCP here instead of on a pseudo-terminal",
    )


def run(arguments: argparse.Namespace) -> int:
    """Pass bytes on until SIGINT or SIGTERM, or until the instrument goes away."""
    # Before the port is opened, which restarts some instruments.
    check_absent(arguments.out, "--out")
    check_writable(arguments.out)
    stop = stop_on_signals()
    _, port, _ = drivers.resolve(arguments.url)
    # Opened first: a host must not be offered a port behind which there is nothing.
    instrument = SerialTransport(port)
    try:
        host = serve_at(arguments.listen)
        try:
            recorder = Recorder(arguments.out, arguments.url)
            # Scripts wait for this line: from here on, the instrument can be used at this URL.
            print(drivers.with_options_of(arguments.url, host.url), flush=True)
            try:
                relay(instrument, host, recorder, stop)
            finally:
                recorder.close()
                sent, received = recorder.passed[TO_INSTRUMENT], recorder.passed[FROM_INSTRUMENT]
                tell(
                    f"{sent} bytes to the instrument and {received} from it are in {arguments.out}"
                )
        finally:
            host.close()
    finally:
        instrument.close()
    return 0
