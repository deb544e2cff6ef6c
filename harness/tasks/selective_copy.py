"""Selective copy: repeat eight symbols from among blanks (Jing et al. 2019; Gu & Dao 2023)."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from harness.tasks.base import Batch, DenseClassification, distinct, integers, one_hot

_SYMBOLS = 8
_RECALLED = 8  # symbols among the blanks, and steps at the end on which they are asked for
BLANK, DELIMITER = _SYMBOLS, _SYMBOLS + 1
_ALPHABET = _SYMBOLS + 2


@dataclasses.dataclass(frozen=True)
class SelectiveCopy(DenseClassification):
    """T steps: 8 symbols of 8 at random places, blanks elsewhere; then a delimiter and 8 blanks.

    The targets are the symbols in order, on the last 8 steps.
    """

    name: ClassVar[str] = "selective_copy"
    input_size: ClassVar[int] = _ALPHABET
    output_size: ClassVar[int] = _SYMBOLS
    least_length: ClassVar[int] = _RECALLED

    def steps(self, sequence_length: int) -> int:
        """T + 9: the delimiter and the steps of the recall are added to T."""
        return sequence_length + 1 + _RECALLED

    def lag(self, sequence_length: int) -> int:
        """T steps from place 0 to the delimiter: the farthest. Other tasks state the nearest."""
        return sequence_length

    def chance_loss(self, sequence_length: int) -> float:
        """ln 8 nats on each scored step: eight symbols, equally likely."""
        return math.log(_SYMBOLS)

    def sample(self, batch_size: int, sequence_length: int, generator: torch.Generator) -> Batch:
        """Inputs (batch_size, sequence_length + 9, 10), targets (batch_size, 8) in 0..7."""
        symbols = torch.full((batch_size, self.steps(sequence_length)), BLANK)
        places = distinct(_RECALLED, sequence_length, batch_size, generator).sort(dim=1).values
        recalled = integers(0, _SYMBOLS, (batch_size, _RECALLED), generator)
        symbols.scatter_(1, places, recalled)
        symbols[:, sequence_length] = DELIMITER
        return Batch(one_hot(symbols, _ALPHABET), recalled)

    def informative(self, inputs: Tensor) -> Tensor:
        """The places of the eight symbols."""
        return inputs[:, :, :_SYMBOLS].any(dim=-1)
