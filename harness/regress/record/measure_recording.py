"""A recording: one side timed for the history, in blocks of fresh processes. Writes no file.

Recordings are compared with later ones. So a slice of the canary, an A/A control, comes before and
after each slice of a benchmark, and the history divides one by the other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from harness.regress.history import FINGERPRINT_FIELDS, HistoryEntry, medians
from harness.regress.json_files import Scalar
from harness.regress.measuring.comparison_runner import (
    ComparisonRunner,
    SamplingPlan,
    TimedBlock,
    TimingProgress,
)
from harness.regress.sides.side_client import side_clients
from harness.regress.sides.side_environment import Target
from harness.regress.sides.worker_answers import SideFacts

N_RECORDED_BLOCKS: Final = 5
"""The median of five is right even if two of them went wrong.

More would help little: two recordings of the same code differ by what the machine does from one
hour to the next, and all blocks of a recording share that."""

KEPT: Final = (*FINGERPRINT_FIELDS, "cpu_capability", "system", "cuda", "numpy", "native_kernels")
"""Facts that a recording keeps: the fingerprint, and what may explain a change.

It keeps no variables and no paths.
"""


@dataclass(frozen=True)
class Recording:
    """Raw rounds of each block, seconds a step, with the canary's; and the facts of the side."""

    sampling: SamplingPlan
    blocks: tuple[TimedBlock, ...]
    facts: SideFacts
    wall_time_s: float

    def entry(
        self, revision: str, recorded: str, more: Mapping[str, Scalar] | None = None
    ) -> HistoryEntry:
        """The recording as a history holds it: the median over the rounds of each block.

        `more` facts are kept with the machine.
        """
        return HistoryEntry(
            machine={**{name: self.facts.machine.get(name) for name in KEPT}, **(more or {})},
            revision=revision,
            recorded=recorded,
            canary_s=medians([_times(block.canary) for block in self.blocks]),
            figures_s={
                name: medians([_times(block.rounds[name]) for block in self.blocks])
                for name in self.blocks[0].rounds
            },
        )


def time_blocks(
    target: Target, sampling: SamplingPlan, n_blocks: int, progress: TimingProgress
) -> Recording:
    """Time all benchmarks of a side. Raises InputError that names the benchmark that fails.

    A budget makes blocks shorter, and then fewer; one is always timed.
    """
    started = time.monotonic()
    progress.step("starting")
    with ExitStack() as live:
        (side,) = live.enter_context(side_clients([target.worker]))
        runner = ComparisonRunner((target,), (side,), sampling)
        (names,) = runner.names()
        progress.begin(names, ())
        (facts,) = runner.facts()
        (canary,) = live.enter_context(side_clients([target.worker]))
        runner.canaries = (canary,)
        canary.fresh()  # torch is imported before the budget runs
        blocks: list[TimedBlock] = []
        runner.start()
        while len(blocks) < n_blocks and not runner.is_spent():
            progress.block(len(blocks), n_blocks, names)
            blocks.append(runner.block(names, n_blocks - len(blocks)))
    return Recording(sampling, tuple(blocks), facts, time.monotonic() - started)


def _times(rounds: Sequence[Sequence[float]]) -> list[float]:
    """The times of rounds of one side."""
    return [time_s for (time_s,) in rounds]
