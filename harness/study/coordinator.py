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
from harness.study.backoff import Clock
from harness.study.execution.executor import Executor
from harness.study.execution.worker_messages import (
    NOT_EXTRAPOLATED,
    Event,
    ProcessEnded,
    TrialOutcome,
    TrialRequest,
    TrialStarted,
    TrialTrained,
)
from harness.study.storage.trial_ledger import RETRY, TrialResult
from harness.study.trials_to_run import Job, TrialSource, first_solved
from harness.training.training_loop import Evaluation

MOST_ATTEMPTS = 3  # a crash is retried at most twice
MOST_WAIT_S = 1.0  # for one event
STOPPED_S = 1.0  # a wait that is so much longer means that the machine stopped, and the trials too


@dataclasses.dataclass(frozen=True)
class TrialLimits:
    """Limits of the trials. 0 bytes is no limit.

    `stop_at` is a reading of time.monotonic(): no trial starts after it. `one_in_flight` allows
    each source one trial at a time; as part of --deterministic it makes CUDA deterministic too.
    `independent` allows any number: no slot depends on another.
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
    deadline: float | None = None  # none before its process has started
    evaluations: list[Evaluation] = dataclasses.field(default_factory=list)
    # What counts where it cannot finish its longer sequences
    trained: TrialOutcome | None = None


class Coordinator:
    """Runs the trials of sources on an executor until all have ended or the time is up."""

    def __init__(
        self,
        executor: Executor,
        limits: TrialLimits,
        observer: Observer,
        plugins: tuple[str, ...] = (),
        clock: Clock = time,
    ) -> None:
        self.executor, self.limits, self.observer = executor, limits, observer
        self.plugins, self.sources = plugins, plugin_sources(plugins)
        self.clock = clock
        self.running: dict[int, _Running] = {}
        self.attempts: dict[tuple[int, int], int] = {}

    def run(self, sources: Sequence[TrialSource]) -> bool:
        """Run all sources. Returns False when the time was up before the end.

        KeyboardInterrupt passes through, after running trials were given up. Raises FileError or
        InputError where the disk takes no weights, InputError where a plug-in was edited meanwhile.
        """
        heard = self.clock.monotonic()
        try:
            while True:
                self._fill(sources)
                if not self.running:
                    return not any(each.has_next for each in sources)
                wait_s = self._wait_s()
                waits_from = self.clock.monotonic()
                event = self.executor.next_event(wait_s)
                stopped = self.clock.monotonic() - waits_from > wait_s + STOPPED_S
                self._postpone((self.clock.monotonic() if stopped else waits_from) - heard)
                heard = self.clock.monotonic()
                if event is not None:
                    self._take(event)
                    self._postpone(self.clock.monotonic() - heard)
                    heard = self.clock.monotonic()
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
            self.running[request_id] = _Running(chosen, job)
            self.executor.submit(
                TrialRequest(
                    request_id,
                    job.config,
                    self.plugins,
                    self.limits.trial_memory_bytes,
                    job.weights,
                    self.sources,
                    deterministic=self.limits.one_in_flight,
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
        return self.limits.stop_at is not None and self.clock.monotonic() >= self.limits.stop_at

    def _wait_s(self) -> float:
        """Seconds until the next deadline, at most MOST_WAIT_S."""
        deadlines = [each.deadline for each in self.running.values() if each.deadline is not None]
        left = min(deadlines, default=math.inf) - self.clock.monotonic()
        return max(0.0, min(left, MOST_WAIT_S))

    def _take(self, event: Event) -> None:
        running = self.running.get(event.request_id)
        if running is None:
            return
        message = event.message
        if isinstance(message, ProcessEnded):
            self._ended(event.request_id, running, message)
        elif isinstance(message, TrialStarted):
            limit = self.limits.trial_timeout_s
            running.deadline = None if limit is None else self.clock.monotonic() + limit
        elif isinstance(message, Evaluation):
            self._evaluation(event.request_id, running, message)
        elif isinstance(message, TrialTrained):
            running.trained = message.outcome
        elif message.other_source:
            raise _edited(message)
        elif message.unwritten is not None:
            raise unwritable(running.job.weights, OSError(*message.unwritten))
        else:
            self._finish(event.request_id, running, message)

    def _evaluation(self, request_id: int, running: _Running, evaluation: Evaluation) -> None:
        seen, config = evaluation.sequences_seen, running.job.config
        if running.evaluations and seen <= running.evaluations[-1].sequences_seen:
            return  # it was sent twice
        running.evaluations.append(evaluation)
        job, source = running.job, running.source
        self.observer(TrialProgress("evaluation", source, job, evaluation=evaluation))
        prune = source.report(job, evaluation)
        if prune and not config.ends_after(evaluation):  # it has its own reason then
            self.executor.cancel(request_id)
            reason = f"pruned after {seen} training sequences"
            self._finish(request_id, running, TrialOutcome(TrialStatus.PRUNED, reason))

    def _ended(self, request_id: int, running: _Running, ended: ProcessEnded) -> None:
        """A process is gone without an outcome. Its trial is tried again if it crashed."""
        key = (id(running.source), running.job.slot)
        self.attempts[key] = self.attempts.get(key, 0) + 1
        if ended.end is TrialStatus.CRASHED and self.attempts[key] < MOST_ATTEMPTS:
            crash = TrialOutcome(TrialStatus.CRASHED, RETRY + ended.how)
            running.source.give_up(running.job, _result(running, crash))
            del self.running[request_id]
            return
        self._finish_without_outcome(request_id, running, ended.end, ended.how)

    def _finish_without_outcome(
        self, request_id: int, running: _Running, end: TrialStatus, reason: str
    ) -> None:
        """A trial that has trained to its end is complete without its longer sequences."""
        outcome = TrialOutcome(end, reason)
        if running.trained is not None:
            outcome = dataclasses.replace(running.trained, reason=NOT_EXTRAPOLATED + reason)
        self._finish(request_id, running, outcome)

    def _finish(self, request_id: int, running: _Running, outcome: TrialOutcome) -> None:
        result = _result(running, outcome)
        running.source.finish(running.job, result, running.evaluations)
        del self.running[request_id]
        self.observer(TrialProgress("finished", running.source, running.job, result=result))

    def _enforce(self) -> None:
        now = self.clock.monotonic()
        late = [
            (request_id, running)
            for request_id, running in self.running.items()
            if running.deadline is not None and now >= running.deadline
        ]
        reason = f"took longer than {self.limits.trial_timeout_s or 0:g} s"
        for request_id, running in late:
            self.executor.cancel(request_id)
            self._finish_without_outcome(request_id, running, TrialStatus.TIMEOUT, reason)

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
        step_kind=outcome.step_kind,
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
