"""Train a network on a lesson, epoch by epoch, and keep it in a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ccnvr.edge.atomic_files import write_atomically
from ccnvr.edge.network.shape import NetworkConfig
from ccnvr.edge.typed import build, to_data
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.train.network.augment import Mixture, Rows, VariedInputs
from ccnvr.train.network.ccnvr import CCNVR
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.network.lesson import Lesson
from ccnvr.train.network.team import Team
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.rounds import Fit

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


def train(
    fitting: Fitting,
    inputs: VariedInputs,
    lesson: Lesson,
    make: Callable[[], AnyNetwork],
) -> AnyNetwork:
    """Return the network that `make` gives, trained on the lesson and ready to predict."""
    checkpoint, team = fitting.checkpoint, fitting.team
    torch.manual_seed(fitting.seed)
    network = make()
    training = _Training(fitting.recipe.fit, inputs, lesson, network, team)
    done = training.resume(checkpoint) if checkpoint else 0
    team.wait()
    for epoch in range(done, fitting.recipe.fit.epochs):
        # Each epoch draws from its own seed, so a resumed run needs no generator's state.
        rng = np.random.default_rng((fitting.seed, epoch))
        torch.manual_seed(int(rng.integers(2**62)) + team.rank)
        loss = training.epoch(rng)
        # One writer: all processes hold the same weights, since their gradients were averaged.
        if checkpoint and team.first:
            training.save(checkpoint, epoch + 1)
        fitting.on_epoch(loss)
    # The first process may still be writing the file that a faster one would read next.
    team.wait()
    return network.cpu().eval()


class _Training:
    """A network with its optimiser, learning-rate schedule and data."""

    def __init__(
        self,
        settings: Fit,
        inputs: VariedInputs,
        lesson: Lesson,
        network: nn.Module,
        team: Team,
    ) -> None:
        self.network: nn.Module = network.to(team.device)
        self._team = team
        self._shared: nn.Module = (
            DistributedDataParallel(self.network) if team.size > 1 else self.network
        )
        self._inputs = inputs
        self._lesson = lesson.to(team.device)
        self._settings = settings
        # Rounded up: `array_split` in `epoch` makes batches of nearly equal size.
        self._batches = -(-len(inputs) // settings.batch_size)
        self._optimizer = torch.optim.AdamW(
            [parameter for parameter in network.parameters() if parameter.requires_grad],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        # One cycle: it anneals to nothing at the end, so no validation soils are spent on stopping
        # early.
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, settings.learning_rate, total_steps=settings.epochs * self._batches
        )

    def epoch(self, rng: np.random.Generator) -> float:
        """Pass over all soils once; return the mean loss of this process's shares."""
        self.network.train()
        team = self._team
        losses = []
        for rows in np.array_split(rng.permutation(len(self._inputs)), self._batches):
            soils = self._drawn(rows, rng)
            inputs = torch.from_numpy(self._inputs.batch(soils, rng, team.share)).to(team.device)
            # bfloat16 on GPUs, where it is faster; weights, loss and optimiser stay in float32.
            with torch.autocast(
                team.device.type, torch.bfloat16, enabled=team.device.type == "cuda"
            ):
                outputs = self._shared(inputs)
            loss = self._lesson.loss(outputs.float(), inputs, soils, self._settings, team)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            # One odd soil in a small batch must not throw the network off.
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self._optimizer.step()
            self._schedule.step()
            losses.append(loss.item())
        return float(np.mean(losses))

    def _drawn(self, rows: Rows, rng: np.random.Generator) -> Mixture:
        """Return the soils of a batch as the settings vary them."""
        # Without teachers a displaced spectrum has no values to learn.
        if self._settings.displacement and self._lesson.teachers:
            return Mixture.displaced(rows, self._settings.displacement, len(self._inputs), rng)
        return Mixture.of(rows, self._settings.mixing, rng)

    def save(self, path: Path, epochs_done: int) -> None:
        """Write all that the next epoch needs."""
        # Tensors and plain values only, so that `read_checkpoint` can load it with weights_only.
        state = {
            "epochs_done": epochs_done,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        with write_atomically(path) as stream:
            torch.save(state, stream)

    def resume(self, path: Path) -> int:
        """Continue from a checkpoint, if there is one; return how many epochs it has completed."""
        if not path.exists():
            return 0
        state = read_checkpoint(path)
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        return int(state["epochs_done"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state that `_Training.save` wrote.

    Raises:
        CcnvrError: the file cannot be read, or is damaged.
    """
    try:
        # Without `weights_only` torch would unpickle, and so run, whatever the file holds.
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except OSError as error:
        raise CcnvrError(
            f"{path} cannot be read ({error.strerror}); run ccnvr train again"
        ) from error
    except Exception as error:  # torch raises a dozen types on damaged files
        raise CcnvrError(
            f"{path} is damaged ({type(error).__name__}); delete it and run ccnvr train again"
        ) from error
    return state


def write_network(path: Path, network: CCNVR) -> None:
    """Write a checkpoint of a network that is not trained further, with any kernel members."""
    state: dict[str, Any] = {"network": network.state_dict()}
    if network.config.kernels:
        # The recipe does not say how many soils the members have, nor whether a network is kept.
        state["config"] = to_data(network.config)
    with write_atomically(path) as stream:
        torch.save(state, stream)


def read_network(path: Path, recipe: TrainingRecipe) -> CCNVR:
    """Return the network of a checkpoint, ready to predict, with its kernel members.

    Raises:
        CcnvrError: the file is damaged, or holds another network.
    """
    state, config = read_checkpoint(path), recipe.network_config()
    try:
        if "config" in state:
            stated = build(NetworkConfig, state["config"])
            check_fits(stated, config)
            config = stated
        network = CCNVR(config)
        network.load_state_dict(state["network"])
    except (KeyError, RuntimeError, ValueError, UsageError) as error:
        # torch's own message lists each weight on a line of its own.
        raise CcnvrError(
            f"{path} holds another network than its recipe asks for; put the recipe back, or run "
            "ccnvr train in another folder"
        ) from error
    return network.eval()


def check_fits(found: NetworkConfig, expected: NetworkConfig) -> None:
    """Check that a network is that of a recipe, apart from members beside it or in its place.

    A member may also be folded into a linear path that the recipe does not have.

    Raises:
        ValueError: it is not.
    """
    if found.kernels:
        kept = replace(expected, linear=found.linear, standardise=found.standardise)
        if found.members_only:
            kept = replace(
                found,
                in_channels=expected.in_channels,
                bands=expected.bands,
                outputs=expected.outputs,
            )
        expected = replace(kept, kernels=found.kernels)
    if found != expected:
        raise ValueError("the network is not the one that its recipe describes")
