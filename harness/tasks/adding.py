"""Adding: sum two marked numbers of a sequence (Hochreiter & Schmidhuber 1997, experiment 4)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from harness.tasks.base import Batch, Regression, integers


@dataclasses.dataclass(frozen=True)
class Adding(Regression):
    """Pairs (u drawn from U[0, 1], marker), one marker in each half; target: the sum of both u."""

    name: ClassVar[str] = "adding"
    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 1
    least_length: ClassVar[int] = 2

    def lag(self, sequence_length: int) -> int:
        """T/2: the first marker is in the first half, so it is at least that far back."""
        return sequence_length // 2

    def chance_loss(self, sequence_length: int) -> float:
        """1/6: the variance of the sum of two uniform numbers (0.1767 is a known typo of it)."""
        return 1 / 6

    def sample(self, batch_size: int, sequence_length: int, generator: torch.Generator) -> Batch:
        """Inputs (batch_size, sequence_length, 2), targets (batch_size, 1)."""
        numbers = torch.rand(batch_size, sequence_length, generator=generator)
        half = sequence_length // 2
        places = torch.stack(
            [
                integers(0, half, (batch_size,), generator),
                integers(half, sequence_length, (batch_size,), generator),
            ],
            dim=1,
        )
        markers = torch.zeros_like(numbers).scatter_(1, places, 1.0)
        total = numbers.gather(1, places).sum(dim=1, keepdim=True)
        return Batch(torch.stack([numbers, markers], dim=-1), total)

    def informative(self, inputs: Tensor) -> Tensor:
        """The two marked places."""
        return inputs[:, :, 1] == 1
