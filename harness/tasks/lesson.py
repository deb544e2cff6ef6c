"""The lesson: the two fixed sequences of the first program. The only task with fixed data."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from harness.tasks.base import Batch, first_steps

SEQUENCES = ((8.0, 1.0, 5.0, 3.0), (2.0, 7.0, 4.0, 9.0))
TARGETS = (0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Lesson:
    """[8, 1, 5, 3] -> 0 and [2, 7, 4, 9] -> 1, one feature; binary cross-entropy of a sigmoid."""

    name: ClassVar[str] = "lesson"
    input_size: ClassVar[int] = 1
    output_size: ClassVar[int] = 1
    least_length: ClassVar[int] = 4
    dense: ClassVar[bool] = False
    finite: ClassVar[int] = 2

    def lag(self, sequence_length: int) -> int:
        """3 steps: from the first of four numbers to the last."""
        return len(SEQUENCES[0]) - 1

    def chance_loss(self, sequence_length: int) -> float:
        """ln 2 nats: two classes, equally likely."""
        return math.log(2)

    def sample(self, batch_size: int, sequence_length: int, generator: torch.Generator) -> Batch:
        """The two sequences in turn: inputs (batch_size, 4, 1), targets (batch_size, 1).

        The generator is not used.
        """
        which = torch.arange(batch_size) % len(SEQUENCES)
        inputs = torch.tensor(SEQUENCES).unsqueeze(-1)
        return Batch(inputs[which], torch.tensor(TARGETS).unsqueeze(-1)[which])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy of sigmoid(outputs) in nats; NaN for a NaN output."""
        if outputs.isnan().any():  # here torch would raise
            return outputs.sum()
        return functional.binary_cross_entropy(torch.sigmoid(outputs), targets)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether sigmoid(output) is on the target's side of one half."""
        return ((outputs > 0) == (targets > 0.5)).squeeze(-1)

    def predict(self, outputs: Tensor) -> Tensor:
        """The probability of 1 for each sequence."""
        return torch.sigmoid(outputs).flatten()

    def informative(self, inputs: Tensor) -> Tensor:
        """Every step: each number differs between the two sequences."""
        return first_steps(inputs, inputs.shape[1])
