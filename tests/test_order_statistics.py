"""harness.order_statistics: the median and its exact interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from harness.order_statistics import Median, median_of


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [5, 6, 9, 10, 15, 40, 1500])
def test_the_interval_is_the_narrowest_that_covers(n: int, level: float) -> None:
    """Its ranks are the innermost whose binomial coverage is at least the level, or the ends."""
    samples = np.random.default_rng(n).exponential(size=n)
    coverages = {k: 1 - 2 * scipy.stats.binom.cdf(k - 1, n, 0.5) for k in range(1, (n + 1) // 2)}
    rank = max((k for k, coverage in coverages.items() if coverage >= level), default=1)
    ascending = np.sort(samples)
    found = median_of(samples.tolist(), level)
    assert (found.value, found.n) == (np.median(samples), n)
    assert (found.low, found.high) == (ascending[rank - 1], ascending[n - rank])
    assert found.level == pytest.approx(coverages[rank], abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_few_samples_have_no_interval(n: int) -> None:
    """Below five samples there is the median alone."""
    samples = [float(2**i) for i in range(n)]
    assert median_of(samples) == Median(float(np.median(samples)), None, None, None, n)


def test_five_samples_are_covered_by_their_ends() -> None:
    """The interval of five is [min, max], which covers the median in 30 of 32 cases."""
    assert median_of([5.0, 1.0, 4.0, 2.0, math.inf]) == Median(4.0, 1.0, math.inf, 0.9375, 5)


def test_a_nan_sample_is_not_hidden() -> None:
    """An unknown sample makes the median unknown, without interval."""
    median = median_of([1.0, 2.0, math.nan, 3.0, 4.0, 5.0])
    assert math.isnan(median.value)
    assert (median.low, median.high, median.level, median.n) == (None, None, None, 6)


def test_no_samples_are_refused() -> None:
    """Without a sample there is no median."""
    with pytest.raises(ValueError, match="'samples' must hold at least one"):
        median_of([])
