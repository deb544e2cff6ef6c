"""Trial sources that keep their slots in one Optuna study of the storage: searches, confirmations.

A series hands out the next slot, stores the results of its trials and keeps the finished ones. It
never starts a process and never reads the time.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.columns import PENALIZED, TrialStatus
from harness.config import StudySpec
from harness.errors import IdentityError, StorageError
from harness.hyperparameters import Range, Value
from harness.machine import derive_seed
from harness.metric_definitions import OBJECTIVES, Outcome, is_solved
from harness.study.run_context import StudyRun
from harness.study.search.propose_parameters import (
    ConfirmationProposer,
    Proposer,
    SearchPlan,
    SearchProposer,
)
from harness.study.search.samplers import old_startup_trials
from harness.study.search.search_space import suggested_distributions, to_distribution
from harness.study.search.trial_config import configuration_hash, training_config
from harness.study.storage.retrying_storage import EDITED, first_line
from harness.study.storage.study_identity import startup_trials_of
from harness.study.storage.trial_ledger import (
    VIOLATION,
    Ledger,
    SlotRecord,
    Stored,
    TrialResult,
    state_of,
)
from harness.study.trials_to_run import Job, SearchKey, first_solved
from harness.tasks import get_task
from harness.training.training_loop import Evaluation, TrainingConfig

CONFIRMATION = "/confirm"  # how the name of a confirmation's Optuna study ends


@dataclasses.dataclass(frozen=True)
class Slots:
    """The slots of a series: their keys and seeds, and the distributions of all parameters.

    `startup_trials` is that of a search.
    """

    keys: tuple[str, ...]
    seeds: tuple[int, ...]
    distributions: Mapping[str, BaseDistribution]
    verification_sequences: int = 0
    extrapolation: tuple[int, ...] = ()
    startup_trials: int = 0


class TrialSeries:
    """The slots of one search or confirmation. `open_search` and `open_confirmation` make one."""

    def __init__(
        self, study: StudyRun, key: SearchKey, ledger: Ledger, proposer: Proposer, slots: Slots
    ) -> None:
        self.spec, self.device = study.spec, study.options.device
        self.key, self.ledger, self.proposer, self.slots = key, ledger, proposer, slots
        self.objective = OBJECTIVES[self.spec.search.objective]
        self.finished: dict[int, SlotRecord] = {}
        self.waiting = collections.deque(range(self.total))
        self.given: dict[int, Mapping[str, Value]] = {}
        self.trial_ids: dict[int, int] = {}  # in the storage, of the slots in flight
        self.in_flight = 0

    @property
    def total(self) -> int:
        """Number of slots."""
        return len(self.slots.keys)

    @property
    def started(self) -> int:
        """Slots that were handed out or are finished."""
        return self.total - len(self.waiting)

    @property
    def has_next(self) -> bool:
        """Whether a slot can be handed out."""
        return bool(self.waiting)

    def next_job(self) -> Job:
        """Hand out the next slot; one that was given up keeps its parameters."""
        slot = self.waiting.popleft()
        if slot not in self.given:
            self.given[slot] = self.proposer.propose(slot)
        params = self.given[slot]
        config = self._config(slot, params)
        self.trial_ids[slot] = self.ledger.start(
            slot, self.slots.keys[slot], params, self._distributions_of(params)
        )
        self.in_flight += 1
        return Job(slot, config)

    def report(self, job: Job, evaluation: Evaluation) -> bool:
        """Store an evaluation. Returns whether the trial is to be pruned."""
        step = evaluation.sequences_seen
        value = self._value(job.config, [evaluation])
        self.ledger.report(self.trial_ids[job.slot], step, value)
        lag = get_task(job.config.model.task).lag(job.config.model.sequence_length)
        # a trial that goes on after solving its task may have solved it long ago
        reachable = self.objective.reachable(lag, step if job.config.stop_when_solved else 0)
        return self.proposer.report(job.slot, step, value, reachable)

    def finish(self, job: Job, result: TrialResult, evaluations: Sequence[Evaluation]) -> None:
        """Store a trial's end, which ends its slot."""
        value: float | None = None
        if result.end in PENALIZED:
            value = self._worst(job.config)
        elif result.end in (TrialStatus.COMPLETE, TrialStatus.PRUNED):
            value = self._value(job.config, evaluations)
        self.ledger.finish(self.trial_ids[job.slot], value, result)
        violation = 1.0 if result.end in PENALIZED else 0.0
        self.proposer.tell(job.slot, state_of(result.end, value), value, violation)
        slot, params = job.slot, dict(self.given[job.slot])
        self.finished[slot] = SlotRecord(slot, self.slots.keys[slot], params, value, result)
        self.in_flight -= 1

    def give_up(self, job: Job, result: TrialResult | None = None) -> None:
        """End a trial whose slot is to run again: interrupted, or crashed with a retry left."""
        if result is None:
            self.ledger.interrupt(self.trial_ids[job.slot])
        else:
            self.ledger.finish(self.trial_ids[job.slot], None, result)
        self.proposer.give_up(job.slot)
        self.waiting.appendleft(job.slot)
        self.in_flight -= 1

    def restore(self, stored: Stored) -> None:
        """Take over the finished slots, and the parameters of those that run again. Called once.

        Raises StorageError for parameters or evaluations that this search cannot have.
        """
        try:
            self._restore(stored)
        except EDITED as error:
            key = self.key
            raise StorageError(
                f"{key.task}/{key.cell}/r{key.repeat}: what is stored cannot be read "
                f"({first_line(error)}): another program changed it; start over with --fresh"
            ) from error

    def _restore(self, stored: Stored) -> None:
        for slot, key in enumerate(self.slots.keys):
            if key in stored.finished:
                self.finished[slot] = stored.finished[key]
                self.proposer.restore(slot, self._trial(slot, stored.finished[key]))
            elif key in stored.again:
                self.given[slot] = stored.again[key]
                self._config(slot, stored.again[key])  # raises where a parameter is missing
                self.proposer.restore(slot, self._running(stored.again[key]))
        self.waiting = collections.deque(
            slot for slot in range(self.total) if slot not in self.finished
        )

    def _trial(self, slot: int, record: SlotRecord) -> FrozenTrial:
        """A finished slot as a trial of the sampler's history."""
        config = self._config(slot, record.params)
        step_values = {
            each.sequences_seen: self._value(config, [each])
            for each in map(_stored_evaluation, record.result.evaluations)
        }
        violation = 1.0 if record.result.end in PENALIZED else 0.0
        return create_trial(
            state=state_of(record.result.end, record.value),
            value=record.value,
            params=dict(record.params),
            distributions=self._distributions_of(record.params),
            intermediate_values=step_values,
            system_attrs={VIOLATION: violation},
        )

    def _running(self, params: Mapping[str, Value]) -> FrozenTrial:
        return create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=self._distributions_of(params),
        )

    def _distributions_of(self, params: Mapping[str, Value]) -> dict[str, BaseDistribution]:
        return {name: self.slots.distributions[name] for name in params}

    def _config(self, slot: int, params: Mapping[str, Value]) -> TrainingConfig:
        config = training_config(self.spec, self.key.task, self.key.cell, params)
        return dataclasses.replace(
            config,
            seed=self.slots.seeds[slot],
            device=self.device,
            verification_sequences=self.slots.verification_sequences,
            extrapolation=self.slots.extrapolation,
        )

    def _worst(self, config: TrainingConfig) -> float:
        chance_loss = get_task(config.model.task).chance_loss(config.model.sequence_length)
        return self.objective.worst(chance_loss, config.sequences)

    def _value(self, config: TrainingConfig, evaluations: Sequence[Evaluation]) -> float:
        """The objective at the last of these evaluations."""
        task, length, last = (
            get_task(config.model.task),
            config.model.sequence_length,
            evaluations[-1],
        )
        return self.objective.value(
            Outcome(
                lag=task.lag(length),
                loss=last.loss,
                skill=last.skill,
                solved=last.solved,
                sequences_to_solve=first_solved(evaluations),
                chance_loss=task.chance_loss(length),
                budget=config.sequences,
            )
        )


def _stored_evaluation(stored: tuple[int, float, float, float]) -> Evaluation:
    """An evaluation as the ledger keeps it: (sequences_seen, loss, skill, accuracy)."""
    seen, loss, skill, accuracy = stored
    finite = math.isfinite(loss)
    return Evaluation(
        sequences_seen=int(seen),
        loss=loss,
        skill=skill,
        accuracy=accuracy,
        solved=finite and is_solved(accuracy),
        finite=finite,
        train_time_s=math.nan,
    )


def open_search(study: StudyRun, key: SearchKey) -> TrialSeries:
    """The search of one (task, cell, repeat), with all that is stored of it."""
    spec, ledger = study.spec, study.open(key)
    stored = ledger.read()
    seed_parts = (spec.study.seed, key.task, key.cell, key.repeat)
    fixed = spec.parameters(key.task, key.cell)
    distributions = suggested_distributions(spec, key.task, key.cell)
    stored = ledger.read()
    old = old_startup_trials(spec.search.trials)
    plan = SearchPlan(
        sampler=spec.search.sampler,
        pruner=spec.search.pruner,
        direction=OBJECTIVES[spec.search.objective].direction,
        trials=spec.search.trials,
        seed_parts=seed_parts,
        budget=max(int(value) for value in fixed["sequences"].values()),
        evaluate_every=min(int(value) for value in fixed["evaluate_every"].values()),
        startup_trials=startup_trials_of(ledger.storage, ledger.study_id, old),
    )
    proposer = SearchProposer(plan, distributions)
    trials = len(proposer.sequence) if spec.search.sampler == "grid" else spec.search.trials
    least = 1 + max((record.slot for record in stored.finished.values()), default=-1)
    if trials < least:
        raise IdentityError(
            study.options.where,
            "search.trials",
            expected=f"at least {least}, which are stored already",
            got=trials,
            remedy="trials may only grow; give the study another name, or start over with --fresh",
        )
    slots = Slots(
        keys=tuple(str(slot) for slot in range(trials)),
        seeds=tuple(derive_seed(*seed_parts, slot, "trial") for slot in range(trials)),
        distributions=distributions,
        startup_trials=plan.startup_trials,
    )
    series = TrialSeries(study, key, ledger, proposer, slots)
    series.restore(stored)
    return series


def open_confirmation(
    study: StudyRun, key: SearchKey, winner: Mapping[str, Value], lengths: Sequence[int]
) -> TrialSeries:
    """The confirmation of one search's winner.

    Stored trials of another winner or another ladder are ignored. A run that solved its task is run
    again, with the same seed, where a factor of `confirm.extrapolation` is not measured yet.
    """
    spec = study.spec
    rungs = [(length, index) for length in lengths for index in range(spec.confirm.seeds)]
    verify = spec.confirm.evaluation_sequences
    confirmed = configuration_hash(winner)
    seed_parts = (spec.study.seed, key.task, key.cell, key.repeat, "confirm")
    factors = () if get_task(spec.base(key.task)).finite else spec.confirm.extrapolation
    ledger = study.open(key, CONFIRMATION)
    stored = ledger.read()
    runs = [f"{confirmed}/{verify}/{length}/{index}" for length, index in rungs]
    slots = Slots(
        keys=_confirmation_keys(runs, factors, stored),
        seeds=tuple(derive_seed(*seed_parts, length, index) for length, index in rungs),
        distributions=_confirmation_distributions(spec, key, winner, lengths),
        verification_sequences=verify,
        extrapolation=factors,
    )
    proposer = ConfirmationProposer(winner, lengths, spec.confirm.seeds)
    series = TrialSeries(study, key, ledger, proposer, slots)
    series.restore(stored)
    return series


def end_confirmations(study: StudyRun, keys: Collection[SearchKey]) -> None:
    """End the running trials of confirmations that an earlier run began and this one leaves out."""
    if not keys:
        return
    there = {each.study_name for each in study.storage.get_all_studies()}
    for key in keys:
        if study.name_of(key, CONFIRMATION) in there:
            study.open(key, CONFIRMATION).read()


def _confirmation_keys(
    runs: Sequence[str], factors: tuple[int, ...], stored: Stored
) -> tuple[str, ...]:
    """The key of each confirmation run's slot: of a stored run with all factors, or a new one.

    Keys name the factors that were asked for, because a run may lack one that does not fit into
    the memory. Keys of older versions name none.
    """
    complete: dict[str, str] = {}
    for key, record in stored.finished.items():
        measured = {factor for factor, *_ in record.result.extrapolations}
        if not record.result.solved or measured >= set(factors):
            complete.setdefault(key.partition("/x")[0], key)
    asked = [f"{run}/x{','.join(map(str, factors))}" for run in runs]
    return tuple(
        key if key in stored.finished else complete.get(run, key)
        for run, key in zip(runs, asked, strict=True)
    )


def _confirmation_distributions(
    spec: StudySpec, key: SearchKey, winner: Mapping[str, Value], lengths: Sequence[int]
) -> dict[str, BaseDistribution]:
    """Those of the search, except the length, which may be outside the searched range."""
    distributions = suggested_distributions(spec, key.task, key.cell)
    distributions["sequence_length"] = to_distribution(Range(min(lengths), max(lengths)))
    return {name: distributions[name] for name in winner}
