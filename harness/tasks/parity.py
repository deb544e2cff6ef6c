"""Parity: is the number of ones odd? The control: one bit of state is enough."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from harness.tasks.base import Batch, Classification, first_steps, integers


@dataclasses.dataclass(frozen=True)
class Parity(Classification):
    """T random bits, one feature of 0 or 1. The target: is their sum odd?"""

    name: ClassVar[str] = "parity"
    input_size: ClassVar[int] = 1
    output_size: ClassVar[int] = 2
    least_length: ClassVar[int] = 2

    def lag(self, sequence_length: int) -> int:
        """Steps from the first bit to the last: every bit counts."""
        return sequence_length - 1

    def chance_loss(self, sequence_length: int) -> float:
        """ln 2 nats: even and odd are equally likely, even if all bits but one are known."""
        return math.log(2)

    def sample(self, batch_size: int, sequence_length: int, generator: torch.Generator) -> Batch:
        """Inputs (batch_size, sequence_length, 1) of 0 and 1; targets are 1 for an odd sum."""
        bits = integers(0, 2, (batch_size, sequence_length), generator)
        return Batch(bits.unsqueeze(-1).float(), bits.sum(dim=1) % 2)

    def informative(self, inputs: Tensor) -> Tensor:
        """Every step."""
        return first_steps(inputs, inputs.shape[1])
