"""A block: what one pair of fresh processes measured. It is the unit of every conclusion.

Rounds inside a process are correlated: pooling them would give 27 times the nominal false alarms
(measured with a correlation of 0.37). So a block counts once, however many rounds it has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

MIN_KNOWN_ROUNDS: Final = 5
"""With fewer known rounds a block has no value."""


@dataclass(frozen=True)
class BlockRatios:
    """One pair of processes: the value of each benchmark timed in it, and that of the canary.

    A value is the median over rounds of log(head / base), in time a step: 0.01 means that head is
    about 1 % slower. NaN, or a name that is absent: not measured. The canary is an A/A control:
    it runs the same code in base's environment on both sides.
    """

    values: Mapping[str, float]
    canary: float

    def value(self, name: str) -> float:
        """The value of a benchmark, NaN where it was not measured."""
        return self.values.get(name, math.nan)


def block_value(base_s: Sequence[float], head_s: Sequence[float]) -> float:
    """Median over rounds of log(head / base), from the seconds of each side in each round.

    Give the sum of a side's slices in a round, as many as the other's in the order AB BA: then a
    steady drift falls on both alike. A round in which a side is NaN, infinite or not above 0 is
    left out. NaN where fewer than MIN_KNOWN_ROUNDS or fewer than half of the rounds are left.
    ValueError for sides of unequal length.
    """
    ratios = [
        math.log(head / base)
        for base, head in zip(base_s, head_s, strict=True)
        if 0 < base < math.inf and 0 < head < math.inf
    ]
    if len(ratios) < max(MIN_KNOWN_ROUNDS, len(base_s) / 2):
        return math.nan
    return median(ratios)
