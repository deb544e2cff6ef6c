"""Delayed recall: name the first symbol after many others (Hochreiter & Schmidhuber 1997, 2c)."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from harness.tasks.base import Batch, Classification, first_steps, integers, one_hot

_SYMBOLS = 8  # to be recalled, and as many distractors
TRIGGER = 2 * _SYMBOLS


@dataclasses.dataclass(frozen=True)
class DelayedRecall(Classification):
    """One of 8 symbols at place 0, distractors of 8 others, a trigger at the last place.

    The target is the first symbol.
    """

    name: ClassVar[str] = "delayed_recall"
    input_size: ClassVar[int] = TRIGGER + 1
    output_size: ClassVar[int] = _SYMBOLS
    least_length: ClassVar[int] = 3

    def lag(self, sequence_length: int) -> int:
        """Steps from place 0 to the last step."""
        return sequence_length - 1

    def chance_loss(self, sequence_length: int) -> float:
        """ln 8 nats: eight classes, equally likely."""
        return math.log(_SYMBOLS)

    def sample(self, batch_size: int, sequence_length: int, generator: torch.Generator) -> Batch:
        """Inputs (batch_size, sequence_length, 17), targets (batch_size,) in 0..7."""
        symbols = integers(_SYMBOLS, TRIGGER, (batch_size, sequence_length), generator)
        first = integers(0, _SYMBOLS, (batch_size,), generator)
        symbols[:, 0], symbols[:, -1] = first, TRIGGER
        return Batch(one_hot(symbols, TRIGGER + 1), first)

    def informative(self, inputs: Tensor) -> Tensor:
        """Place 0."""
        return first_steps(inputs, 1)
