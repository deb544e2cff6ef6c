"""What a sampler is shown of the finished trials.

All of them, or from some number on a selection that no longer grows.

A sampler's time for a proposal grows with the trials that it is shown. Beyond HISTORY_LIMIT it is
shown the best ones, which are all that TPE calls good, and others spread evenly over the slots,
which stand for the rest. The selection hangs on the finished slots alone, so a resumed search
proposes what an uninterrupted one would.
"""

from __future__ import annotations

import bisect
import contextlib
import copy
from collections.abc import Collection, Container, Iterator, Sequence

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from harness.columns import Direction
from harness.study.storage.trial_ledger import VIOLATION

HISTORY_LIMIT = 300  # not shown to be worse than 500 or all: results/reference/shown
BEST_SHOWN = 100  # TPE calls at most 25 good


class History(InMemoryStorage):
    """The trials of one Optuna study, whose numbers are the slots.

    It counts those that have finished.
    """

    def __init__(
        self, direction: Direction, most: int = HISTORY_LIMIT, best: int = BEST_SHOWN
    ) -> None:
        super().__init__()
        self.most, self.best = most, best
        self.sign = 1.0 if direction == "minimize" else -1.0
        self.finished: list[int] = []
        self.unfinished: set[int] = set()
        self.ranked: list[tuple[float, int]] = []
        self.shown: Collection[int] | None = None

    @property
    def n_finished(self) -> int:
        """How many trials have finished."""
        return len(self.finished)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """A new trial, which may have finished already; returns its id, as Optuna's storages do."""
        trial_id = super().create_new_trial(study_id, template_trial)
        self._count(self.get_trial(trial_id))
        return trial_id

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Change a trial's state, as Optuna's storages do."""
        changed = super().set_trial_state_values(trial_id, state, values)
        self._count(self.get_trial(trial_id))
        return changed

    def _count(self, trial: FrozenTrial) -> None:
        """Count a trial that has finished.

        One that was pruned, failed or violates a constraint is never among the best.
        """
        if not trial.state.is_finished():
            self.unfinished.add(trial.number)
            return
        self.unfinished.discard(trial.number)
        bisect.insort(self.finished, trial.number)
        kept = trial.state is TrialState.COMPLETE and trial.system_attrs.get(VIOLATION, 0.0) <= 0
        if kept and trial.value is not None:
            bisect.insort(self.ranked, (self.sign * trial.value, trial.number))

    def is_out_of_reach(self, reachable: float, slot: int) -> bool:
        """Whether the best one stays the best whatever this slot's trial still finds.

        Of equal ones the earlier slot is better.
        """
        return bool(self.ranked) and (self.sign * reachable, slot) > self.ranked[0]

    def selection(self) -> frozenset[int]:
        """The slots of at most `most` finished trials.

        The `best` best, and others at even distances in order of slots.
        """
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
        """The trials of a study, as Optuna's storages give them.

        While bounded, without looking at all.
        """
        if self.shown is None:
            return super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        numbers = sorted(self.unfinished.union(self.shown))
        ids = (self.get_trial_id_from_study_id_trial_number(study_id, each) for each in numbers)
        trials = [self.get_trial(each) for each in ids]
        kept = [each for each in trials if states is None or each.state in states]
        return copy.deepcopy(kept) if deepcopy else kept
