"""The winners: the best slot of each search, and the model kept for each (task, cell).

Never times anything.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import config as specs
from harness.columns import OBJECTIVES, TrialStatus
from harness.config import StudySpec
from harness.errors import InputError, unwritable
from harness.study import result_files
from harness.study.coordinator import MOST_ATTEMPTS
from harness.study.execution.executor import Executor, TrialRequest
from harness.study.run_context import StudyRun
from harness.study.search.optuna_series import TrialSeries
from harness.study.search.trial_config import configuration_hash, training_config
from harness.study.storage.trial_ledger import SlotRecord
from harness.study.trial_source import SearchKey
from harness.training.training_loop import TrainingConfig


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
    """How many first slots every search has finished.

    After a timeout all are compared at that number.

    A search that is through does not hold the others back: one cell's grid may have fewer points
    than another's.
    """
    stopped = [
        next(slot for slot in range(series.total) if slot not in series.finished)
        for series in searches
        if len(series.finished) < series.total
    ]
    return min(stopped, default=max((series.total for series in searches), default=0))


def best_of(series: TrialSeries, common: int) -> Winner | None:
    """The best complete slot among the first `common`, the earliest where several are equal.

    None where there is none.
    """
    better = 1 if series.objective.direction == "maximize" else -1
    valid = [
        record
        for slot, record in sorted(series.finished.items())
        if slot < common and record.result.end is TrialStatus.COMPLETE and record.value is not None
    ]
    best = max(valid, key=lambda record: better * float(record.value or 0.0), default=None)
    return Winner(series.key, best) if best else None


def best_of_pairs(spec: StudySpec, winners: Sequence[Winner]) -> list[Winner]:
    """Of each (task, cell) the best winner over its repeats, the earliest where several are equal."""
    better = 1 if OBJECTIVES[spec.search.objective].direction == "maximize" else -1
    best: dict[tuple[str, str], Winner] = {}
    for winner in winners:
        pair = (winner.key.task, winner.key.cell)
        value = better * float(winner.record.value or 0.0)
        if pair not in best or value > better * float(best[pair].record.value or 0.0):
            best[pair] = winner
    return list(best.values())


def keep(study: StudyRun, executor: Executor, best: Sequence[Winner]) -> list[Winner]:
    """Train each winner once more, just as its search did, and keep its weights.

    Returns those whose weights are there.
    """
    missing = [winner for winner in best if not _is_kept(study.spec, study.directory, winner)]
    if missing:
        study.observer.phase("keep", (), len(missing))
    requests = []
    for winner in missing:
        weights = weights_path(study.directory, winner)
        try:
            weights.parent.mkdir(parents=True, exist_ok=True)
            weights.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(weights, error) from error
        config = configuration_of(study.spec, winner)
        config = dataclasses.replace(config, device=study.options.device)
        requests.append(
            TrialRequest(
                executor.new_id(),
                config.to_dict(),
                study.options.plugins,
                weights=str(weights.resolve()),
            )
        )
    reasons = _run(executor, requests)
    kept = [winner for winner in best if weights_path(study.directory, winner).exists()]
    for winner in best:
        if winner not in kept:
            reason = reasons.get(str(weights_path(study.directory, winner).resolve()), "")
            study.observer.note(
                f"the winner of {winner.key.cell} on {winner.key.task} could not be trained once "
                f"more: it is neither timed nor looked into ({reason})"
            )
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


def _run(executor: Executor, requests: list[TrialRequest]) -> dict[str, str]:
    """Run some requests to their ends, a crash again.

    Returns why weights were not written, by their file.

    Raises FileError or InputError where a disk would not take them.
    """
    running: dict[int, TrialRequest] = {}
    attempts: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    while requests or running:
        while requests and len(running) < executor.num_workers:
            request = requests.pop(0)
            executor.submit(request)
            running[request.request_id] = request
        event = executor.next_event(None)
        if event is None or event.kind == "evaluation" or event.request_id not in running:
            continue
        request = running.pop(event.request_id)
        if unwritten := event.data.get("unwritten"):
            raise unwritable(request.weights, OSError(*unwritten))
        reasons[request.weights] = event.data.get("how") or event.data.get("reason", "")
        attempts[request.weights] += 1
        crashed = event.kind == "ended" and event.data["end"] == TrialStatus.CRASHED
        if crashed and attempts[request.weights] < MOST_ATTEMPTS:
            requests.append(dataclasses.replace(request, request_id=executor.new_id()))
    return reasons


def _training_hash(spec: StudySpec, winner: Winner) -> str:
    """The content hash of all that decides a winner's weights, but for the source of a plug-in."""
    return configuration_hash(configuration_of(spec, winner).to_dict())


def _is_kept(spec: StudySpec, directory: Path, winner: Winner) -> bool:
    """Whether the weights on the disk are this winner's."""
    path = result_files.winner_path(directory, winner.key.task, winner.key.cell, ".toml")
    try:
        facts = specs.read_toml(path)
    except InputError:
        return False
    same = facts.get("training") == _training_hash(spec, winner)
    paths = (weights_path(directory, winner), initial_weights_path(directory, winner))
    return same and all(each.exists() for each in paths)


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
