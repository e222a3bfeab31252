"""What can be asked of a running daemon, and what it answers: values without behaviour."""

from __future__ import annotations

from typing import Any

from ccnvr.edge.storage.context import NO_SAMPLE, SampleIdentity
from ccnvr.firmware_bridge.frozen import frozen

MOST_REPLICATES = 30


@frozen
class SampleRequest:
    """A request to scan a sample.

    Attributes:
        sample: its identity.
        replicates: how many scans make its record; 0 for as many as are configured.

    Raises:
        ValueError: the number of replicates is out of range.
    """

    sample: SampleIdentity = NO_SAMPLE
    replicates: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.replicates <= MOST_REPLICATES:
            raise ValueError(f"replicates = {self.replicates} is outside 1 to {MOST_REPLICATES}")


@frozen
class ReferenceRequest:
    """A request to take dark and white references, and to scan the check sample if there is one.

    `accept_white` takes a white unlike the earlier ones, after a change of lamp or panel.
    """

    accept_white: bool = False


@frozen
class CheckRequest:
    """A request to scan the check sample."""


JobRequest = SampleRequest | ReferenceRequest | CheckRequest


@frozen
class OperatorPrompt:
    """A step that waits for the operator; the job goes on when it is told to proceed."""

    text: str


@frozen
class JobProgress:
    """A sentence on how far a job is."""

    text: str


@frozen
class JobFinished:
    """The end of a job that was carried out.

    `record` is the record of the store, as streams deliver it; None for references.
    """

    text: str
    record: dict[str, Any] | None = None


@frozen
class JobFailed:
    """The end of a job that could not be carried out: why, and what to do next."""

    text: str


JobEvent = OperatorPrompt | JobProgress | JobFinished | JobFailed
