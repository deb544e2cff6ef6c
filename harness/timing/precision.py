"""How many blocks give intervals as narrow as wanted: decided once, after a pilot of each row.

Looking after every block and ending at a narrow interval would make the intervals too narrow. Here
the typical row of the pilot decides for all, so a row that is narrow by chance ends nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from harness.order_statistics import median_of

PILOT_BLOCKS = 6
"""The fewest with a 95 % interval, which is their range."""


def blocks_needed(pilots: Sequence[Sequence[float]], precision: float, most: int) -> int:
    """Blocks of each row, at most `most`, for a relative half width of at most `precision`.

    `pilots` holds the pilot's times of each row. Where `most` blocks do not reach the precision,
    the number that comes nearest to it.
    """
    deviations = [
        (max(times) - min(times)) / (2 * half_width(len(times)) * statistics.median(times))
        for times in pilots
        if len(times) == PILOT_BLOCKS
    ]
    if not deviations or most <= PILOT_BLOCKS:
        return most
    deviation = statistics.median(deviations)
    numbers = range(PILOT_BLOCKS, most + 1)
    enough = (n for n in numbers if deviation * half_width(n) <= precision)
    return next(enough, min(numbers, key=half_width))


def half_width(n: int) -> float:
    """Expected half width of the median's interval over `n` normal samples, in deviations.

    It does not shrink with every sample: the interval lies between two of them. Source: the order
    statistics of Blom (1958).
    """
    low = median_of(range(1, n + 1)).low
    assert low is not None
    return -statistics.NormalDist().inv_cdf((low - 0.375) / (n + 0.25))
