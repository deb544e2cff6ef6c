"""Temporal order: X or Y, which came first? (Hochreiter & Schmidhuber 1997, experiment 6a.)"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from harness.tasks.base import Batch, Classification, integers, one_hot

# The alphabet, in the order of the one-hot places.
E, B, FIRST_DISTRACTOR, X = 0, 1, 2, 6
_ALPHABET = 8


@dataclasses.dataclass(frozen=True)
class TemporalOrder(Classification):
    """E first, B last, X or Y once early and once in the middle, distractors elsewhere.

    The target: which of XX, XY, YX, YY.
    """

    name: ClassVar[str] = "temporal_order"
    input_size: ClassVar[int] = _ALPHABET
    output_size: ClassVar[int] = 4
    least_length: ClassVar[int] = 10

    def lag(self, sequence_length: int) -> int:
        """Steps from the latest place of the early symbol to the last step."""
        return sequence_length - 1 - sequence_length * 2 // 10

    def chance_loss(self, sequence_length: int) -> float:
        """ln 4 nats: four classes, equally likely."""
        return math.log(4)

    def sample(self, batch_size: int, sequence_length: int, generator: torch.Generator) -> Batch:
        """Inputs (batch_size, sequence_length, 8), targets (batch_size,) in 0..3."""
        shape = (batch_size, sequence_length)
        symbols = integers(FIRST_DISTRACTOR, X, shape, generator)
        symbols[:, 0], symbols[:, -1] = E, B
        order = integers(0, 2, (batch_size, 2), generator)
        early = _place(1, 2, batch_size, sequence_length, generator)
        middle = _place(5, 6, batch_size, sequence_length, generator)
        symbols.scatter_(1, torch.stack([early, middle], dim=1), X + order)
        return Batch(one_hot(symbols, _ALPHABET), 2 * order[:, 0] + order[:, 1])

    def informative(self, inputs: Tensor) -> Tensor:
        """The two places of X or Y."""
        return inputs[:, :, X:].any(dim=-1)


def _place(
    low: int, high: int, batch_size: int, sequence_length: int, generator: torch.Generator
) -> torch.Tensor:
    """Places drawn evenly from `low` to `high` tenths of the sequence, never place 0."""
    first = max(1, -(-sequence_length * low // 10))
    last = sequence_length * high // 10
    return integers(first, last + 1, (batch_size,), generator)
