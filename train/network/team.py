"""The processes that train one network together, as `torchrun` starts them; a plain process is a
team of one.

Each process computes its share of every batch and the gradients are averaged by torch's
DistributedDataParallel, so a team's network is that of one process, up to rounding and dropout.
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
    """This process's `rank` among `size`, and where it computes."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """The one that writes files and shows progress."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """Of the rows of a batch."""
        return slice(self.rank, None, self.size)

    def wait(self) -> None:
        """Until all of the team are here."""
        if self.size > 1:
            distributed.barrier()


ALONE = Team()


@contextmanager
def join() -> Iterator[Team]:
    """The team that the environment variables of `torchrun` describe, on GPUs where there are any.

    Raises:
        UsageError: there are fewer GPUs than processes on this computer.
    """
    gpus = torch.cuda.device_count()
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
    distributed.init_process_group("nccl" if gpus else "gloo")
    try:
        yield Team(distributed.get_rank(), size, device)
    finally:
        distributed.destroy_process_group()
