"""The tree of errors that ccnvr can explain to a user.

Each message is one sentence that names the value, the limit and the next step. The command line
prints it on stderr and exits with `exit_code`; nothing below the command line prints or exits.
"""


class CcnvrError(Exception):
    """A failure that ccnvr can explain in one sentence."""

    exit_code = 1


class UsageError(CcnvrError):
    """A request that is wrong in itself, such as an unknown option or a value out of range."""

    exit_code = 2


class InstrumentError(CcnvrError):
    """A failure of the instrument, or of the link to it."""


class LinkLost(InstrumentError):
    """A port that went away or fell silent; opening it again may help."""


class InstrumentRestarted(LinkLost):
    """An instrument that has restarted since it was identified; its references no longer hold."""
