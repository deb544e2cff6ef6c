"""harness.timing.clocks: blocks of steps and the warm-up."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from harness.timing.clocks import BlockTime, time_block, warm_up


def test_a_block_takes_every_step_and_divides_by_their_number() -> None:
    """The time is that of a step, and each step is taken exactly once."""
    taken = []

    def step() -> None:
        taken.append(1)
        time.sleep(0.002)

    block = time_block(step, 5, "cpu")
    assert len(taken) == 5
    assert 0.002 <= block.step_time_s < 0.02
    assert block.wall_time_s == block.step_time_s


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA is not available")
def test_cuda_events_and_wall_clock_agree_on_device_bound_work() -> None:
    """On work that keeps the device busy, the events' time is the wall clock's."""
    matrix = torch.randn(4096, 4096, device="cuda:0")
    block = time_block(lambda: matrix @ matrix, 50, "cuda:0")
    assert block.step_time_s == pytest.approx(block.wall_time_s, rel=0.1)


def clock(times_s: Any) -> Any:
    """What times so many steps, each as long as the next of `times_s` says.

    And the calls it got.
    """
    turns, asked = iter(times_s), []

    def run(n_steps: Any) -> Any:
        asked.append(n_steps)
        time_s = next(turns)
        return BlockTime(time_s, time_s)

    return run, asked


def test_warm_up_of_a_steady_step_ends_when_three_blocks_agree() -> None:
    """A step of constant time is steady after three blocks of about the asked time."""
    run, asked = clock([9.0, 0.01, 0.005, *[0.004] * 9])
    found = warm_up(run, block_s=0.02)
    assert found.steady
    assert asked == [1, 1, 2, 4, 4, 4]
    assert found.n_steps == 4
    assert [block.step_time_s for block in found.blocks] == [0.005, 0.004, 0.004, 0.004]


def test_warm_up_of_a_restless_step_gives_up() -> None:
    """A step that never settles is reported as such, after 12 blocks."""
    run, asked = clock([0.001, 0.002] * 50)
    found = warm_up(run, block_s=1e-6)
    assert not found.steady
    assert len(found.blocks) == 12
    assert len(asked) == 14
