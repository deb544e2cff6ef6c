"""The exact sign-flip test: is the middle of some blocks above 0? Uses no randomness.

Under no difference the two sides of a block are alike, so a block's value is as likely x as -x,
whatever its distribution and however its rounds hang together (Fisher 1935, The Design of
Experiments, section 21). The p-value is the share of the 2^n ways to set the signs whose sum is at
least the one observed. It depends on the blocks being independent and on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_BLOCKS: Final = 40
"""Two halves of 2^20 sums each: a second and 20 MB. The looks need 25."""

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

    Ties count against a difference, so that under none p <= alpha in at most alpha of cases, for
    tied and for zero values too. The least p of n blocks is 2^-n, that of blocks which are all on
    one side. NaN and infinities are left out; without a value there is no evidence, and p is 1.
    ValueError above MOST_BLOCKS.
    """
    listed = np.array(list(values), dtype=np.float64)
    known = listed[np.isfinite(listed)]
    if len(known) > MOST_BLOCKS:
        raise ValueError(f"'values' must be at most {MOST_BLOCKS} (got {len(known)})")
    # Turning the signs of a subset takes twice its sum away: the sum stays as large where the
    # subset's is at most 0. The subsets' sums are those of one half plus those of the other, so
    # that 2^n pairs need 2^(n/2) sums.
    middle = len(known) // 2
    first, second = _subset_sums(known[:middle]), np.sort(_subset_sums(known[middle:]))
    tied = _TOLERANCE * float(np.abs(known).sum())
    n_as_large = int(np.searchsorted(second, tied - first, side="right").sum())
    n_larger = int(np.searchsorted(second, -tied - first, side="left").sum())
    total = 2 ** len(known)
    return PValues(n_as_large / total, (total - n_larger) / total)


def two_sided_p_value(values: Iterable[float]) -> float:
    """Exact two-sided p-value of "the blocks are off 0".

    Twice the smaller one-sided one, at most 1.
    """
    p_values = sign_flip_p_values(values)
    return min(1.0, 2 * min(p_values.above, p_values.below))


def _subset_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of each of the 2^n subsets, the empty one first."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])
    return sums
