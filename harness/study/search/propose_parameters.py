"""Where the parameters of each slot come from: a sampler, or the winner of a search.

The sampler's history is an Optuna study in memory whose trial numbers are the slots. On resume it
is filled again from the storage. So a proposal depends on the seed, the slot and the finished
slots alone, never on how often a study was interrupted.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.columns import Direction
from harness.config import STARTUP_TRIALS
from harness.hyperparameters import Value
from harness.machine import derive_seed
from harness.study.search.history_for_sampler import SamplerHistory
from harness.study.search.pruners import REDUCTION_FACTOR, create_pruner
from harness.study.search.samplers import (
    create_sampler,
    point_sequence,
    sampler_arguments,
)
from harness.study.storage.trial_ledger import VIOLATION

BOUNDED_STARTUP_TRIALS = 10  # of a limited history, in each bracket of Hyperband


class Proposer(Protocol):
    """Proposes the parameters of slots and decides which trials to prune."""

    def restore(self, slot: int, trial: FrozenTrial) -> None:
        """Take a stored trial back."""
        ...

    def propose(self, slot: int) -> dict[str, Value]:
        """The parameters of a slot."""
        ...

    def report(self, slot: int, step: int, value: float, reachable: float) -> bool:
        """Take the objective's value at an evaluation; True prunes the trial."""
        ...

    def give_up(self, slot: int) -> None:
        """Forget what a trial has reported, which is to run again."""
        ...

    def tell(self, slot: int, state: TrialState, value: float | None, violation: float) -> None:
        """Take a trial's end."""
        ...


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """How one Optuna study is searched.

    `seed_parts` name it; `budget` and `evaluate_every` are in training sequences. `startup_trials`
    is fixed when the search is created.
    """

    sampler: str
    pruner: str
    direction: Direction
    trials: int
    seed_parts: tuple[str | int, ...]
    budget: int
    evaluate_every: int
    startup_trials: int = STARTUP_TRIALS


class SearchProposer:
    """Proposes with Optuna's samplers and prunes with its pruners, for one Optuna study.

    `distributions` are those of every trial.
    """

    def __init__(self, plan: SearchPlan, distributions: Mapping[str, BaseDistribution]) -> None:
        self.plan, self.distributions = plan, dict(distributions)
        name = "/".join(map(str, plan.seed_parts))  # it decides the brackets of Hyperband
        self.storage = SamplerHistory(plan.direction)
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=name,
            direction=plan.direction,
            sampler=self._sampler(0, plan.startup_trials),
            pruner=create_pruner(
                plan.pruner, plan.budget, plan.evaluate_every, plan.startup_trials
            ),
        )
        self.study_id = self.storage.get_study_id_from_name(name)
        seed = derive_seed(*plan.seed_parts, "sequence")
        self.sequence = point_sequence(plan.sampler, plan.trials, self.distributions, seed)

    def restore(self, slot: int, trial: FrozenTrial) -> None:
        """Put a stored trial back in its slot; slots must come in order. A RUNNING one runs again.

        Halving and hyperband take its reports once more, because they keep their rungs with the
        trials.
        """
        replayed = self.plan.pruner in ("halving", "hyperband") and trial.state.is_finished()
        begun = _without_reports(trial) if replayed else trial
        trial_id = self.storage.create_new_trial(self.study_id, begun)
        if self.storage.get_trial_number_from_id(trial_id) != slot:
            raise ValueError(f"'slot' must come in order (got {slot})")
        if replayed:
            self._replay(slot, trial)
            self.storage.set_trial_state_values(trial_id, trial.state, trial.values)

    def _replay(self, slot: int, trial: FrozenTrial) -> None:
        """Take a finished trial's reports again.

        A pruner that sees no trial to compare with lets every trial pass, and marks each rung up to
        the report. That is known to be right for all reports but the last, which may have pruned
        the trial at one of several rungs; it compares only where there are several.
        """
        reports = sorted(trial.intermediate_values.items())
        before = 0
        for index, (step, value) in enumerate(reports):
            last = index == len(reports) - 1
            compares = last and _rungs_between(self.plan.evaluate_every, before, step) > 1
            with contextlib.nullcontext() if compares else self.storage.hidden():
                self._prunes(slot, step, value)
            before = step

    def propose(self, slot: int) -> dict[str, Value]:
        """The parameters of the next slot. Each has its own sampler seed."""
        if slot < len(self.sequence):
            self.study.enqueue_trial(self.sequence[slot])
        limited = self.storage.n_finished > max(self.plan.startup_trials, self.storage.limit)
        startup = BOUNDED_STARTUP_TRIALS if limited else self.plan.startup_trials
        self.study.sampler = self._sampler(slot, startup)
        with self.storage.limited() if limited else contextlib.nullcontext():
            trial = self.study.ask(self.distributions)
        if trial.number != slot:
            raise ValueError(f"'slot' must come in order (got {slot}, expected {trial.number})")
        return dict(trial.params)

    def report(self, slot: int, step: int, value: float, reachable: float) -> bool:
        """Take the objective's value at an evaluation; True prunes the trial.

        `reachable` is the best value that the trial may still find. The pruner `bound` ends a trial
        that cannot win any more, and no other.
        """
        prunes = self._prunes(slot, step, value)
        if self.plan.pruner == "bound":
            return self.storage.is_out_of_reach(reachable, slot)
        return prunes

    def give_up(self, slot: int) -> None:
        """Forget a trial's reports. Optuna's pruners would take the last one for its next."""
        self.storage.forget_reports(self._trial_id(slot))

    def tell(self, slot: int, state: TrialState, value: float | None, violation: float) -> None:
        """Take a trial's end; `violation` > 0 marks one that never counts as best."""
        trial_id = self._trial_id(slot)
        self.storage.set_trial_system_attr(trial_id, VIOLATION, violation)
        values = None if value is None else [value]
        self.storage.set_trial_state_values(trial_id, state, values)

    def _sampler(self, slot: int, startup_trials: int) -> BaseSampler:
        """A sampler for one slot, random until its history has `startup_trials` trials."""
        arguments = sampler_arguments(self.plan.sampler, startup_trials)
        seed = derive_seed(*self.plan.seed_parts, slot, "sampler")
        return create_sampler(self.plan.sampler, arguments, seed)

    def _prunes(self, slot: int, step: int, value: float) -> bool:
        """Store a value, and ask Optuna's pruner."""
        trial_id = self._trial_id(slot)
        self.storage.set_trial_intermediate_value(trial_id, step, value)
        return self.study.pruner.prune(self.study, self.storage.get_trial(trial_id))

    def _trial_id(self, slot: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.study_id, slot)


def _rungs_between(first_rung: int, before: int, step: int) -> int:
    """Number of rungs of successive halving above `before`, up to `step`."""
    count, rung = 0, first_rung
    while rung <= step:
        count += rung > before
        rung *= REDUCTION_FACTOR
    return count


def _without_reports(trial: FrozenTrial) -> FrozenTrial:
    """The trial as it was before its first report."""
    return create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        system_attrs=trial.system_attrs,
    )


class ConfirmationProposer:
    """Proposes the winner's parameters at each length of the ladder, `n_seeds` times each.

    Slots may come in any order. Nothing depends on the history, and nothing is pruned.
    """

    def __init__(self, winner: Mapping[str, Value], lengths: Sequence[int], n_seeds: int) -> None:
        self.params = [
            {**winner, "sequence_length": length} for length in lengths for _ in range(n_seeds)
        ]

    def restore(self, slot: int, trial: FrozenTrial) -> None:
        """Do nothing."""

    def propose(self, slot: int) -> dict[str, Value]:
        """The winner's parameters at the slot's length."""
        return self.params[slot]

    def report(self, slot: int, step: int, value: float, reachable: float) -> bool:
        """Never prune."""
        return False

    def give_up(self, slot: int) -> None:
        """Do nothing."""

    def tell(self, slot: int, state: TrialState, value: float | None, violation: float) -> None:
        """Do nothing."""
