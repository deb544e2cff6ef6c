"""Repeat previous: at every step, name an earlier symbol (as in POPGym, Morad et al. 2023)."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from harness.tasks.base import Batch, DenseClassification, first_steps, integers, one_hot

_SYMBOLS = 4


@dataclasses.dataclass(frozen=True)
class RepeatPrevious(DenseClassification):
    """One of 4 symbols at each step. From step k = floor(T / 4) on, name the symbol k steps ago."""

    name: ClassVar[str] = "repeat_previous"
    input_size: ClassVar[int] = _SYMBOLS
    output_size: ClassVar[int] = _SYMBOLS
    least_length: ClassVar[int] = 4

    def lag(self, sequence_length: int) -> int:
        """k = floor(T / 4), at every step."""
        return sequence_length // 4

    def chance_loss(self, sequence_length: int) -> float:
        """ln 4 nats: four symbols, equally likely."""
        return math.log(_SYMBOLS)

    def sample(self, batch_size: int, sequence_length: int, generator: torch.Generator) -> Batch:
        """Inputs (batch_size, sequence_length, 4), targets (batch_size, sequence_length - k)."""
        symbols = integers(0, _SYMBOLS, (batch_size, sequence_length), generator)
        return Batch(
            one_hot(symbols, _SYMBOLS), symbols[:, : sequence_length - self.lag(sequence_length)]
        )

    def informative(self, inputs: Tensor) -> Tensor:
        """Every step that is asked for later: all but the last k."""
        return first_steps(inputs, inputs.shape[1] - self.lag(inputs.shape[1]))
