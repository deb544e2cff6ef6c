"""An executor without processes.

Trials follow a script, so that what is tested is the coordinator and its storage alone.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from harness.study.execution.executor import Event, TrialRequest

Script = Callable[[dict[str, Any]], Sequence[tuple[str, dict[str, Any]]]]
"""From TrainingConfig.to_dict() to the (kind, data) of each event."""


def evaluation(seen: int, loss: float, *, solved: bool = False) -> tuple[str, dict[str, Any]]:
    """An evaluation event, for a task whose chance loss is ln 4."""
    finite = math.isfinite(loss)
    return "evaluation", {
        "sequences_seen": seen,
        "loss": loss,
        "skill": 1 - loss / math.log(4) if finite else -1.0,
        "accuracy": 1.0 if solved else 0.5,
        "solved": solved,
        "finite": finite,
        "train_time_s": 0.001 * seen,
        "predictions": (),
    }


def outcome(end: str = "complete", reason: str = "") -> tuple[str, dict[str, Any]]:
    """The outcome event."""
    return "outcome", {"end": end, "reason": reason}


def ended(end: str = "crashed", how: str = "killed by SIGKILL") -> tuple[str, dict[str, Any]]:
    """The event of a process that is gone."""
    return "ended", {"end": end, "how": how}


def luck(*parts: object) -> float:
    """A number in [0, 1) that hangs on the parts alone."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big") / 2**48


def learns(training: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """A trial whose loss falls by its own luck at each evaluation."""
    rate, every = training["learning_rate"], training["evaluate_every"]
    events = []
    loss = 1.4
    for seen in range(0, training["sequences"] + 1, every):
        events.append(evaluation(seen, loss))
        loss *= 0.5 + 0.5 * luck(training["seed"], rate, seen)
    return [*events, outcome()]


class ScriptedExecutor:
    """Answers each request with the events of its script.

    Trials in flight take turns, one event each.

    `on_event` is called with the number of events so far before each is handed out, and may raise.
    """

    def __init__(
        self,
        script: Script = learns,
        num_workers: int = 1,
        on_event: Callable[[int], None] | None = None,
    ) -> None:
        self.script, self.num_workers, self.on_event = script, num_workers, on_event
        self.ids = itertools.count(1)
        self.requests: list[TrialRequest] = []
        self.cancelled: list[int] = []
        self.trials: collections.deque[tuple[int, collections.deque[tuple[str, dict[str, Any]]]]]
        self.trials = collections.deque()
        self.most_in_flight = 0
        self.n_events = 0

    def new_id(self) -> int:
        """The next number."""
        return next(self.ids)

    def submit(self, request: TrialRequest) -> None:
        """Keep the request and its events."""
        self.requests.append(request)
        events = collections.deque(self.script(request.training))
        self.trials.append((request.request_id, events))
        self.most_in_flight = max(self.most_in_flight, len(self.trials))

    def next_event(self, timeout_s: float | None) -> Event | None:
        """The next event of the trial whose turn it is; None where none has any left."""
        self.n_events += 1
        if self.on_event is not None:
            self.on_event(self.n_events)
        for _ in range(len(self.trials)):
            request_id, events = self.trials.popleft()
            if not events:
                self.trials.append((request_id, events))
                continue
            kind, data = events.popleft()
            if kind == "evaluation" or events:
                self.trials.append((request_id, events))
            return Event(request_id, kind, dict(data))
        return None

    def cancel(self, request_id: int) -> None:
        """Forget the trial."""
        self.cancelled.append(request_id)
        self.trials = collections.deque(each for each in self.trials if each[0] != request_id)

    def close(self) -> None:
        """Forget all."""
        self.trials.clear()
