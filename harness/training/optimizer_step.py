"""One optimiser update, for training and for timing. Never decides when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from harness.tasks import Batch, Task
from harness.training.flat_parameters import FlatOptimizer

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: (1.0 + math.cos(math.pi * progress)) / 2.0,
}
"""Factor of the learning rate by the share of the training budget that is spent, from 0 to 1."""
FUSED = frozenset({"adam", "adamw", "sgd"})  # torch has no fused RMSprop


CAPTURABLE = frozenset({"adam", "adamw", "rmsprop"})  # the others can be captured as they are


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    learning_rate: float | Tensor,
    *,
    fused: bool = True,
    capturable: bool = False,
) -> torch.optim.Optimizer:
    """The optimiser of that name over the parameters; torch's fused one where it exists.

    `fused=False` asks for the default implementation. `capturable`: the state stays on the CUDA
    device, so that a CUDA graph can hold the step. Where it follows a schedule, `learning_rate` is
    a tensor of no dimensions there.
    """
    options: dict[str, bool] = {}
    if fused and name in FUSED:
        options["fused"] = True
    if capturable and name in CAPTURABLE:
        options["capturable"] = True
    return OPTIMIZERS[name](parameters, lr=learning_rate, **options)


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | FlatOptimizer,
    task: Task,
    batch: Batch,
    max_grad_norm: float,
) -> Tensor:
    """One optimiser update; returns the loss.

    zero_grad, forward, loss, backward, clip (0: off), step.
    """
    optimizer.zero_grad()
    loss = task.loss(model(batch.inputs), batch.targets)
    loss.backward()
    if isinstance(optimizer, FlatOptimizer):
        optimizer.step(max_grad_norm)
    else:
        if max_grad_norm > 0:
            nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
    return loss.detach()
