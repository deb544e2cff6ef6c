"""Associative recall: pairs of keys and values, then a key (Graves et al. 2014; Ba et al. 2016)."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from harness.tasks.base import Batch, Classification, distinct, integers, one_hot

PAIRS = 4
KEYS = VALUES = 8
BLANK = KEYS + VALUES  # keys are 0..7, values 8..15
_ALPHABET = BLANK + 1


@dataclasses.dataclass(frozen=True)
class AssociativeRecall(Classification):
    """4 pairs of a key (distinct, of 8) and a value, then blanks; the last step repeats one key.

    The target is that key's value.
    """

    name: ClassVar[str] = "associative_recall"
    input_size: ClassVar[int] = _ALPHABET
    output_size: ClassVar[int] = VALUES
    least_length: ClassVar[int] = 2 * PAIRS + 2

    def lag(self, sequence_length: int) -> int:
        """T - 8 steps from the last pair's value to the last step: the nearest of the pairs."""
        return sequence_length - 2 * PAIRS

    def chance_loss(self, sequence_length: int) -> float:
        """ln 8 nats: eight values, equally likely."""
        return math.log(VALUES)

    def sample(self, batch_size: int, sequence_length: int, generator: torch.Generator) -> Batch:
        """Inputs (batch_size, sequence_length, 17), targets (batch_size,) in 0..7."""
        symbols = torch.full((batch_size, sequence_length), BLANK)
        keys = distinct(PAIRS, KEYS, batch_size, generator)
        values = integers(0, VALUES, (batch_size, PAIRS), generator)
        asked = integers(0, PAIRS, (batch_size, 1), generator)
        symbols[:, 0 : 2 * PAIRS : 2] = keys
        symbols[:, 1 : 2 * PAIRS : 2] = KEYS + values
        symbols[:, -1:] = keys.gather(1, asked)
        return Batch(one_hot(symbols, _ALPHABET), values.gather(1, asked).squeeze(1))

    def informative(self, inputs: Tensor) -> Tensor:
        """The two steps that show the asked key, and the step of its value."""
        asked = (inputs[:, :, :KEYS] * inputs[:, -1:, :KEYS]).any(dim=-1)
        values = torch.zeros_like(asked)
        values[:, 1:] = asked[:, :-1]
        return asked | values
