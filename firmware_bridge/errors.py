"""The error tree of ccnvr: who did what wrong.

Each message is one sentence that names the value, the limit and the next step. The command line
prints it on stderr and exits with `exit_code`; nothing below the command line prints or exits.
"""


class CcnvrError(Exception):
    """Any failure that ccnvr can explain in one sentence."""

    exit_code = 1


class UsageError(CcnvrError):
    """The user asked for something that cannot be: a wrong option, an unknown key, a value out of
    range.
    """

    exit_code = 2


class InstrumentError(CcnvrError):
    """The instrument, or the link to it, did something wrong."""


class LinkLost(InstrumentError):
    """The port went away or fell silent; opening it again may help."""
