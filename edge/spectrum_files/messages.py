"""Text from files, made fit for a message: nothing that a terminal would obey, and not too long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ccnvr.firmware_bridge.errors import CcnvrError, UsageError


class NoSpectra(UsageError):
    """A file holds no spectrum of a sample; in a folder it is passed over."""


LONGEST_MESSAGE = 500
_ENDS = 240


def shown(text: object, most: int = 40) -> str:
    """Return the text in quotes, with control characters escaped and what exceeds `most` cut."""
    whole = str(text).strip()
    return repr(whole if len(whole) <= most else whole[: most - 3] + "...")


def listed(names: Iterable[object], most: int = 4) -> str:
    """Return the first few names in quotes, separated by commas; `none` if there are none."""
    names = list(names)
    return ", ".join(map(shown, names[:most])) + (", ..." if len(names) > most else "") or "none"


@contextmanager
def clean_messages() -> Iterator[None]:
    """Make the messages of errors fit to be shown; the exit code stays."""
    try:
        yield
    except CcnvrError as error:
        if (message := cleaned(str(error))) == str(error):
            raise
        # The constructors of other errors take more than a message.
        kinds = (NoSpectra, UsageError, CcnvrError)
        raise next(kind for kind in kinds if isinstance(error, kind))(message) from error


def cleaned(message: str) -> str:
    """Return a message with control characters escaped and its middle cut beyond 500 characters."""
    message = "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in message
    )
    if len(message) <= LONGEST_MESSAGE:
        return message
    return f"{message[:_ENDS]} ... {message[-_ENDS:]}"
