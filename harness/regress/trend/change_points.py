"""Change points of a series: recordings from which its level is another one.

Is there a change? For each place, the mean of the logarithms before it less the mean after it, over
its standard deviation; the largest over all places. The p-value is the share of random orders of
the same values in which it is at least as large (a permutation test): exact for independent values
of any one distribution. Where is it? If p is at most alpha, at the place from which two medians
leave the least absolute deviations. Both parts are searched in the same way (binary segmentation);
at the end each place is found once more, between its neighbours. Values far from the median are
clipped, so that one extreme value cannot hide a change.

In a history without a change at most alpha of cases have a change point, over all benchmarks of a
machine. Each new recording asks again, so over years a mark may come and go. The values of a
machine that drifts slowly are not independent: its history has marks that mean the machine. For
both reasons a trend fails nothing.
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
"""Over all series of a machine, as for a comparison."""

N_PERMUTATIONS: Final = 9_999
"""The least p is 0.0001, a tenth of the share of one of 9 benchmarks."""

LEAST_SEGMENT: Final = 3
"""Recordings on each side of a change: two alike in a row come by chance too easily."""

MOST_DEVIATIONS: Final = 6.0
"""In median absolute deviations.

6 are 4 standard deviations of normal noise, which has 1 in 16,000 beyond.
"""

_CHUNK: Final = 20_000  # numbers drawn at once: most series need only one draw to be no change


@dataclass(frozen=True)
class ChangePoint:
    """The first recording of a new level, by its position in the series.

    `ratio` is the median after over the median before, each up to the next change. `p_value` is
    that of its split. ValueError for a ratio or a p-value that cannot be one.
    """

    position: int
    ratio: float
    p_value: float

    def __post_init__(self) -> None:
        if not (0 < self.ratio < 1e101 and 0 < self.p_value <= 1):
            raise ValueError("a ratio above 0 and a p_value above 0 and at most 1")


def change_points(
    values: Sequence[float],
    generator: np.random.Generator,
    *,
    n_series: int = 1,
    alpha: float = ALPHA,
    n_permutations: int = N_PERMUTATIONS,
) -> tuple[ChangePoint, ...]:
    """Change points of one of `n_series` series, in their order; each series gets a share of alpha.

    NaN, infinite values and 0 are left out, but positions count them. There are none where no order
    of so few values could be significant: of 9 series 20 recordings before a change and 4 after it
    are enough, 12 and 3 are not.
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
    """The p-value of the largest difference of means; None where it is not significant."""
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
    """Where the second part begins, if two medians leave the least absolute deviations.

    Needs values for two segments.
    """

    def left_over(part: NDArray[np.float64]) -> float:
        return float(np.abs(part - np.median(part)).sum())

    places = range(LEAST_SEGMENT, len(values) - LEAST_SEGMENT + 1)
    return min(places, key=lambda place: left_over(values[:place]) + left_over(values[place:]))


def _scores(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values less their mean, clipped at MOST_DEVIATIONS; independent of their order."""
    middle = np.median(logs)
    usual = MOST_DEVIATIONS * float(np.median(np.abs(logs - middle)))
    held = np.clip(logs, middle - usual, middle + usual) if usual > 0 else logs
    return np.asarray(held - held.mean(), dtype=np.float64)
