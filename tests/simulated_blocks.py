"""Simulated blocks whose truth is known: processes that differ, correlated rounds, drift.

A time is a level times the effect of its process (partly shared by the benchmarks of a pair), times
a drift of the machine that both sides of a round meet in turn (AB BA), times noise that is
correlated from slice to slice and has heavy tails. `QUIET` gives blocks whose values deviate by
about 0.75 % (0.65 to 0.83 % were measured). tests/regress and benchmarks/verdict_rates.py use it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.signal
import scipy.stats

from harness.regress.measuring.blocks import BlockRatios

NINE = tuple(f"benchmark_{i}" for i in range(9))
CORRELATION = 0.37  # of a slice with the next, as measured in one study of timings


@dataclasses.dataclass(frozen=True)
class Noise:
    """Deviations in log time, of a process and of a slice, and the drift from slice to slice.

    `tail`: degrees of freedom of Student's t, scaled to the deviation, of slices and of processes.
    """

    process: float = 0.0048
    shared: float = 0.5  # of a process effect's variance, what the benchmarks of the process share
    slice: float = 0.015
    drift: float = 0.002
    tail: float = 4.0
    n_rounds: int = 24

    def times(self, factor: float) -> Noise:
        """The same, some times as large."""
        return dataclasses.replace(
            self,
            process=factor * self.process,
            slice=factor * self.slice,
            drift=factor * self.drift,
        )


QUIET = Noise()


def heavy(generator: np.random.Generator, noise: Noise, *shape: int) -> np.ndarray:
    """Student's t with a deviation of 1."""
    return generator.standard_t(noise.tail, shape) / math.sqrt(noise.tail / (noise.tail - 2))


def seconds(
    generator: np.random.Generator, n: int, n_benchmarks: int, noise: Noise
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of base and of head, each (n_blocks, n_benchmarks, n_rounds): sums of two slices."""
    shared = heavy(generator, noise, n, 1, 2) * math.sqrt(noise.shared)
    own = heavy(generator, noise, n, n_benchmarks, 2) * math.sqrt(1 - noise.shared)
    process = noise.process * (shared + own)
    n_slices = 4 * noise.n_rounds
    steps = generator.normal(size=(n, n_benchmarks, n_slices))
    drift = noise.drift * (np.cumsum(steps, axis=-1) + 0.1 * np.arange(n_slices))
    fresh = heavy(generator, noise, n, n_benchmarks, n_slices)
    hangs = scipy.signal.lfilter([1], [1, -CORRELATION], fresh, axis=-1)
    logs = drift + noise.slice * math.sqrt(1 - CORRELATION**2) * hangs
    base, head = logs[..., 0::2], logs[..., 1::2]  # of each round: A B, B A
    swapped = np.arange(2 * noise.n_rounds) % 2 == 1
    base, head = np.where(swapped, head, base), np.where(swapped, base, head)
    sides = (base + process[..., :1], head + process[..., 1:])
    first, second = (
        0.03 * np.exp(side).reshape(n, n_benchmarks, noise.n_rounds, 2).sum(-1) for side in sides
    )
    return first, second


def values(
    generator: np.random.Generator, n: int, n_benchmarks: int, noise: Noise = QUIET
) -> np.ndarray:
    """Values of blocks of the same code on both sides, (n_blocks, n_benchmarks)."""
    base, head = seconds(generator, n, n_benchmarks, noise)
    middles: np.ndarray = np.median(np.log(head / base), axis=-1)
    return middles


def blocks_of(rows: np.ndarray, names: Sequence[str] = NINE) -> list[BlockRatios]:
    """Rows of values as blocks; the last column is the canary's."""
    return [
        BlockRatios(dict(zip(names, row[:-1], strict=True)), float(row[-1]))
        for row in rows.tolist()
    ]


def blocks(
    generator: np.random.Generator, n: int, noise: Noise = QUIET, names: Sequence[str] = NINE
) -> list[BlockRatios]:
    """Blocks of the same code on both sides."""
    return blocks_of(values(generator, n, len(names) + 1, noise), names)
