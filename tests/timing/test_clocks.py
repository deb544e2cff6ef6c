"""harness.timing.clocks: blocks of steps and their medians."""

import math
import time

import numpy as np
import pytest
import torch

from harness import stats
from harness.timing.clocks import median_of, time_block


def test_a_block_takes_every_step_and_divides_by_their_number():
    """The time is that of a step, and each step is taken exactly once."""
    taken = []

    def step():
        taken.append(1)
        time.sleep(0.002)

    block = time_block(step, 5, "cpu")
    assert len(taken) == 5
    assert 0.002 <= block.step_time_s < 0.02
    assert block.wall_time_s == block.step_time_s


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA is not available")
def test_cuda_events_and_wall_clock_agree_on_device_bound_work():
    """On work that keeps the device busy, the events' time is the wall clock's."""
    matrix = torch.randn(4096, 4096, device="cuda:0")
    block = time_block(lambda: matrix @ matrix, 50, "cuda:0")
    assert block.step_time_s == pytest.approx(block.wall_time_s, rel=0.1)


@pytest.mark.parametrize("n", [1, 4, 5, 6, 9, 10, 15, 40])
def test_the_median_is_that_of_the_statistics(n):
    """Median and interval equal those of harness.stats, which timing may not import."""
    samples = np.random.default_rng(n).exponential(size=n).tolist()
    median, oracle = median_of(samples), stats.median_interval(samples)
    assert (median.value, median.n) == (pytest.approx(oracle.value), oracle.n)
    if oracle.interval is None:
        assert (median.low, median.high, median.level) == (None, None, None)
    else:
        assert (median.low, median.high) == (oracle.interval.low, oracle.interval.high)
        assert median.level == pytest.approx(oracle.interval.level)


def test_a_nan_sample_is_not_hidden():
    """A block without a time makes the median unknown."""
    median = median_of([1.0, 2.0, math.nan, 3.0, 4.0, 5.0])
    assert math.isnan(median.value)
    assert median.low is None


def test_no_samples_are_refused():
    """Without a block there is no median."""
    with pytest.raises(ValueError, match="'samples' must hold at least one"):
        median_of([])
