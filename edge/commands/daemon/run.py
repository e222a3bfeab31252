"""Stream predictions from an instrument until interrupted: a table on a terminal, else JSON lines.

Each scan is stored before it is shown, so after a crash the same command continues where the last
run ended. The first run, and any run without fresh references, takes a dark and a white reference:
have the white panel under the probe. The flags of a record say when a scan must be taken again
(rescan:...) and what else limits its use. SIGHUP has the configuration file read again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ccnvr.edge.commands.arguments import (
    BUNDLE_HELP,
    add_model_choice,
    add_tolerances,
    number,
    whole_number,
)
from ccnvr.edge.daemon import config as configuration
from ccnvr.edge.daemon import main_loop
from ccnvr.edge.daemon.setup import ModelSource
from ccnvr.edge.service import log
from ccnvr.edge.service.supervision import Supervision
from ccnvr.edge.storage.health import Patience
from ccnvr.edge.streams.line_output import LineOutput
from ccnvr.edge.streams.record_table import RecordTable
from ccnvr.edge.updates.slots import Slots, is_folder_of_slots
from ccnvr.edge.updates.trial import SlotModels
from ccnvr.edge.workflow.control import Control


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr run`; each one takes precedence over the configuration file."""
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="configuration file (TOML)"
    )
    parser.add_argument(
        "--instrument",
        metavar="URL",
        help="serial:///dev/NAME?baud=N, socket://HOST:PORT or sim://",
    )
    parser.add_argument(
        "--bundle",
        metavar="FILE",
        help=BUNDLE_HELP,
    )
    # None, so that an option that is not given leaves the configuration file's value alone.
    add_model_choice(parser, default=None)
    parser.add_argument(
        "--store", metavar="FILE", help="SQLite file for scans and predictions (ccnvr.sqlite)"
    )
    parser.add_argument(
        "--interval",
        type=number(0, 86_400),
        metavar="S",
        help="seconds from the start of one scan to the next (0: as fast as possible)",
    )
    parser.add_argument(
        "--new-references",
        action="store_true",
        help="take new dark and white references, even if fresh ones are stored",
    )
    parser.add_argument(
        "--accept-white",
        action="store_true",
        help="take a white reference although it is unlike earlier ones, because the lamp or the "
        "panel was replaced",
    )
    add_tolerances(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object per line on a terminal too, as into a pipe or a file",
    )
    parser.add_argument(
        "--count", type=whole_number(1, 10**9), metavar="N", help="end after N predictions"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon until its count is reached or it is told to stop."""
    given: configuration.Overrides = {
        "instrument": {"url": arguments.instrument},
        "model": {
            "bundle": arguments.bundle,
            "engine": arguments.engine,
            "profile": arguments.profile,
        },
        "store": {"path": arguments.store},
        "scan": {"interval_s": arguments.interval},
        "reference": {"accept_white": arguments.accept_white or None},
        "accept": dict(arguments.accept or ()),
    }
    overrides = {
        section: {key: value for key, value in values.items() if value is not None}
        for section, values in given.items()
    }

    def reload() -> configuration.Config:
        # Another white was accepted once, by whoever started this.
        return configuration.load(arguments.config, {**overrides, "reference": {}})

    settings, supervision = configuration.load(arguments.config, overrides), Supervision()
    output = LineOutput(sys.stdout.fileno(), supervision.signals.overdue)
    as_lines = _json_line if arguments.json or not sys.stdout.isatty() else record_table().lines
    control = Control()
    source = _model_source(settings, supervision, control, reload if arguments.config else None)
    with log.to_standard_error() as logger, _page(settings, control) as tell_page:

        def deliver(record: dict[str, Any]) -> None:
            tell_page()
            output.write("\n".join(as_lines(record)))

        renew = arguments.new_references or arguments.accept_white
        summary = main_loop.run(
            settings,
            arguments.count,
            deliver,
            renew=renew,
            control=control,
            supervision=supervision,
            source=source,
        )
        logger.info("%s", summary)
    return 0


def _model_source(
    settings: configuration.Config,
    supervision: Supervision,
    control: Control,
    reload: Callable[[], configuration.Config] | None,
) -> ModelSource:
    """Return what opens the model: the bundle, or the slots of ccnvr update."""
    folder = settings.model.bundle
    if not is_folder_of_slots(folder):
        return ModelSource(reload)
    patience = Patience(control.health, supervision.signals.stopping, supervision.progress)
    models = SlotModels(Slots(Path(folder)), supervision.signals, patience, reload)
    control.show("model", models.status)
    return models


@contextmanager
def _page(settings: configuration.Config, control: Control) -> Iterator[Callable[[], None]]:
    """Serve the page while the block runs, if there is one; give what tells it of a new record."""
    if not settings.web.port:
        yield lambda: None
        return
    # Here, because it needs a package that the plain installation does not have.
    from ccnvr.edge.web.example_soils import ExampleSoils
    from ccnvr.edge.web.server import served

    def bundle() -> str:
        model = control.status().get("model", {})
        return str(model.get("bundle") or settings.model.bundle)

    examples = ExampleSoils(bundle)
    with served(settings.web, control, settings.store_path, examples) as app:
        yield app.wake


def _json_line(record: Mapping[str, Any]) -> list[str]:
    return [json.dumps(record)]


def record_table() -> RecordTable:
    """Return a table for this terminal."""
    # Terminals of another encoding would show the sign as two others, or fail.
    plus_minus = "±" if "utf" in (sys.stdout.encoding or "").lower() else "+-"
    return RecordTable(shutil.get_terminal_size().columns, plus_minus)
