"""Change points of a series: where its level moved. Randomness is an argument.

Whether: the mean of the logarithms before a place less the mean after it, over its deviation, so
that places near the ends are as likely as those in the middle; the largest over all places. The
p-value is the share of random orders of the same values in which it is at least as large (a
permutation test), so it is exact where order means nothing: for values that are independent and
alike, whatever their distribution. Where: if p is at most alpha, the place from which two medians
leave the least absolute deviations. The two parts are looked at in the same way (binary
segmentation); in the end each place is found once more, between its neighbours. Values far from the
median count as if they were at the edge of what is usual, so that one wild value can't hide a
change.

In a history in which nothing changed a change point is marked in at most alpha of cases, over all
benchmarks of a machine. Each further recording asks again, so over a long life a mark may come and
go. A machine that wanders slowly is not "values that are independent": such a history has marks
that mean the machine. Both are why a trend tells and never fails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

ALPHA: Final = 0.01
"""Over all series of a machine, as for a comparison (DESIGN section 8)."""

N_PERMUTATIONS: Final = 9_999
"""The least p is 0.0001, a tenth of the share of one of 9 benchmarks."""

LEAST_SEGMENT: Final = 3
"""Recordings on each side of a change: two in a row are seen by chance too easily to be a level."""

MOST_DEVIATIONS: Final = 6.0
"""In median absolute deviations.

6 are 4 standard deviations of normal noise, which has 1 in 16,000 beyond.
"""

_CHUNK: Final = 20_000  # numbers drawn at once: most series need only one draw to be no change


@dataclass(frozen=True)
class ChangePoint:
    """The first recording of a new level, by its place in the series.

    `ratio`: the median after over the median before, each from this change to the next. `p_value`
    is that of its split.
    """

    position: int
    ratio: float
    p_value: float


def change_points(
    values: Sequence[float],
    generator: np.random.Generator,
    *,
    n_series: int = 1,
    alpha: float = ALPHA,
    n_permutations: int = N_PERMUTATIONS,
) -> tuple[ChangePoint, ...]:
    """Change points of one of `n_series` series, each of which gets its share of alpha.

    In the order of the series.

    Values are figures above 0; NaN, infinities and 0 are left out, and positions count them. So few
    values that no order of them could be significant have none: with 9 series 20 recordings before
    and 4 after are enough, 12 and 3 are not.
    """
    known = [place for place, value in enumerate(values) if 0 < value < math.inf]
    held = np.log([values[place] for place in known])
    splits: dict[int, float] = {}
    waiting = [(0, len(held))]
    while waiting:
        start, end = waiting.pop()
        p_value = _p_value(held[start:end], generator, alpha / n_series, n_permutations)
        if p_value is not None:
            middle = start + _best_place(held[start:end])
            splits[middle] = p_value
            waiting += [(start, middle), (middle, end)]
    edges = [0, *sorted(splits), len(held)]
    for i in range(1, len(edges) - 1):
        edges[i] = edges[i - 1] + _best_place(held[edges[i - 1] : edges[i + 1]])
    levels = [median(held[start:end].tolist()) for start, end in pairwise(edges) if end > start]
    return tuple(
        ChangePoint(known[edge], math.exp(after - before), splits[split])
        for edge, split, (before, after) in zip(
            edges[1:-1], sorted(splits), pairwise(levels), strict=True
        )
    )


def _p_value(
    values: NDArray[np.float64],
    generator: np.random.Generator,
    alpha: float,
    n_permutations: int,
) -> float | None:
    """How seldom a random order differs as much before and after somewhere.

    None where that is not significant.
    """
    n = len(values)
    if n < 2 * LEAST_SEGMENT:
        return None
    scores = _scores(values)
    places = np.arange(LEAST_SEGMENT, n - LEAST_SEGMENT + 1)
    unit = np.sqrt(places * (n - places))  # of a sum of so many scores, but for a common factor
    observed = float((np.abs(np.cumsum(scores)[places - 1]) / unit).max())
    most = math.floor(alpha * (n_permutations + 1)) - 1  # orders as extreme that leave p at alpha
    n_as_extreme = n_drawn = 0
    while n_drawn < n_permutations:
        n_rows = min(max(1, _CHUNK // n), n_permutations - n_drawn)
        drawn = generator.permuted(np.tile(scores, (n_rows, 1)), axis=1)
        sums = np.abs(np.cumsum(drawn, axis=1)[:, places - 1]) / unit
        n_as_extreme += int((sums.max(axis=1) >= observed * (1 - 1e-12)).sum())
        n_drawn += n_rows
        if n_as_extreme > most:  # what is left to draw can't make it significant
            return None
    return (n_as_extreme + 1) / (n_permutations + 1)


def _best_place(values: NDArray[np.float64]) -> int:
    """The first value of the second part where two medians leave the least absolute deviations.

    Needs two segments.
    """

    def left_over(part: NDArray[np.float64]) -> float:
        return float(np.abs(part - np.median(part)).sum())

    places = range(LEAST_SEGMENT, len(values) - LEAST_SEGMENT + 1)
    return min(places, key=lambda place: left_over(values[:place]) + left_over(values[place:]))


def _scores(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values less their mean, those beyond MOST_DEVIATIONS held there.

    A function of the values, not of their order.
    """
    middle = np.median(logs)
    usual = MOST_DEVIATIONS * float(np.median(np.abs(logs - middle)))
    held = np.clip(logs, middle - usual, middle + usual) if usual > 0 else logs
    return np.asarray(held - held.mean(), dtype=np.float64)
