"""The exact sign-flip test: is the median of some blocks above 0? It uses no randomness.

If the two sides do not differ, a block's value is as likely x as -x, whatever its distribution and
however its rounds are correlated (Fisher 1935, The Design of Experiments, section 21). The p-value
is the share of the 2^n ways to set the signs whose sum is at least the one observed. It assumes
that blocks are independent and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_BLOCKS: Final = 40
"""Two halves of 2^20 sums each take a second and 20 MB. A comparison has 25 blocks at most."""

_TOLERANCE: Final = 1e-12
"""Sums that differ by less than this share of all values are tied.

Rounding of 40 terms is below 1e-14 of it.
"""


@dataclass(frozen=True)
class PValues:
    """Exact one-sided p-values of "the blocks are above 0" and "the blocks are below 0"."""

    above: float
    below: float


def sign_flip_p_values(values: Iterable[float]) -> PValues:
    """Exact one-sided p-values, either way, by the blocks' sum over all 2^n assignments of signs.

    Ties count as no difference, so that without one p <= alpha in at most alpha of cases, for tied
    and for zero values too. The least p of n blocks is 2^-n, where all are on one side. NaN and
    infinities are left out; without a value p is 1. ValueError above MOST_BLOCKS.
    """
    listed = np.array(list(values), dtype=np.float64)
    known = listed[np.isfinite(listed)]
    if len(known) > MOST_BLOCKS:
        raise ValueError(f"'values' must be at most {MOST_BLOCKS} (got {len(known)})")
    # Flipping the signs of a subset subtracts twice its sum: the total stays as large where the
    # subset's sum is at most 0. Each subset's sum is one of the first half plus one of the second,
    # so 2^n subsets need only 2^(n/2) sums.
    middle = len(known) // 2
    first, second = _subset_sums(known[:middle]), np.sort(_subset_sums(known[middle:]))
    tied = _TOLERANCE * float(np.abs(known).sum())
    n_as_large = int(np.searchsorted(second, tied - first, side="right").sum())
    n_larger = int(np.searchsorted(second, -tied - first, side="left").sum())
    total = 2 ** len(known)
    return PValues(n_as_large / total, (total - n_larger) / total)


def two_sided_p_value(values: Iterable[float]) -> float:
    """Exact two-sided p-value of "the blocks are off 0": twice the smaller one-sided one."""
    p_values = sign_flip_p_values(values)
    return min(1.0, 2 * min(p_values.above, p_values.below))


def _subset_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of each of the 2^n subsets, the empty one first."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])
    return sums
