"""For each task, an oracle: what a network that remembers everything would answer, and which steps it read.

Written from the tasks' descriptions, not from their code. A new task gets its oracle here and inherits every test of
test_tasks.py.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

SURE = 30.0  # a logit whose probability is 1 in float32

Oracle = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Inputs (batch_size, sequence_length, input_size) to right outputs and the steps read (batch_size, sequence_length)."""


def temporal_order(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Symbols 6 and 7 are X and Y; classes XX, XY, YX, YY."""
    symbols = inputs.argmax(dim=-1)
    read = symbols >= 6
    pairs = symbols[read].reshape(-1, 2) - 6
    return SURE * functional.one_hot(2 * pairs[:, 0] + pairs[:, 1], 4).float(), read


def delayed_recall(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The symbol at place 0."""
    read = torch.zeros(inputs.shape[:2], dtype=torch.bool)
    read[:, 0] = True
    return SURE * inputs[:, 0, :8], read


def adding(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the marked numbers."""
    read = inputs[:, :, 1] == 1
    return inputs[:, :, 0][read].reshape(-1, 2).sum(dim=1, keepdim=True), read


def lesson(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """8, 1, 5, 3 is 0 and 2, 7, 4, 9 is 1: every step tells."""
    second = (inputs == torch.tensor([2.0, 7.0, 4.0, 9.0]).reshape(1, 4, 1)).all(dim=1)
    first = (inputs == torch.tensor([8.0, 1.0, 5.0, 3.0]).reshape(1, 4, 1)).all(dim=1)
    assert (first | second).all()
    return SURE * (2.0 * second - 1), torch.ones(inputs.shape[:2], dtype=torch.bool)


ORACLES: dict[str, Oracle] = {
    "temporal_order": temporal_order,
    "delayed_recall": delayed_recall,
    "adding": adding,
    "lesson": lesson,
}
