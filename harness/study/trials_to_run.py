"""Where the coordinator's trials come from: a search, a confirmation, or the winners.

A source is independent of Optuna, of processes and of time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from harness.study.storage.trial_ledger import SlotRecord, TrialResult
from harness.training.training_loop import Evaluation, TrainingConfig


@dataclasses.dataclass(frozen=True)
class SearchKey:
    """Which search of a study: (task, cell, repeat)."""

    task: str
    cell: str
    repeat: int


@dataclasses.dataclass(frozen=True)
class Job:
    """One trial to run now. `weights` is the file to which its trained weights go, or empty."""

    slot: int
    config: TrainingConfig
    weights: str = ""


class TrialSource(Protocol):
    """Slots, each of which ends with one trial. `finished` maps a slot to its record."""

    key: SearchKey
    finished: dict[int, SlotRecord]
    in_flight: int

    @property
    def total(self) -> int:
        """All slots."""
        ...

    @property
    def started(self) -> int:
        """Slots that were handed out or are finished."""
        ...

    @property
    def has_next(self) -> bool:
        """Whether a slot can be handed out."""
        ...

    def next_job(self) -> Job:
        """Hand out the next slot."""
        ...

    def report(self, job: Job, evaluation: Evaluation) -> bool:
        """Take an evaluation. Returns whether the trial is to be pruned."""
        ...

    def finish(self, job: Job, result: TrialResult, evaluations: Sequence[Evaluation]) -> None:
        """Take a trial's end, which ends its slot."""
        ...

    def give_up(self, job: Job, result: TrialResult | None = None) -> None:
        """End a trial whose slot is to run again: interrupted (no result), or crashed."""
        ...


def first_solved(evaluations: Sequence[Evaluation]) -> int | None:
    """Training sequences seen at the first evaluation that found the task solved, or None."""
    for evaluation in evaluations:
        if evaluation.solved:
            return evaluation.sequences_seen
    return None
