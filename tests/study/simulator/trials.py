"""What a simulated trial sends, from its configuration alone. Never trains."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from harness.columns import TrialStatus
from harness.study.execution.worker_messages import (
    TrialMessage,
    TrialOutcome,
    TrialStarted,
    TrialTrained,
)
from harness.training.training_loop import Extrapolation, TrainingConfig
from tests.study.scripted import evaluation, luck


@dataclasses.dataclass(frozen=True)
class Script:
    """The messages of a trial, the seconds before each, and how its process ends.

    `hangs`: it never ends by itself. `code`: as os.waitpid gives it.
    """

    messages: Sequence[TrialMessage]
    pause_s: float
    hangs: bool = False
    code: int = 0


def schedule(config: TrainingConfig) -> list[int]:
    """The sequences seen at each evaluation: the first that are at least the next due."""
    seen, due, found = 0, 0, []
    while True:
        if seen >= due:
            found.append(seen)
            while due <= seen:
                due += config.evaluate_every
        if seen >= config.sequences:
            return found
        seen = min(seen + config.batch_size, config.sequences)


def script_of(config: TrainingConfig, *, may_hang: bool) -> Script:
    """What this configuration does, always the same.

    Most train to their end; some solve their task, diverge at an evaluation or in what is trained
    after the last one, raise, crash each time, or hang.
    """
    lot, length = luck(config.seed, "end"), config.model.sequence_length
    seen = schedule(config)
    messages: list[TrialMessage] = [TrialStarted()]
    pause_s = 0.05 + 0.5 * luck(config.seed, "pause")
    if lot < 0.04:
        return Script(messages, pause_s, code=11)  # a segmentation fault
    if lot < 0.08:
        return Script([*messages, TrialOutcome(TrialStatus.ERROR, "ValueError: no")], pause_s)
    solved_at = len(seen) if lot < 0.5 else int(len(seen) * luck(config.seed, length, "solved"))
    diverges_at = int(len(seen) * luck(config.seed, "diverged")) if lot < 0.14 else len(seen)
    loss = 1.4
    for i, each in enumerate(seen):
        if i == diverges_at and i:
            messages.append(evaluation(each, math.nan))
            return Script([*messages, diverged(each)], pause_s)
        solved = i >= solved_at and i > 0
        messages.append(evaluation(each, 0.01 if solved else loss, solved=solved))
        if may_hang and 0.14 < lot < 0.2:
            return Script(messages, pause_s, hangs=True)
        if solved and config.stop_when_solved:
            break
        loss *= 0.5 + 0.5 * luck(config.seed, config.learning_rate, each)
    else:
        if 0.2 < lot < 0.26 and seen[-1] < config.sequences:  # what comes after is not scored
            messages.append(evaluation(config.sequences, math.nan))
            return Script([*messages, diverged(config.sequences)], pause_s)
    outcome = TrialOutcome(TrialStatus.COMPLETE)
    if messages[-1].solved and config.extrapolation:  # type: ignore[union-attr]
        messages.append(TrialTrained(outcome))
        longer = tuple(
            Extrapolation(factor, factor * length, luck(config.seed, factor), 0.5, 1.0)
            for factor in config.extrapolation
        )
        outcome = dataclasses.replace(outcome, extrapolations=longer)
    return Script([*messages, outcome], pause_s)


def diverged(seen: int) -> TrialOutcome:
    """The outcome of a trial whose loss was not finite."""
    reason = f"the loss was not finite after {seen} training sequences"
    return TrialOutcome(TrialStatus.DIVERGED, reason)
