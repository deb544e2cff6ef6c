"""The coordinator: starts trials, reports their evaluations, prunes, retries, enforces limits.

Sources take turns. At most one trial of a source is in flight while there are at least as many
sources as workers, and always with --deterministic: so the tables do not depend on the number of
workers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence

from harness.columns import TrialStatus
from harness.errors import HarnessError, InputError, Shown, unwritable
from harness.plugins import plugin_sources
from harness.study.execution.executor import Executor
from harness.study.execution.worker_messages import (
    Event,
    ProcessEnded,
    TrialOutcome,
    TrialRequest,
)
from harness.study.storage.trial_ledger import RETRY, TrialResult
from harness.study.trials_to_run import Job, TrialSource, first_solved
from harness.training.training_loop import Evaluation

MOST_ATTEMPTS = 3  # a crash is retried at most twice


@dataclasses.dataclass(frozen=True)
class TrialLimits:
    """Limits of the trials. 0 bytes is no limit.

    `stop_at` is a reading of time.monotonic(): no trial starts after it. `one_in_flight` allows
    each source one trial at a time. `independent` allows any number: no slot depends on another.
    """

    trial_timeout_s: float | None = None
    trial_memory_bytes: int = 0
    stop_at: float | None = None
    one_in_flight: bool = False
    independent: bool = False


@dataclasses.dataclass(frozen=True)
class TrialProgress:
    """What the observer gets: `kind` is "started", "evaluation" or "finished".

    `evaluation` and `result` are set for the kinds "evaluation" and "finished".
    """

    kind: str
    source: TrialSource
    job: Job
    evaluation: Evaluation | None = None
    result: TrialResult | None = None


Observer = Callable[[TrialProgress], None]


@dataclasses.dataclass
class _Running:
    source: TrialSource
    job: Job
    deadline: float | None
    evaluations: list[Evaluation] = dataclasses.field(default_factory=list)
    # True after the last evaluation: a later crash, as on longer sequences, changes no result.
    # Never True where weights are still to be written
    trained: bool = False


class Coordinator:
    """Runs the trials of sources on an executor until all have ended or the time is up."""

    def __init__(
        self,
        executor: Executor,
        limits: TrialLimits,
        observer: Observer,
        plugins: tuple[str, ...] = (),
    ) -> None:
        self.executor, self.limits, self.observer = executor, limits, observer
        self.plugins, self.sources = plugins, plugin_sources(plugins)
        self.running: dict[int, _Running] = {}
        self.attempts: dict[tuple[int, int], int] = {}

    def run(self, sources: Sequence[TrialSource]) -> bool:
        """Run all sources. Returns False when the time was up before the end.

        KeyboardInterrupt passes through, after running trials were given up. Raises FileError or
        InputError where the disk takes no weights, InputError where a plug-in was edited meanwhile.
        """
        heard = time.monotonic()
        try:
            while True:
                self._fill(sources)
                if not self.running:
                    return not any(each.has_next for each in sources)
                self._postpone(time.monotonic() - heard)
                event = self.executor.next_event(self._patience())
                heard = time.monotonic()
                if event is not None:
                    self._take(event)
                    self._postpone(time.monotonic() - heard)
                    heard = time.monotonic()
                self._enforce()
        except BaseException:
            self._give_up()
            raise

    def _fill(self, sources: Sequence[TrialSource]) -> None:
        while len(self.running) < self.executor.num_workers and not self._time_is_up():
            chosen = self._choose(sources)
            if chosen is None:
                return
            job = chosen.next_job()
            request_id = self.executor.new_id()
            limit = self.limits.trial_timeout_s
            deadline = None if limit is None else time.monotonic() + limit
            self.running[request_id] = _Running(chosen, job, deadline)
            self.executor.submit(
                TrialRequest(
                    request_id,
                    job.config,
                    self.plugins,
                    self.limits.trial_memory_bytes,
                    job.weights,
                    self.sources,
                )
            )
            self.observer(TrialProgress("started", chosen, job))

    def _choose(self, sources: Sequence[TrialSource]) -> TrialSource | None:
        """The source that is furthest behind, of those that may have a further trial in flight."""
        workers = self.executor.num_workers
        most = 1
        if self.limits.independent:
            most = workers
        elif not self.limits.one_in_flight and len(sources) < workers:
            most = math.ceil(workers / len(sources))
        free = [each for each in sources if each.has_next and each.in_flight < most]
        return min(free, key=lambda each: each.started, default=None)

    def _time_is_up(self) -> bool:
        return self.limits.stop_at is not None and time.monotonic() >= self.limits.stop_at

    def _patience(self) -> float | None:
        """Seconds until the next deadline, or None."""
        deadlines = [each.deadline for each in self.running.values() if each.deadline is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _take(self, event: Event) -> None:
        running = self.running.get(event.request_id)
        if running is None:
            return
        message = event.message
        if isinstance(message, ProcessEnded):
            self._ended(event.request_id, running, message)
        elif isinstance(message, Evaluation):
            self._evaluation(event.request_id, running, message)
        elif message.other_source:
            raise _edited(message)
        elif message.unwritten is not None:
            raise unwritable(running.job.weights, OSError(*message.unwritten))
        else:
            self._finish(event.request_id, running, message)

    def _evaluation(self, request_id: int, running: _Running, evaluation: Evaluation) -> None:
        running.evaluations.append(evaluation)
        job, source = running.job, running.source
        self.observer(TrialProgress("evaluation", source, job, evaluation=evaluation))
        prune = source.report(job, evaluation)
        config, seen = job.config, evaluation.sequences_seen
        spent = seen + config.evaluate_every > config.sequences
        solved = evaluation.solved and config.stop_when_solved
        ends = spent or not evaluation.finite or solved
        running.trained = ends and evaluation.finite and not job.weights
        if prune and not ends:  # one that ends by itself has its own reason
            self.executor.cancel(request_id)
            reason = f"pruned after {seen} training sequences"
            self._finish(request_id, running, TrialOutcome(TrialStatus.PRUNED, reason))

    def _ended(self, request_id: int, running: _Running, ended: ProcessEnded) -> None:
        """A process is gone without an outcome. Its trial is tried again if it crashed."""
        if running.trained:
            self._finish(request_id, running, TrialOutcome(TrialStatus.COMPLETE))
            return
        key = (id(running.source), running.job.slot)
        self.attempts[key] = self.attempts.get(key, 0) + 1
        if ended.end is TrialStatus.CRASHED and self.attempts[key] < MOST_ATTEMPTS:
            crash = TrialOutcome(TrialStatus.CRASHED, RETRY + ended.how)
            running.source.give_up(running.job, _result(running, crash))
            del self.running[request_id]
            return
        self._finish(request_id, running, TrialOutcome(ended.end, ended.how))

    def _finish(self, request_id: int, running: _Running, outcome: TrialOutcome) -> None:
        result = _result(running, outcome)
        running.source.finish(running.job, result, running.evaluations)
        del self.running[request_id]
        self.observer(TrialProgress("finished", running.source, running.job, result=result))

    def _enforce(self) -> None:
        now = time.monotonic()
        late = [
            key
            for key, each in self.running.items()
            if each.deadline is not None and now >= each.deadline
        ]
        for request_id in late:
            self.executor.cancel(request_id)
            running = self.running[request_id]
            late_one = TrialOutcome(
                TrialStatus.TIMEOUT, f"took longer than {self.limits.trial_timeout_s:g} s"
            )
            done = TrialOutcome(TrialStatus.COMPLETE)
            self._finish(request_id, running, done if running.trained else late_one)

    def _postpone(self, spent_s: float) -> None:
        """Move every deadline by the time in which no event was read, as while storage waits."""
        for each in self.running.values():
            if each.deadline is not None:
                each.deadline += spent_s

    def _give_up(self) -> None:
        """Cancel all running trials, so that their slots run again on a resume.

        Where the storage cannot be written, they stay RUNNING and run again too.
        """
        for request_id in self.running:
            self.executor.cancel(request_id)
        with contextlib.suppress(HarnessError):
            for running in self.running.values():
                running.source.give_up(running.job)
        self.running.clear()


def _edited(outcome: TrialOutcome) -> InputError:
    """The error for a plug-in, or a module that it imports, that was edited while a study runs."""
    return InputError(
        "--plugin",
        outcome.other_source,
        expected="the source that this run of the study began with",
        got=Shown(outcome.reason),
        remedy="undo the edit and run the same command again, or start over with --fresh: what is "
        "finished is kept",
    )


def _result(running: _Running, outcome: TrialOutcome) -> TrialResult:
    """What a trial found: its outcome and its last evaluation."""
    result = TrialResult(
        end=outcome.end,
        seed=running.job.config.seed,
        reason=outcome.reason,
        sequences_to_solve=first_solved(running.evaluations),
        evaluations=tuple(
            (each.sequences_seen, each.loss, each.skill, each.accuracy)
            for each in running.evaluations
        ),
        predictions=outcome.predictions,
        extrapolations=tuple(
            (each.factor, each.sequence_length, each.loss, each.skill, each.accuracy)
            for each in outcome.extrapolations
        ),
        traceback=outcome.traceback,
    )
    if not running.evaluations:
        return result
    last = running.evaluations[-1]
    return dataclasses.replace(
        result,
        loss=last.loss,
        skill=last.skill,
        accuracy=last.accuracy,
        solved=last.solved,
        sequences_seen=last.sequences_seen,
        train_time_s=last.train_time_s,
    )
