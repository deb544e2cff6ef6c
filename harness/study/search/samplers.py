"""Samplers and pruners, slot by slot.

What the next trial tries, and whether a running one is worth its time.

The history lives in an in-memory Optuna study whose trial numbers are the slots, filled again from
the storage on resume; so a proposal hangs on the seed, the slot and the finished slots alone, never
on how often a study was interrupted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import random
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.columns import Direction
from harness.machine import derive_seed
from harness.parameters import Value
from harness.study.search.sampler_arguments import (
    num_startup_trials,
    pruner_arguments,
    sampler_arguments,
)
from harness.study.search.sampler_history import History
from harness.study.storage.trial_ledger import VIOLATION

LEAST_SHOWN = 10  # of a selection, in each bracket of Hyperband


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """How one Optuna study is searched.

    `seed_parts` name it; `budget` and `evaluate_every` are in training sequences.
    """

    sampler: str
    pruner: str
    direction: Direction
    trials: int
    seed_parts: tuple[str | int, ...]
    budget: int
    evaluate_every: int


class SearchProposer:
    """The proposals of one Optuna study, and what became of them.

    `distributions` are those of every trial.
    """

    def __init__(self, plan: SearchPlan, distributions: Mapping[str, BaseDistribution]) -> None:
        self.plan = plan
        self.distributions = dict(distributions)
        name = "/".join(map(str, plan.seed_parts))  # Hyperband's brackets hang on it
        self.storage = History(plan.direction)
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=name,
            direction=plan.direction,
            sampler=_sampler(plan, 0, num_startup_trials(plan.trials)),
            pruner=_pruner(plan),
        )
        self.study_id = self.storage.get_study_id_from_name(name)
        self.sequence = _sequence(plan, self.distributions)

    def restore(self, slot: int, trial: FrozenTrial) -> None:
        """Put a stored trial back in its slot; slots must come in order.

        A RUNNING one is run again.

        Halving and hyperband hear its reports once more, because they keep their rungs with the
        trials.
        """
        heard = self.plan.pruner in ("halving", "hyperband") and trial.state.is_finished()
        trial_id = self.storage.create_new_trial(self.study_id, _begun(trial) if heard else trial)
        if self.storage.get_trial_number_from_id(trial_id) != slot:
            raise ValueError(f"'slot' must come in order (got {slot})")
        if heard:
            for step, value in sorted(trial.intermediate_values.items()):
                self._prunes(slot, step, value)
            self.storage.set_trial_state_values(trial_id, trial.state, trial.values)

    def propose(self, slot: int) -> dict[str, Value]:
        """The parameters of the next slot."""
        if slot < len(self.sequence):
            self.study.enqueue_trial(self.sequence[slot])
        startup = num_startup_trials(self.plan.trials)
        bounded = self.storage.n_finished > max(startup, self.storage.most)
        self.study.sampler = _sampler(self.plan, slot, LEAST_SHOWN if bounded else startup)
        with self.storage.bounded() if bounded else contextlib.nullcontext():
            trial = self.study.ask(self.distributions)
        if trial.number != slot:
            raise ValueError(f"'slot' must come in order (got {slot}, expected {trial.number})")
        return dict(trial.params)

    def report(self, slot: int, step: int, value: float, reachable: float) -> bool:
        """Take the objective's value at an evaluation; says whether the trial is to be pruned.

        `reachable` is the best value that it may still find: `bound` ends a trial that can't win
        any more, and no other.
        """
        prunes = self._prunes(slot, step, value)
        if self.plan.pruner == "bound":
            return self.storage.is_out_of_reach(reachable, slot)
        return prunes

    def _prunes(self, slot: int, step: int, value: float) -> bool:
        """Store a value, and ask Optuna's pruner."""
        trial_id = self._trial_id(slot)
        self.storage.set_trial_intermediate_value(trial_id, step, value)
        return self.study.pruner.prune(self.study, self.storage.get_trial(trial_id))

    def tell(self, slot: int, state: TrialState, value: float | None, violation: float) -> None:
        """Take a trial's end; `violation` > 0 marks one that never counts as best."""
        trial_id = self._trial_id(slot)
        self.storage.set_trial_system_attr(trial_id, VIOLATION, violation)
        values = None if value is None else [value]
        self.storage.set_trial_state_values(trial_id, state, values)

    def _trial_id(self, slot: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.study_id, slot)


def _begun(trial: FrozenTrial) -> FrozenTrial:
    """A trial as it was before its first report."""
    return create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        system_attrs=trial.system_attrs,
    )


def _sampler(plan: SearchPlan, slot: int, startup: int) -> optuna.samplers.BaseSampler:
    """A sampler for one ask, seeded anew.

    It proposes at random before it is shown `startup` trials.
    """
    seed = derive_seed(*plan.seed_parts, slot, "sampler")
    given = sampler_arguments(plan.sampler, plan.trials)
    if "n_startup_trials" in given:
        given["n_startup_trials"] = startup
    if plan.sampler == "tpe":
        return optuna.samplers.TPESampler(**given, seed=seed)
    if plan.sampler == "gp":
        return optuna.samplers.GPSampler(
            **given,
            seed=seed,
            independent_sampler=optuna.samplers.RandomSampler(seed=seed),
            warn_independent_sampling=False,
        )
    return optuna.samplers.RandomSampler(seed=seed)


def _sequence(
    plan: SearchPlan, distributions: Mapping[str, BaseDistribution]
) -> list[dict[str, Any]]:
    """The points of a sampler that keeps its own sequence, slot by slot.

    Empty for one that asks the history.
    """
    seed = derive_seed(*plan.seed_parts, "sequence")
    if plan.sampler == "grid":
        names = list(distributions)
        points = [
            dict(zip(names, values, strict=True))
            for values in itertools.product(*(_options(each) for each in distributions.values()))
        ]
        random.Random(seed).shuffle(points)
        return points[: plan.trials]
    if plan.sampler == "qmc":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.QMCSampler(
                **sampler_arguments(plan.sampler, plan.trials),
                seed=seed,
                independent_sampler=optuna.samplers.RandomSampler(seed=seed),
                warn_asynchronous_seeding=False,
                warn_independent_sampling=False,
            )
        study = optuna.create_study(sampler=sampler, direction=plan.direction)
        points = []
        for _ in range(plan.trials):
            trial = study.ask(dict(distributions))
            points.append(dict(trial.params))
            study.tell(trial, 0.0)
        return points
    return []


def _options(distribution: BaseDistribution) -> tuple[Any, ...]:
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return distribution.choices
    return (distribution.low,)  # type: ignore[attr-defined]  # a single-value range


def _pruner(plan: SearchPlan) -> optuna.pruners.BasePruner:
    """A pruner with every argument explicit; resources are training sequences."""
    given = pruner_arguments(plan.pruner, plan.trials, plan.budget, plan.evaluate_every)
    if plan.pruner == "median":
        return optuna.pruners.MedianPruner(**given)
    if plan.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(**given)
    if plan.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(**given)
    return optuna.pruners.NopPruner()
