"""The team of processes that `torchrun` starts to train one network together.

Each process computes its share of every batch, and torch's DistributedDataParallel averages the
gradients, so the network is that of one process up to rounding and dropout. A process that was
started without torchrun is a team of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import distributed

from ccnvr.firmware_bridge.errors import UsageError


@dataclass(frozen=True)
class Team:
    """This process's place in its team."""

    rank: int = 0
    """The number of this process, counted from 0."""

    size: int = 1
    """The number of processes."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """The device that this process computes on."""

    @property
    def first(self) -> bool:
        """Whether this process writes the files and shows the progress."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """The rows of a batch that this process computes."""
        # Interleaved: the shares of a batch of any size then differ by one soil at most.
        return slice(self.rank, None, self.size)

    def wait(self) -> None:
        """Wait until all processes of the team have come here."""
        if self.size > 1:
            distributed.barrier()


ALONE = Team()


@contextmanager
def join() -> Iterator[Team]:
    """Join the team that torchrun's environment variables describe, on GPUs if there are any.

    Raises:
        UsageError: this computer has fewer GPUs than processes.
    """
    gpus = torch.cuda.device_count()
    # LOCAL_RANK counts the processes of one computer, and so chooses the GPU; RANK counts all.
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if gpus and local_rank >= gpus:
        raise UsageError(
            f"process {local_rank + 1} of this computer finds {gpus} GPUs; give torchrun "
            f"--nproc-per-node {gpus}"
        )
    device = torch.device("cuda", local_rank) if gpus else torch.device("cpu")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(device=device)
        return
    # gloo is torch's group for CPUs; nccl needs a GPU for each process.
    distributed.init_process_group("nccl" if gpus else "gloo")
    try:
        yield Team(distributed.get_rank(), size, device)
    finally:
        distributed.destroy_process_group()
