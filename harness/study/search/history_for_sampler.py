"""The finished trials as a sampler sees them: all of them, or a selection of HISTORY_LIMIT.

A sampler's time for a proposal grows with the number of trials. Beyond HISTORY_LIMIT it sees the
best ones, which include all that TPE calls good, and others spread evenly over the slots. The
selection depends on the finished slots alone, so a resumed search proposes the same as an
uninterrupted one.
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

# With 300, 500 or all trials no difference was found. Source: results/reference/shown
HISTORY_LIMIT = 300
RUNG = "completed_rung_"  # how Optuna's halving names what it keeps with a trial
N_BEST = 100  # TPE calls at most 25 good


class SamplerHistory(InMemoryStorage):
    """The trials of one Optuna study in memory, whose numbers are the slots."""

    def __init__(
        self, direction: Direction, limit: int = HISTORY_LIMIT, n_best: int = N_BEST
    ) -> None:
        super().__init__()
        self.limit, self.n_best = limit, n_best
        self.sign = 1.0 if direction == "minimize" else -1.0
        self.finished: list[int] = []
        self.unfinished: set[int] = set()
        self.ranked: list[tuple[float, int]] = []
        self.selected: Collection[int] | None = None
        self.is_hidden = False

    @property
    def n_finished(self) -> int:
        """Number of finished trials."""
        return len(self.finished)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial, which may be finished already; returns its id."""
        trial_id = super().create_new_trial(study_id, template_trial)
        self._count(self.get_trial(trial_id))
        return trial_id

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Change a trial's state."""
        changed = super().set_trial_state_values(trial_id, state, values)
        self._count(self.get_trial(trial_id))
        return changed

    def forget_reports(self, trial_id: int) -> None:
        """Take back the intermediate values of a running trial, and what pruners made of them."""
        trial = copy.copy(self._get_trial(trial_id))
        trial.intermediate_values = {}
        trial.system_attrs = {
            key: value for key, value in trial.system_attrs.items() if not key.startswith(RUNG)
        }
        self._set_trial(trial_id, trial)

    def _count(self, trial: FrozenTrial) -> None:
        """Count a trial as finished or unfinished.

        One that was pruned, failed or violates a constraint is never among the best.
        """
        if not trial.state.is_finished():
            self.unfinished.add(trial.number)
            return
        self.unfinished.discard(trial.number)
        bisect.insort(self.finished, trial.number)
        valid = trial.state is TrialState.COMPLETE and trial.system_attrs.get(VIOLATION, 0.0) <= 0
        if valid and trial.value is not None:
            bisect.insort(self.ranked, (self.sign * trial.value, trial.number))

    def is_out_of_reach(self, reachable: float, slot: int) -> bool:
        """Whether the best trial stays the best even if this slot's trial finds `reachable`.

        Of equal ones the earlier slot is better.
        """
        return bool(self.ranked) and (self.sign * reachable, slot) > self.ranked[0]

    def selection(self) -> frozenset[int]:
        """The slots of at most `limit` finished trials.

        They are the `n_best` best, and others at even distances in order of slots.
        """
        if len(self.finished) <= self.limit:
            return frozenset(self.finished)
        chosen = {slot for _, slot in self.ranked[: self.n_best]}
        rest = [slot for slot in self.finished if slot not in chosen]
        left = self.limit - len(chosen)
        return frozenset(chosen.union(rest[i * len(rest) // left] for i in range(left)))

    @contextlib.contextmanager
    def limited(self) -> Iterator[None]:
        """Within the block a reader sees the selection and every unfinished trial."""
        self.selected = self.selection()
        try:
            yield
        finally:
            self.selected = None

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Within the block a reader sees no trial."""
        self.is_hidden = True
        try:
            yield
        finally:
            self.is_hidden = False

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """The trials of a study. While `limited`, only the selected ones; while `hidden`, none."""
        if self.is_hidden:
            return []
        if self.selected is None:
            return super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        numbers = sorted(self.unfinished.union(self.selected))
        ids = (self.get_trial_id_from_study_id_trial_number(study_id, each) for each in numbers)
        trials = [self.get_trial(each) for each in ids]
        kept = [each for each in trials if states is None or each.state in states]
        return copy.deepcopy(kept) if deepcopy else kept
