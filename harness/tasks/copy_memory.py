"""Copy memory: repeat ten symbols after a long blank (Arjovsky et al. 2016; Bai et al. 2018)."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from harness.tasks.base import Batch, DenseClassification, first_steps, integers, one_hot

_SYMBOLS = 8
_RECALLED = 10  # symbols at the start, and steps at the end on which they are asked for
BLANK, DELIMITER = _SYMBOLS, _SYMBOLS + 1
_ALPHABET = _SYMBOLS + 2


@dataclasses.dataclass(frozen=True)
class CopyMemory(DenseClassification):
    """10 symbols of 8, T - 1 blanks, a delimiter, 10 blanks: T + 20 steps.

    The targets are the 10 symbols in order, on the last 10 steps.
    """

    name: ClassVar[str] = "copy_memory"
    input_size: ClassVar[int] = _ALPHABET
    output_size: ClassVar[int] = _SYMBOLS
    least_length: ClassVar[int] = 1

    def steps(self, sequence_length: int) -> int:
        """T + 20: the symbols and the steps of their recall are added to T."""
        return sequence_length + 2 * _RECALLED

    def lag(self, sequence_length: int) -> int:
        """T + 10 steps from each symbol to the output that repeats it."""
        return sequence_length + _RECALLED

    def chance_loss(self, sequence_length: int) -> float:
        """ln 8 nats on each scored step: eight symbols, equally likely."""
        return math.log(_SYMBOLS)

    def all_steps_loss(self, loss: float, sequence_length: int) -> float:
        """10 x loss / (T + 20): the mean over all steps, the other T + 10 counted as known.

        Its chance is 10 ln 8 / (T + 20).

        So Bai et al. 2018 give this task's loss: their network also has to name the blanks, which
        costs next to nothing.
        """
        return _RECALLED * loss / self.steps(sequence_length)

    def sample(self, batch_size: int, sequence_length: int, generator: torch.Generator) -> Batch:
        """Inputs (batch_size, sequence_length + 20, 10), targets (batch_size, 10) in 0..7."""
        symbols = torch.full((batch_size, self.steps(sequence_length)), BLANK)
        recalled = integers(0, _SYMBOLS, (batch_size, _RECALLED), generator)
        symbols[:, :_RECALLED], symbols[:, -_RECALLED - 1] = recalled, DELIMITER
        return Batch(one_hot(symbols, _ALPHABET), recalled)

    def informative(self, inputs: Tensor) -> Tensor:
        """The first ten steps."""
        return first_steps(inputs, _RECALLED)
