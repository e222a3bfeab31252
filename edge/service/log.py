"""The daemon's log on standard error."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ccnvr.edge.standard_error import never_block, tell

LOGGER_NAME = "ccnvr"
"""The root of ccnvr's loggers; those of libraries are left as they are."""


class StandardErrorHandler(logging.Handler):
    """A handler that writes each record as one line and never raises."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            text = record.getMessage()
        except Exception:  # arguments that do not fit the message must not end the daemon
            text = str(record.msg)
        tell(text, record.levelno)


@contextmanager
def to_standard_error(level: int = logging.INFO) -> Iterator[logging.Logger]:
    """Write ccnvr's log records from `level` up to standard error while the block runs.

    Gives the root of ccnvr's loggers. From now on, a standard error that takes nothing loses
    messages instead of holding up the process.
    """
    never_block()
    logger, handler = logging.getLogger(LOGGER_NAME), StandardErrorHandler()
    level_before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield logger
    finally:
        logger.setLevel(level_before)
        logger.removeHandler(handler)
