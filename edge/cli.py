"""The `ccnvr` command: it runs one subcommand and turns errors into one sentence and an exit code.

Each subcommand is a module with `add_arguments(parser)` and `run(arguments) -> exit code`; its
docstring is the description in the command's help. Modules are named here, not imported, so that
`--help` and the commands of the edge start fast, and so that this package does not depend on the
packages above it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TextIO, cast

from ccnvr.edge.standard_error import ERROR, discard, tell
from ccnvr.edge.streams.line_output import NAME as OUTPUT
from ccnvr.edge.versions import installed_version
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.firmware_bridge.frozen import frozen


@frozen
class Command:
    """A subcommand: its module, its help, and the extra that installs what the module needs."""

    module: str
    summary: str
    example: str
    extra: str = "onnx"


COMMANDS = {
    "demo": Command(
        "ccnvr.edge.commands.demo",
        "predict real soils through a simulated handheld",
        "ccnvr demo --spectra 20",
    ),
    "run": Command(
        "ccnvr.edge.commands.daemon.run",
        "stream predictions from an instrument",
        "ccnvr run --instrument serial:///dev/ttyACM0 --count 5",
    ),
    "scan": Command(
        "ccnvr.edge.commands.daemon.scan",
        "have a running daemon scan a sample",
        "ccnvr scan --id 'Plot 7' --top 0 --bottom 15 --replicates 3",
    ),
    "reference": Command(
        "ccnvr.edge.commands.daemon.reference",
        "have a running daemon take references, step by step",
        "ccnvr reference --store ccnvr.sqlite",
    ),
    "predict": Command(
        "ccnvr.edge.commands.predict",
        "predict the spectra in files",
        "ccnvr predict default soils.csv",
    ),
    "convert": Command(
        "ccnvr.edge.commands.convert",
        "convert files of spectra into one CSV table",
        "ccnvr convert session/ --out soils.csv",
    ),
    "inspect": Command(
        "ccnvr.edge.commands.inspect", "describe and test a bundle", "ccnvr inspect default"
    ),
    "bench": Command(
        "ccnvr.edge.commands.bench",
        "time each stage from counts to prediction, and each engine",
        "ccnvr bench default",
    ),
    "simulate": Command(
        "ccnvr.edge.commands.simulate",
        "simulate an instrument on a pseudo-terminal or a socket",
        "ccnvr simulate --spectra soils.csv",
    ),
    "instruments": Command(
        "ccnvr.edge.commands.instruments",
        "list serial ports and the instruments that answer on them",
        "ccnvr instruments --udev 90-ccnvr.rules",
    ),
    "doctor": Command(
        "ccnvr.edge.commands.daemon.doctor",
        "examine what ccnvr run needs, and repair a store",
        "ccnvr doctor -c ccnvr.toml",
    ),
    "export-data": Command(
        "ccnvr.edge.commands.daemon.export_data",
        "export the samples of a store: CSV, GeoJSON, GeoPackage, JCAMP-DX",
        "ccnvr export-data ccnvr.sqlite --out soils.csv --laboratory lab.csv",
    ),
    "repredict": Command(
        "ccnvr.edge.commands.daemon.repredict",
        "predict the scans of a store by another bundle",
        "ccnvr repredict ccnvr.sqlite new.ccnvr",
    ),
    "record": Command(
        "ccnvr.edge.commands.record",
        "record the bytes between a host and an instrument",
        "ccnvr record serial:///dev/ttyACM0 --out session.rec",
    ),
    "update": Command(
        "ccnvr.edge.commands.daemon.update",
        "put a new bundle beside the one that a daemon runs",
        "ccnvr update new.ccnvr --models /var/lib/ccnvr/models",
    ),
    "decode": Command(
        "ccnvr.edge.commands.daemon.decode",
        "decode short records of a radio",
        "ccnvr decode 121f00a3c5...",
    ),
    "data": Command(
        "ccnvr.train.commands.data",
        "list the spectral libraries to train on",
        "ccnvr data nirsoil",
        "train",
    ),
    "train": Command(
        "ccnvr.train.commands.train",
        "train CCNVR by a recipe",
        "ccnvr train recipe.toml --out runs/mine",
        "train",
    ),
    "select-soils": Command(
        "ccnvr.train.commands.select_soils",
        "choose which of the measured soils go to the laboratory",
        "ccnvr select-soils default scans/ --count 20 --out to-laboratory.csv",
        "train",
    ),
    "finetune": Command(
        "ccnvr.train.commands.finetune",
        "adapt a model to a few soils of your own",
        "ccnvr finetune default my-soils.csv --out runs/mine",
        "train",
    ),
    "quantize": Command(
        "ccnvr.train.commands.quantize",
        "quantize the network of a training run to int8",
        "ccnvr quantize runs/mine --sensitivity",
        "train",
    ),
    "experiment": Command(
        "ccnvr.train.commands.experiment",
        "compare CCNVR with other methods",
        "ccnvr experiment accuracy --data nirsoil --out runs/study",
        "train",
    ),
    "standardise": Command(
        "ccnvr.train.commands.standardise",
        "adapt a bundle to another instrument with paired standards",
        "ccnvr standardise default --reference lab.csv --field handheld.csv --out field.ccnvr",
        "train",
    ),
    "export": Command(
        "ccnvr.export.commands.export",
        "turn a training run into a bundle",
        "ccnvr export runs/mine --out mine.ccnvr",
        "export",
    ),
}


class _Parser(argparse.ArgumentParser):
    """A parser that reports wrong use as one sentence, like any other error."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


class _NamedOutput:
    """Standard output with its name in its errors, so that those of other files are told apart."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text; see `TextIO.write`."""
        return int(self._named(self._stream.write, text))

    def flush(self) -> None:
        """Write what is buffered; see `TextIO.flush`."""
        self._named(self._stream.flush)

    @staticmethod
    def _named(action: Callable[..., Any], *values: str) -> Any:
        try:
            return action(*values)
        except OSError as error:
            error.filename = OUTPUT
            raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code: 0 done, 1 failed, 2 wrong use."""
    # Python sets a standard stream to None where it was closed before the start. Printing to
    # either would then fail, or write errors to standard output.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process
    if sys.stderr is None:
        discard()
    stdout: TextIO | None = sys.stdout
    sys.stdout = cast(TextIO, _NamedOutput(sys.stdout))
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _dispatch(given)
        # Flushed here rather than when Python exits, so that a full disk or a closed pipe is
        # reported like any other error.
        sys.stdout.flush()
    except CcnvrError as error:
        tell(str(error), ERROR)
        return error.exit_code
    except BrokenPipeError:
        # Python would try to flush what is left when it exits, and fail again.
        stdout = None
        return _output_failed("the reader of standard output went away", given)
    except OSError as error:
        if error.filename == OUTPUT:
            stdout = None
            return _output_failed(f"{OUTPUT} cannot be written ({error.strerror})", given)
        named = error.filename or "a file or device"
        tell(f"{named} cannot be used ({error.strerror or error}); correct that", ERROR)
        return 1
    except KeyboardInterrupt:
        tell("interrupted", ERROR)
        return 1
    finally:
        sys.stdout = cast(TextIO, stdout)
    return code


def build_parser(name: str) -> argparse.ArgumentParser:
    """Return the argument parser of a subcommand, with its description and example.

    Raises:
        UsageError: there is no such command, or its extra is not installed.
    """
    return _parser_of(name, _load(name))


def _output_failed(why: str, given: list[str]) -> int:
    # The daemon stores each scan before it prints it; other commands print what they read.
    kept = "what was stored stays stored, " if given[:1] == ["run"] else ""
    tell(f"{why}; {kept}send the output elsewhere", ERROR)
    return 1


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"ccnvr {installed_version('ccnvr')}")
        return 0
    name, *rest = arguments
    if name == "run" and threading.current_thread() is threading.main_thread():
        # Before the imports, which take seconds on a small computer: SIGHUP has the configuration
        # read again, and must not end a daemon that has not read it yet.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    module = _load(name)
    try:
        parsed = _parser_of(name, module).parse_args(rest)
    # argparse leaves only for --help here; `_Parser` raises UsageError for wrong use.
    except SystemExit as shown_help:
        return int(shown_help.code or 0)
    try:
        return int(module.run(parsed))
    # Some packages are imported only where they are used.
    except ModuleNotFoundError as error:
        raise _missing(name, error) from error


def _load(name: str) -> Any:
    """Import the module of a subcommand."""
    if name not in COMMANDS:
        raise UsageError(f"{name!r} is not a command; the commands are {', '.join(COMMANDS)}")
    command = COMMANDS[name]
    if command.module.startswith("ccnvr.edge."):
        # Set before NumPy is imported. A spectrum's matrices are so small that OpenBLAS's threads
        # only wait for each other; on a busy computer that made the NumPy engine fifteen times
        # slower.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        return importlib.import_module(command.module)
    except ImportError as error:
        raise _missing(name, error) from error


def _missing(name: str, error: ImportError) -> UsageError:
    # Imported here and below where something is missing, because every start would pay for it.
    from ccnvr.firmware_bridge.installation import extra_command

    extra = COMMANDS[name].extra
    return UsageError(
        f"ccnvr {name} needs {error.name}; install the extra {extra}: {extra_command(extra)}"
    )


def _parser_of(name: str, module: Any) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"ccnvr {name}",
        description=module.__doc__,
        epilog=f"example: {COMMANDS[name].example}",
    )
    module.add_arguments(parser)
    return parser


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ccnvr COMMAND ...",
            "",
            "Soil properties from a handheld Vis-NIR spectrometer, on the machine beside it.",
            "",
            *lines,
            "",
            "ccnvr COMMAND --help explains a command, ccnvr --version prints the version.",
            "example: ccnvr demo",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
