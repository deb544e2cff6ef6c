"""A block: what one pair of fresh processes measured. The unit of every conclusion.

Never decides anything.

Rounds inside a process hang together (FACTS, "Timing noise": pooling them gives 27 times the
nominal false alarms), so a block counts once, however many rounds it has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

LEAST_ROUNDS: Final = 5
"""Fewer known rounds give a block no value.

As harness.timing, which gives fewer blocks no interval.
"""


@dataclass(frozen=True)
class Block:
    """One pair of processes: the value of each benchmark timed in it, and the canary's.

    A value is the median over rounds of log(head / base), in time a step: 0.01 means that head is
    about 1 % slower. NaN, or a name that is not there: not measured. The canary runs base's code in
    base's environment on both sides.
    """

    values: Mapping[str, float]
    canary: float

    def value(self, name: str) -> float:
        """The value of a benchmark, NaN where it was not measured."""
        return self.values.get(name, math.nan)


def block_value(base_s: Sequence[float], head_s: Sequence[float]) -> float:
    """Median over rounds of log(head / base), from the seconds that each side took in each round.

    A round holds as many slices of one side as of the other, in the order AB BA, so that a steady
    drift and being second fall on both alike: give their sums. A round in which a side is NaN,
    infinite or not above 0 is left out; NaN where fewer than LEAST_ROUNDS or fewer than half of the
    rounds are left. ValueError for sides of unequal length.
    """
    ratios = [
        math.log(head / base)
        for base, head in zip(base_s, head_s, strict=True)
        if 0 < base < math.inf and 0 < head < math.inf
    ]
    if len(ratios) < max(LEAST_ROUNDS, len(base_s) / 2):
        return math.nan
    return median(ratios)
