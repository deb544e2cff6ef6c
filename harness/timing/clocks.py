"""Time a block of steps: the wall clock on a CPU, events and the wall clock on CUDA.

Never decides what is timed.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

import torch

WARM_UP_AGREEMENT = 0.02  # warm-up ends when three blocks in a row differ by no more than this
WARM_UP_BLOCKS = 12  # and here at the latest


@dataclasses.dataclass(frozen=True)
class BlockTime:
    """Seconds a step took in one block.

    On the device, and by the wall clock, which holds the host's share too.

    On a CPU the two are the same. On CUDA a wall time well above the device's says that the host is
    the limit.
    """

    step_time_s: float
    wall_time_s: float


def time_block(step: Callable[[], object], n_steps: int, device: str) -> BlockTime:
    """Run `n_steps` steps and time them together; `device` is `cpu` or `cuda:I`.

    CUDA: two events in the current stream and one synchronisation at each end of the block.
    """
    if device.startswith("cuda"):
        return _time_block_on_cuda(step, n_steps, torch.device(device))
    start = time.perf_counter_ns()
    for _ in range(n_steps):
        step()
    elapsed_s = (time.perf_counter_ns() - start) * 1e-9
    return BlockTime(elapsed_s / n_steps, elapsed_s / n_steps)


def _time_block_on_cuda(
    step: Callable[[], object], n_steps: int, device: torch.device
) -> BlockTime:
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with torch.cuda.device(device):
        torch.cuda.synchronize()
        start = time.perf_counter_ns()
        first.record()
        for _ in range(n_steps):
            step()
        last.record()
        torch.cuda.synchronize()
        wall_s = (time.perf_counter_ns() - start) * 1e-9
    return BlockTime(first.elapsed_time(last) * 1e-3 / n_steps, wall_s / n_steps)


@dataclasses.dataclass(frozen=True)
class WarmUp:
    """Blocks before the timed ones, and the steps in a block that was found.

    `steady` if the last three agreed within 2 %.
    """

    n_steps: int
    blocks: tuple[BlockTime, ...]
    steady: bool


def warm_up(run: Callable[[int], BlockTime], block_s: float) -> WarmUp:
    """Run blocks of about `block_s` seconds until three in a row agree within 2 %, 12 at most.

    `run` times so many steps.

    The number of steps in a block is found here, from the second step on (the first one allocates).
    """
    run(1)
    n_steps = max(1, math.ceil(block_s / max(run(1).wall_time_s, 1e-9)))
    blocks: list[BlockTime] = []
    while len(blocks) < WARM_UP_BLOCKS:
        blocks.append(run(n_steps))
        if len(blocks) == 1:  # One step is a poor guide to many: once more, from the whole block.
            n_steps = max(1, math.ceil(block_s / max(blocks[0].wall_time_s, 1e-9)))
        last = [block.step_time_s for block in blocks[-3:]]
        if len(last) == 3 and max(last) <= (1 + WARM_UP_AGREEMENT) * min(last):
            return WarmUp(n_steps, tuple(blocks), steady=True)
    return WarmUp(n_steps, tuple(blocks), steady=False)
