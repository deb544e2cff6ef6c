"""Chooses the winners, the best slot of each search, and trains them to keep their weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import config as specs
from harness.columns import TrialStatus
from harness.config import StudySpec
from harness.errors import InputError, unwritable
from harness.metric_definitions import OBJECTIVES
from harness.study import result_files
from harness.study.coordinator import Coordinator
from harness.study.run_context import StudyRun
from harness.study.search.optuna_trials import TrialSeries
from harness.study.search.trial_config import configuration_hash, training_config
from harness.study.storage.trial_ledger import SlotRecord, TrialResult
from harness.study.trials_to_run import Job, SearchKey
from harness.training.training_loop import Evaluation, TrainingConfig


@dataclasses.dataclass(frozen=True)
class Winner:
    """The best slot of one search: its parameters and their hash."""

    key: SearchKey
    record: SlotRecord

    @property
    def configuration(self) -> str:
        """The hash of its hyperparameters."""
        return configuration_hash(self.record.params)


def common_trials(searches: Sequence[TrialSeries]) -> int:
    """How many first slots all searches have finished: after a timeout they compare at these.

    A complete search does not lower the number: one cell's grid may have fewer points.
    """
    stopped = [
        next(slot for slot in range(series.total) if slot not in series.finished)
        for series in searches
        if len(series.finished) < series.total
    ]
    return min(stopped, default=max((series.total for series in searches), default=0))


def best_of(series: TrialSeries, common: int) -> Winner | None:
    """The best complete slot among the first `common`, the earliest of equal ones, or None."""
    better = 1 if series.objective.direction == "maximize" else -1
    valid = [
        record
        for slot, record in sorted(series.finished.items())
        if slot < common and record.result.end is TrialStatus.COMPLETE and record.value is not None
    ]
    best = max(valid, key=lambda record: better * float(record.value or 0.0), default=None)
    return Winner(series.key, best) if best else None


def best_of_pairs(spec: StudySpec, winners: Sequence[Winner]) -> list[Winner]:
    """The best winner of each (task, cell) over its repeats, the earliest of equal ones."""
    better = 1 if OBJECTIVES[spec.search.objective].direction == "maximize" else -1
    best: dict[tuple[str, str], Winner] = {}
    for winner in winners:
        pair = (winner.key.task, winner.key.cell)
        value = better * float(winner.record.value or 0.0)
        if pair not in best or value > better * float(best[pair].record.value or 0.0):
            best[pair] = winner
    return list(best.values())


class WinnerTraining:
    """Trains a winner again, with its seed, to keep its weights: a source of one trial."""

    total = 1

    def __init__(self, study: StudyRun, winner: Winner) -> None:
        self.key, self.winner = winner.key, winner
        self.files = _files_of(study.directory, winner)
        config = configuration_of(study.spec, winner)
        config = dataclasses.replace(config, device=study.options.device)
        self.job = Job(winner.record.slot, config, str(self.files[0].absolute()))
        self.finished: dict[int, SlotRecord] = {}
        self.in_flight = 0

    @property
    def started(self) -> int:
        """1 while it trains and when it has ended."""
        return self.in_flight + len(self.finished)

    @property
    def has_next(self) -> bool:
        """Whether it is still to be trained."""
        return not self.started

    def next_job(self) -> Job:
        """The training."""
        self.in_flight = 1
        return self.job

    def report(self, job: Job, evaluation: Evaluation) -> bool:
        """A winner is never pruned."""
        return False

    def finish(self, job: Job, result: TrialResult, evaluations: Sequence[Evaluation]) -> None:
        """Keep how the training ended."""
        self.in_flight = 0
        self.finished[job.slot] = dataclasses.replace(self.winner.record, result=result)

    def give_up(self, job: Job, result: TrialResult | None = None) -> None:
        """Train it again: it was interrupted, or crashed with a retry left."""
        self.in_flight = 0


def train_winners(
    study: StudyRun, coordinator: Coordinator, best: Sequence[Winner]
) -> list[Winner]:
    """Train each winner once more, as its search did, and keep its weights.

    Returns the winners whose weights are there; a note says why others have none. Raises FileError
    or InputError where the disk takes no weights.
    """
    trainings = [
        WinnerTraining(study, winner)
        for winner in best
        if not _is_kept(study.spec, study.directory, winner)
    ]
    if trainings:
        study.observer.phase("keep", (), len(trainings))
    for training in trainings:
        for path in training.files:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(path, error) from error
    coordinator.run(trainings)
    lost = [each for each in trainings if not all(path.is_file() for path in each.files)]
    for training in lost:
        result = training.finished[training.job.slot].result
        study.observer.note(
            f"the winner of {training.key.cell} on {training.key.task} could not be trained once "
            f"more: it is neither timed nor looked into ({result.reason})"
        )
    keys = {training.key for training in lost}
    kept = [winner for winner in best if winner.key not in keys]
    for winner in kept:
        facts = _facts(study.spec, winner)
        result_files.write_winner(study.directory, winner.key.task, winner.key.cell, facts)
    return kept


def configuration_of(spec: StudySpec, winner: Winner) -> TrainingConfig:
    """The configuration that a winner was trained with, on the CPU."""
    key = winner.key
    config = training_config(spec, key.task, key.cell, winner.record.params)
    return dataclasses.replace(config, seed=winner.record.result.seed)


def weights_path(directory: Path, winner: Winner) -> Path:
    """The file of a winner's trained weights."""
    return result_files.winner_path(directory, winner.key.task, winner.key.cell, ".pt")


def initial_weights_path(directory: Path, winner: Winner) -> Path:
    """The file of the weights that the same model started from."""
    path = weights_path(directory, winner)
    return path.with_name(path.stem + ".initial.pt")


def _files_of(directory: Path, winner: Winner) -> tuple[Path, Path]:
    return weights_path(directory, winner), initial_weights_path(directory, winner)


def _training_hash(spec: StudySpec, winner: Winner) -> str:
    """The content hash of all that a winner's weights depend on, except plug-in sources."""
    return configuration_hash(configuration_of(spec, winner).to_dict())


def _is_kept(spec: StudySpec, directory: Path, winner: Winner) -> bool:
    """Whether the weights on the disk are this winner's."""
    path = result_files.winner_path(directory, winner.key.task, winner.key.cell, ".toml")
    try:
        facts = specs.read_toml(path)
    except InputError:
        return False
    same = facts.get("training") == _training_hash(spec, winner)
    return same and all(each.is_file() for each in _files_of(directory, winner))


def _facts(spec: StudySpec, winner: Winner) -> dict[str, Any]:
    result = winner.record.result
    return {
        "configuration": winner.configuration,
        "training": _training_hash(spec, winner),
        "base_task": spec.base(winner.key.task),
        "base_cell": spec.base(winner.key.cell),
        "repeat": winner.key.repeat,
        "number": winner.record.slot,
        "seed": result.seed,
        "value": winner.record.value,
        "loss": result.loss,
        "accuracy": result.accuracy,
        "solved": result.solved,
        "parameters": dict(winner.record.params),
    }
