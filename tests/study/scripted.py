"""An executor without processes.

Trials follow a script, so that what is tested is the coordinator and its storage alone.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
import math
from collections.abc import Callable, Sequence

from harness.columns import TrialStatus
from harness.study.execution.worker_messages import (
    Event,
    ProcessEnded,
    TrialMessage,
    TrialOutcome,
    TrialRequest,
    TrialStarted,
)
from harness.training.training_loop import Evaluation, TrainingConfig

Message = TrialMessage | ProcessEnded
Script = Callable[[TrainingConfig], Sequence[Message]]
"""From a trial's configuration to what comes of it."""


def evaluation(seen: int, loss: float, *, solved: bool = False) -> Evaluation:
    """An evaluation, for a task whose chance loss is ln 4."""
    finite = math.isfinite(loss)
    return Evaluation(
        sequences_seen=seen,
        loss=loss,
        skill=1 - loss / math.log(4) if finite else -1.0,
        accuracy=1.0 if solved else 0.5,
        solved=solved,
        finite=finite,
        train_time_s=0.001 * seen,
    )


def outcome(end: str = "complete", reason: str = "") -> TrialOutcome:
    """A trial's outcome."""
    return TrialOutcome(TrialStatus(end), reason)


def ended(end: str = "crashed", how: str = "killed by SIGKILL") -> ProcessEnded:
    """The end of a process."""
    return ProcessEnded(TrialStatus(end), how)


def luck(*parts: object) -> float:
    """A number in [0, 1) that hangs on the parts alone."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big") / 2**48


def learns(config: TrainingConfig) -> list[Message]:
    """A trial whose loss falls by its own luck at each evaluation."""
    messages: list[Message] = []
    loss = 1.4
    for seen in range(0, config.sequences + 1, config.evaluate_every):
        messages.append(evaluation(seen, loss))
        loss *= 0.5 + 0.5 * luck(config.seed, config.learning_rate, seen)
    return [*messages, outcome()]


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
        self.trials: collections.deque[tuple[int, collections.deque[Message]]]
        self.trials = collections.deque()
        self.most_in_flight = 0
        self.n_events = 0

    def new_id(self) -> int:
        """The next number."""
        return next(self.ids)

    def submit(self, request: TrialRequest) -> None:
        """Keep the request and its events."""
        self.requests.append(request)
        events = collections.deque([TrialStarted(), *self.script(request.config)])
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
            message = events.popleft()
            if not isinstance(message, TrialOutcome | ProcessEnded) or events:
                self.trials.append((request_id, events))
            return Event(request_id, message)
        return None

    def cancel(self, request_id: int) -> None:
        """Forget the trial."""
        self.cancelled.append(request_id)
        self.trials = collections.deque(each for each in self.trials if each[0] != request_id)

    def close(self) -> None:
        """Forget all."""
        self.trials.clear()
