"""The coordinator: hands out trials, takes back evaluations and results, decides, and is the only writer of the storage.

Trials are handed out round robin. While there are at least as many series as workers, and always
where it is asked to be deterministic, at most one trial of a search is in flight: so its table does
not depend on the number of workers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from harness.columns import TrialStatus
from harness.errors import HarnessError, unwritable
from harness.study.execution.executor import Event, Executor, TrialRequest
from harness.study.storage.trial_ledger import RETRY, TrialResult
from harness.study.trial_source import Job, TrialSource, first_solved

MOST_ATTEMPTS = 3  # a crash is retried at most twice


@dataclasses.dataclass(frozen=True)
class TrialLimits:
    """What bounds the trials. `stop_at` is a reading of time.monotonic(), or None.

    `one_in_flight` holds for every series.
    """

    trial_timeout_s: float | None = None
    trial_memory_bytes: int = 0
    stop_at: float | None = None
    one_in_flight: bool = False
    # The slots of a series do not hang on each other: any number in flight
    independent: bool = False


@dataclasses.dataclass(frozen=True)
class TrialProgress:
    """Told to the observer: `kind` is "started", "evaluation" or "finished".

    `result` only with the last.
    """

    kind: str
    source: TrialSource
    job: Job
    evaluation: dict[str, Any] | None = None
    result: TrialResult | None = None


Observer = Callable[[TrialProgress], None]


@dataclasses.dataclass
class _Running:
    source: TrialSource
    job: Job
    deadline: float | None
    evaluations: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    # To its end: what comes after, such as longer sequences, takes nothing back. Never where
    # weights are to be written
    trained: bool = False


class Coordinator:
    """Runs series on an executor until each has an end, or the time is up."""

    def __init__(
        self,
        executor: Executor,
        limits: TrialLimits,
        observer: Observer,
        plugins: tuple[str, ...] = (),
    ) -> None:
        self.executor, self.limits, self.observer = executor, limits, observer
        self.plugins = plugins
        self.running: dict[int, _Running] = {}
        self.attempts: dict[tuple[int, int], int] = {}

    def run(self, sources: Sequence[TrialSource]) -> bool:
        """Run them all; False when the time was up before the end.

        Ctrl-C gives running trials up and goes on upward. Raises FileError or InputError where the
        disk takes no weights.
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
                    job.config.to_dict(),
                    self.plugins,
                    self.limits.trial_memory_bytes,
                    job.weights,
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
        if event.kind == "evaluation":
            self._evaluation(event.request_id, running, event.data)
        elif unwritten := event.data.get("unwritten"):
            raise unwritable(running.job.weights, OSError(*unwritten))
        elif event.kind == "outcome":
            self._finish(event.request_id, running, TrialStatus(event.data["end"]), event.data)
        else:
            self._ended(event.request_id, running, event.data["how"], event.data["end"])

    def _evaluation(self, request_id: int, running: _Running, data: dict[str, Any]) -> None:
        running.evaluations.append(data)
        self.observer(TrialProgress("evaluation", running.source, running.job, evaluation=data))
        prune = running.source.report(running.job, data)
        config = running.job.config
        spent = data["sequences_seen"] + config.evaluate_every > config.sequences
        ends = spent or not data["finite"] or (data["solved"] and config.stop_when_solved)
        running.trained = ends and data["finite"] and not running.job.weights
        if prune and not ends:  # one that ends by itself says how
            self.executor.cancel(request_id)
            reason = f"pruned after {data['sequences_seen']} training sequences"
            self._finish(request_id, running, TrialStatus.PRUNED, {"reason": reason})

    def _ended(self, request_id: int, running: _Running, how: str, end: str) -> None:
        """The process is gone without an outcome.

        Out of memory, or a crash, which is tried again.
        """
        if running.trained:
            self._finish(request_id, running, TrialStatus.COMPLETE, {})
            return
        key = (id(running.source), running.job.slot)
        self.attempts[key] = self.attempts.get(key, 0) + 1
        if TrialStatus(end) is TrialStatus.CRASHED and self.attempts[key] < MOST_ATTEMPTS:
            result = _result(running, TrialStatus.CRASHED, {"reason": RETRY + how})
            running.source.give_up(running.job, result)
            del self.running[request_id]
            return
        self._finish(request_id, running, TrialStatus(end), {"reason": how})

    def _finish(
        self, request_id: int, running: _Running, end: TrialStatus, data: dict[str, Any]
    ) -> None:
        result = _result(running, end, data)
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
            reason = f"took longer than {self.limits.trial_timeout_s:g} s"
            end, data = (
                (TrialStatus.COMPLETE, {})
                if running.trained
                else (TrialStatus.TIMEOUT, {"reason": reason})
            )
            self._finish(request_id, running, end, data)

    def _postpone(self, spent_s: float) -> None:
        """Move every deadline by the time in which nobody was heard.

        A storage that was waited for is no trial's fault.
        """
        for each in self.running.values():
            if each.deadline is not None:
                each.deadline += spent_s

    def _give_up(self) -> None:
        """Kill what runs and tell the storage, so that it runs again.

        Where that fails, it is RUNNING and runs again too.
        """
        for request_id in self.running:
            self.executor.cancel(request_id)
        with contextlib.suppress(HarnessError):
            for running in self.running.values():
                running.source.give_up(running.job)
        self.running.clear()


def _result(running: _Running, end: TrialStatus, data: dict[str, Any]) -> TrialResult:
    """What a trial found, from its last evaluation."""
    last = running.evaluations[-1] if running.evaluations else {}
    return TrialResult(
        end=end,
        seed=running.job.config.seed,
        reason=data.get("reason", ""),
        loss=last.get("loss"),
        skill=last.get("skill"),
        accuracy=last.get("accuracy"),
        solved=last.get("solved"),
        sequences_to_solve=first_solved(running.evaluations),
        sequences_seen=last.get("sequences_seen"),
        train_time_s=last.get("train_time_s"),
        evaluations=tuple(
            (each["sequences_seen"], each["loss"], each["skill"], each["accuracy"])
            for each in running.evaluations
        ),
        predictions=tuple(data.get("predictions", ())),
        extrapolations=tuple(tuple(each) for each in data.get("extrapolations", ())),
        traceback=data.get("traceback", ""),
    )
