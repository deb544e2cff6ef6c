"""harness.timing.precision: how many blocks, and that the intervals stay honest."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.order_statistics import median_of
from harness.timing.precision import PILOT_BLOCKS, blocks_needed, half_width


def spread(half: float) -> list[float]:
    """A pilot of times around 1 whose range is 2 times `half`."""
    return [1 - half, *[1.0] * (PILOT_BLOCKS - 2), 1 + half]


@pytest.mark.parametrize(
    ("halves", "precision", "most", "expected"),
    [
        ([0.001], 0.02, 12, 6),  # the pilot is enough
        ([0.025], 0.02, 12, 9),  # 7 and 8 blocks have wider intervals than 6
        ([0.032], 0.02, 12, 12),
        ([0.5], 0.02, 12, 12),  # never narrow enough
        ([0.5], 0.02, 11, 9),  # 10 and 11 blocks have wider intervals than 9
        ([0.001, 0.001, 0.5], 0.02, 12, 6),  # the typical row decides
        ([0.001, 0.5, 0.5], 0.02, 12, 12),
        ([0.001], 0.02, 5, 5),
        ([], 0.02, 12, 12),
    ],
)
def test_blocks(halves: list[float], precision: float, most: int, expected: int) -> None:
    """By hand: the expected half width of n normal samples, from their order statistics."""
    assert blocks_needed([spread(half) for half in halves], precision, most) == expected


def test_rows_that_failed_are_left_out() -> None:
    """A row with fewer blocks than a pilot says nothing."""
    assert blocks_needed([[1.0, 9.0], spread(0.001)], 0.02, 12) == PILOT_BLOCKS
    assert blocks_needed([[1.0, 9.0]], 0.02, 12) == 12


@pytest.mark.parametrize("n", [6, 9, 12, 20])
def test_expected_half_width(n: int) -> None:
    """Within 3 % of simulated normal samples."""
    generator = np.random.default_rng(n)
    found = [median_of(generator.normal(size=n).tolist()) for _ in range(4_000)]
    widths = [(each.high or math.nan) - (each.low or math.nan) for each in found]
    assert half_width(n) == pytest.approx(float(np.mean(widths)) / 2, rel=0.03)


@pytest.mark.parametrize("deviation", [0.01, 0.018, 0.022, 0.05])
def test_coverage_is_kept(deviation: float) -> None:
    """Deciding by the pilot and keeping it costs no coverage: 95 % and more, over 18 rows."""
    generator = np.random.default_rng(3)
    n_covered = n_rows = 0
    for _ in range(400):
        rows = 1 + deviation * generator.normal(size=(18, 12))
        n = blocks_needed([row[:PILOT_BLOCKS].tolist() for row in rows], 0.02, 12)
        for row in rows:
            found = median_of(row[:n].tolist())
            assert found.low is not None
            assert found.high is not None
            n_covered += found.low <= 1 <= found.high
            n_rows += 1
    assert n_covered / n_rows > 0.95
