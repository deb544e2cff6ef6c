"""One side alone, timed for a history.

Blocks of fresh processes, each with a canary beside every benchmark. Keeps no file.

A recording is compared with later ones, so that nothing stands beside it but the canary: a slice of
it goes before and after each slice of a benchmark, and the history divides one by the other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, Protocol

from harness.regress.measuring.comparison_runner import Bench, SamplingPlan, TimedBlock
from harness.regress.sides.side_client import side_clients
from harness.regress.sides.target import Target
from harness.regress.trend.history import FINGERPRINT_FIELDS, Entry, Scalar, medians

N_BLOCKS: Final = 5
"""Their median holds against two that went wrong.

More would not help much: what two recordings of the same code differ by is
mostly what the machine does from one hour to the next, which all blocks of a recording share."""

KEPT: Final = (*FINGERPRINT_FIELDS, "cpu_capability", "system", "cuda", "numpy")
"""Facts of the side that a recording keeps: the fingerprint, and what may explain a change.

No variables and no paths.
"""


@dataclass(frozen=True)
class Recording:
    """All that was timed: raw rounds of each block, seconds a step, with the canary's.

    And the facts of the side.
    """

    pace: SamplingPlan
    blocks: tuple[TimedBlock, ...]
    facts: Mapping[str, Any]
    wall_time_s: float

    def entry(
        self, revision: str, recorded: str, more: Mapping[str, Scalar] | None = None
    ) -> Entry:
        """The recording as a history keeps it: medians over the rounds of a block.

        `more` is kept with the machine.
        """
        names = list(self.blocks[0].rounds)
        machine = {name: _scalar(self.facts.get(name)) for name in KEPT}
        return Entry(
            machine={**machine, **(more or {})},
            revision=revision,
            recorded=recorded,
            canary_s=medians([_only(block.canary) for block in self.blocks]),
            figures_s={
                name: medians([_only(block.rounds[name]) for block in self.blocks])
                for name in names
            },
        )


class Watcher(Protocol):
    """Is told how a recording goes, between blocks."""

    def begin(self, names: Sequence[str], missing: Sequence[str]) -> None:
        """What is timed; nothing can be missing."""

    def step(self, text: str) -> None:
        """What begins now."""

    def block(self, n_done: int, n_wanted: int, names: Sequence[str]) -> None:
        """So many blocks are done, of so many, at so many benchmarks."""


def time_blocks(place: Target, pace: SamplingPlan, n_blocks: int, watcher: Watcher) -> Recording:
    """Time all that a side has. Raises InputError for steps that fail, naming the benchmark.

    A budget makes blocks shorter, and then fewer; one is always timed.
    """
    started = time.monotonic()
    watcher.step("starting")
    with ExitStack() as live:
        (side,) = live.enter_context(side_clients([place.seat]))
        bench = Bench((place,), (side,), pace)
        (names,) = bench.names()
        watcher.begin(names, ())
        (facts,) = bench.facts()
        (canary,) = live.enter_context(side_clients([place.seat]))
        bench.canaries = (canary,)
        canary.fresh()  # torch is imported before the budget runs
        blocks: list[TimedBlock] = []
        bench.start()
        while len(blocks) < n_blocks and not bench.is_spent():
            watcher.block(len(blocks), n_blocks, names)
            blocks.append(bench.block(names, n_blocks - len(blocks)))
    return Recording(pace, tuple(blocks), facts, time.monotonic() - started)


def _only(rounds: Sequence[Sequence[float]]) -> list[float]:
    """The times of rounds that have one side."""
    return [time_s for (time_s,) in rounds]


def _scalar(value: object) -> Scalar:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
