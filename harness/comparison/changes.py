"""Change points of a series: where its level moved. Randomness is an argument.

A segment is split where the ranks before and after differ most: the sum of ranks before the place, less what it would be on
average, over its deviation, so that places near the ends are as likely as those in the middle (Pettitt 1979, with each place
in its own unit). The p-value is the share of random orders of the same values that differ at least as much somewhere, so it is
exact where order means nothing: for values that are independent and alike, whatever their distribution. If p is at most
alpha, the two parts are looked at in the same way (binary segmentation). Ranks make one wild value harmless.

In a history in which nothing changed a change point is marked in at most alpha of cases, over all benchmarks of a machine.
Each further recording asks again, so over a long life a mark may come and go. A machine that wanders slowly is not "values
that are independent": such a history has marks that mean the machine. Both are why a trend tells and never fails.
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

_CHUNK: Final = 20_000  # numbers drawn at once: most series need only one draw to be no change


@dataclass(frozen=True)
class ChangePoint:
    """The first recording of a new level, by its place in the series.

    `ratio`: the median after over the median before, each from this change to the next. `p_value` is that of its split.
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
    """Change points of one of `n_series` series, each of which gets its share of alpha; in the order of the series.

    Values are figures above 0; NaN and infinities are left out, and positions count them. So few values that no order of
    them could be significant have none: with 9 series 20 recordings before and 4 after are enough, 12 and 3 are not.
    """
    known = [place for place, value in enumerate(values) if math.isfinite(value)]
    held = np.array([values[place] for place in known], dtype=np.float64)
    splits: dict[int, float] = {}
    waiting = [(0, len(held))]
    while waiting:
        start, end = waiting.pop()
        found = _split(held[start:end], generator, alpha / n_series, n_permutations)
        if found is not None:
            middle, p_value = start + found[0], found[1]
            splits[middle] = p_value
            waiting += [(start, middle), (middle, end)]
    edges = [0, *sorted(splits), len(held)]
    levels = [median(held[start:end].tolist()) for start, end in pairwise(edges) if end > start]
    return tuple(
        ChangePoint(known[middle], levels[i + 1] / levels[i], splits[middle])
        for i, middle in enumerate(sorted(splits))
    )


def _split(
    values: NDArray[np.float64],
    generator: np.random.Generator,
    alpha: float,
    n_permutations: int,
) -> tuple[int, float] | None:
    """Where the values differ most before and after, and its p-value; None where that is not significant."""
    n = len(values)
    if n < 2 * LEAST_SEGMENT:
        return None
    ranks = _centred_ranks(values)
    places = np.arange(LEAST_SEGMENT, n - LEAST_SEGMENT + 1)
    unit = np.sqrt(places * (n - places))  # of a sum of centred ranks, up to a factor of all places
    observed = np.abs(np.cumsum(ranks)[places - 1]) / unit
    best = int(np.argmax(observed))
    most = math.floor(alpha * (n_permutations + 1)) - 1  # orders as extreme that leave p at alpha
    n_as_extreme = n_drawn = 0
    while n_drawn < n_permutations:
        n_rows = min(max(1, _CHUNK // n), n_permutations - n_drawn)
        drawn = generator.permuted(np.tile(ranks, (n_rows, 1)), axis=1)
        sums = np.abs(np.cumsum(drawn, axis=1)[:, places - 1]) / unit
        n_as_extreme += int((sums.max(axis=1) >= observed[best] * (1 - 1e-12)).sum())
        n_drawn += n_rows
        if n_as_extreme > most:  # what is left to draw can't make it significant
            return None
    return int(places[best]), (n_as_extreme + 1) / (n_permutations + 1)


def _centred_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mid-ranks less their mean, in halves that are exact."""
    below = np.sum(values[None, :] < values[:, None], axis=1)
    above = np.sum(values[None, :] > values[:, None], axis=1)
    return np.asarray((below - above) / 2, dtype=np.float64)
