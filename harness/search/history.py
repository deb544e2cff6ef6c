"""What a sampler is shown of the finished trials: all of them, or from some number on a selection that no longer grows.

A sampler's time for a proposal grows with the trials that it is shown. Beyond MOST_SHOWN it is shown the best ones, which are
all that TPE calls good, and others spread evenly over the slots, which stand for the rest. The selection hangs on the finished
slots alone, so a resumed search proposes what an uninterrupted one would.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Collection, Container, Iterator

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from harness.metrics import Direction

MOST_SHOWN = 500
BEST_SHOWN = 100  # TPE calls at most 25 good


class History(InMemoryStorage):
    """The trials of one Optuna study by slot; `ended` must be told of each that has finished."""

    def __init__(
        self, direction: Direction, most: int = MOST_SHOWN, best: int = BEST_SHOWN
    ) -> None:
        super().__init__()
        self.most, self.best = most, best
        self.sign = 1.0 if direction == "minimize" else -1.0
        self.finished: list[int] = []
        self.ranked: list[tuple[float, int]] = []
        self.shown: Collection[int] | None = None

    @property
    def n_finished(self) -> int:
        """How many trials have finished."""
        return len(self.finished)

    def ended(self, slot: int, state: TrialState, value: float | None, violation: float) -> None:
        """Count a finished trial; one that was pruned, that failed or that violates a constraint is never among the best."""
        bisect.insort(self.finished, slot)
        if state is TrialState.COMPLETE and value is not None and violation <= 0:
            bisect.insort(self.ranked, (self.sign * value, slot))

    def selection(self) -> frozenset[int]:
        """The slots of at most `most` finished trials: the `best` best, and others at even distances in order of slots."""
        if len(self.finished) <= self.most:
            return frozenset(self.finished)
        chosen = {slot for _, slot in self.ranked[: self.best]}
        rest = [slot for slot in self.finished if slot not in chosen]
        left = self.most - len(chosen)
        return frozenset(chosen.union(rest[i * len(rest) // left] for i in range(left)))

    @contextlib.contextmanager
    def bounded(self) -> Iterator[None]:
        """Meanwhile a reader sees the selection, and every trial that has not finished."""
        self.shown = self.selection()
        try:
            yield
        finally:
            self.shown = None

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """The trials of a study, as Optuna's storages give them."""
        trials = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        if self.shown is None:
            return trials
        shown = self.shown
        return [each for each in trials if not each.state.is_finished() or each.number in shown]
