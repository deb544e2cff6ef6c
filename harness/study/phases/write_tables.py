"""Makes the rows of a study's tables from its slots. Never trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.columns import TrialStatus
from harness.config import StudySpec
from harness.hyperparameters import Value
from harness.metric_definitions import is_solved, remembered_steps
from harness.study import result_files
from harness.study.phases.train_winners import Winner
from harness.study.search.optuna_trials import TrialSeries
from harness.study.search.search_space import suggested
from harness.study.search.trial_config import training_config
from harness.study.storage.trial_ledger import SlotRecord
from harness.tasks import CountsAllSteps, Task, get_task
from harness.training.model import ModelConfig, count_parameters


@dataclasses.dataclass(frozen=True)
class StudyTables:
    """The rows of a study's tables of trials, each under the name of its file."""

    trials: Sequence[Mapping[str, Any]]
    confirmation: Sequence[Mapping[str, Any]]
    extrapolation: Sequence[Mapping[str, Any]]
    evaluations: Sequence[Mapping[str, Any]]
    retries: Sequence[Mapping[str, Any]]


def make_tables(
    spec: StudySpec,
    searches: Sequence[TrialSeries],
    confirmations: Sequence[tuple[Winner, TrialSeries]],
) -> StudyTables:
    """The rows of all tables of trials, in the order of the study file."""
    order = {pair: index for index, pair in enumerate(spec.pairs)}

    def rank(series: TrialSeries) -> tuple[int, int]:
        return order[series.key.task, series.key.cell], series.key.repeat

    evaluations: list[dict[str, Any]] = []
    retries: list[dict[str, Any]] = []
    trials: list[dict[str, Any]] = []
    for series in sorted(searches, key=rank):
        for record in _in_order(series):
            trials.append(_row(spec, series, record))
            evaluations.extend(_evaluation_rows("search", series, record))
        retries.extend(_retry_rows("search", series))
    confirmed: list[dict[str, Any]] = []
    extrapolated: list[dict[str, Any]] = []
    for winner, series in sorted(confirmations, key=lambda pair: rank(pair[1])):
        retries.extend(
            {**each, "number": winner.record.slot} for each in _retry_rows("confirm", series)
        )
        for record in _in_order(series):
            row = _row(spec, series, record)
            row |= {"number": winner.record.slot, "configuration": winner.configuration}
            confirmed.append(row)
            for rows, found in (
                (evaluations, _evaluation_rows("confirm", series, record)),
                (extrapolated, _extrapolation_rows(spec, series, record)),
            ):
                rows.extend({**each, "number": winner.record.slot} for each in found)
    return StudyTables(trials, confirmed, extrapolated, evaluations, retries)


def write_tables(
    directory: Path,
    spec: StudySpec,
    searches: Sequence[TrialSeries],
    confirmations: Sequence[tuple[Winner, TrialSeries]],
) -> None:
    """Write all tables of trials."""
    tables = make_tables(spec, searches, confirmations)
    result_files.write_trials(directory, tables.trials, spec.searched_keys())
    for name in ("confirmation.csv", "extrapolation.csv"):
        (directory / name).unlink(missing_ok=True)  # of an earlier session
    if confirmations:
        result_files.write_confirmation(directory, tables.confirmation, spec.searched_keys())
        result_files.write_extrapolation(directory, tables.extrapolation)
    result_files.write_evaluations(directory, tables.evaluations)
    result_files.write_retries(directory, tables.retries)


def _retry_rows(phase: str, series: TrialSeries) -> list[dict[str, Any]]:
    """Rows of retries.csv: attempts that ran again."""
    key = series.key
    slots = {key: slot for slot, key in enumerate(series.slots.keys)}
    return [
        {
            "phase": phase,
            "task": key.task,
            "cell": key.cell,
            "repeat": key.repeat,
            "number": slots[attempt.key],
            "sequence_length": attempt.params["sequence_length"],
            "seed": series.slots.seeds[slots[attempt.key]],
            "end": attempt.end.value,
            "reason": attempt.reason,
        }
        for attempt in series.ledger.attempts()
        if attempt.key in slots  # and was not of another winner
    ]


def _in_order(series: TrialSeries) -> list[SlotRecord]:
    return [series.finished[slot] for slot in sorted(series.finished)]


def _row(spec: StudySpec, series: TrialSeries, record: SlotRecord) -> dict[str, Any]:
    """One row of trials.csv; a confirmation's row has two keys more."""
    key, result = series.key, record.result
    config = training_config(spec, key.task, key.cell, record.params)
    task, length = get_task(config.model.task), config.model.sequence_length
    lag = task.lag(length)
    remembered = None
    if result.skill is not None and result.solved is not None:
        valid = result.end in (TrialStatus.COMPLETE, TrialStatus.PRUNED)
        remembered = remembered_steps(lag, result.skill, result.solved) if valid else 0.0
    rate = None
    if result.train_time_s and result.sequences_seen:
        rate = result.sequences_seen / result.train_time_s
    searched: Mapping[str, Value] = {
        name: record.params[name]
        for name in suggested(spec, key.task, key.cell)
        if name in record.params
    }
    return {
        "task": key.task,
        "cell": key.cell,
        "repeat": key.repeat,
        "number": record.slot,
        "end": result.end.value,
        **searched,
        "hidden_size": config.model.hidden_size,
        "seed": result.seed,
        "num_parameters": _num_parameters(config.model),
        "lag": lag,
        "loss": result.loss,
        "skill": result.skill,
        "accuracy": result.accuracy,
        "solved": result.solved,
        "remembered_steps": remembered,
        "sequences_to_solve": result.sequences_to_solve,
        "sequences_seen": result.sequences_seen,
        "train_time_s": result.train_time_s,
        "sequences_per_second": rate,
        "all_steps_loss": _all_steps_loss(task, result.loss, length),
        "reason": result.reason,
    }


def _all_steps_loss(task: Task, loss: float | None, sequence_length: int) -> float | None:
    """None for a task that does not offer it, and where there is no loss."""
    if loss is None or not isinstance(task, CountsAllSteps):
        return None
    return task.all_steps_loss(loss, sequence_length)


def _num_parameters(model: ModelConfig) -> int | None:
    """None for a model that cannot be built: its trial has said so."""
    try:
        return count_parameters(model)
    except Exception:  # noqa: BLE001  # a plug-in may raise anything
        return None


def _extrapolation_rows(
    spec: StudySpec, series: TrialSeries, record: SlotRecord
) -> list[dict[str, Any]]:
    key = series.key
    task = get_task(spec.base(key.task))
    return [
        {
            "task": key.task,
            "cell": key.cell,
            "repeat": key.repeat,
            "sequence_length": record.params["sequence_length"],
            "seed": record.result.seed,
            "factor": factor,
            "evaluated_length": length,
            "evaluated_lag": task.lag(length),
            "loss": loss,
            "skill": skill,
            "accuracy": accuracy,
            "solved": is_solved(accuracy),
        }
        for factor, length, loss, skill, accuracy in record.result.extrapolations
        if factor in spec.confirm.extrapolation  # not of an earlier session that had others
    ]


def _evaluation_rows(phase: str, series: TrialSeries, record: SlotRecord) -> list[dict[str, Any]]:
    key = series.key
    return [
        {
            "phase": phase,
            "task": key.task,
            "cell": key.cell,
            "repeat": key.repeat,
            "number": record.slot,
            "sequence_length": record.params["sequence_length"],
            "seed": record.result.seed,
            "sequences_seen": seen,
            "loss": loss,
            "skill": skill,
            "accuracy": accuracy,
        }
        for seen, loss, skill, accuracy in record.result.evaluations
    ]
