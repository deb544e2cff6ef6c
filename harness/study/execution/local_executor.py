"""Runs trials on this machine, each in its own process: forked from a server, or else spawned."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import math
import queue
import signal
import time
from collections.abc import Callable, Sequence

from harness.columns import TrialStatus
from harness.errors import WorkerError
from harness.study.backoff import Backoff, Clock
from harness.study.execution.fork_launcher import ForkLauncher
from harness.study.execution.kernel_kills import KernelKills, count_kills
from harness.study.execution.launcher import (
    Launcher,
    LauncherMessage,
    MessageQueue,
    NotStarted,
    ProcessExit,
    ServerGone,
    new_queue,
)
from harness.study.execution.prewarmed_server import (
    HAS_FORK_SERVER,
    START_TIMEOUT_S,
    KilledError,
    NoProcessError,
    ServerProcess,
)
from harness.study.execution.spawn_launcher import SpawnLauncher
from harness.study.execution.worker_messages import (
    Event,
    ProcessEnded,
    TrialRequest,
    TrialStarted,
)

POLL_S = 1.0  # on Windows a longer wait would delay Ctrl-C
MOST_RESTARTS = 5  # of the fork server, without any trial that ended meanwhile


@dataclasses.dataclass(frozen=True)
class ProcessLayer:
    """What starts processes and waits for them: the system, or a simulation of it.

    `launch` returns a launcher that is ready. It raises KilledError where a signal ended the
    launcher's own process, NoProcessError where the system starts none.
    """

    launch: Callable[[MessageQueue], Launcher]
    messages: MessageQueue = dataclasses.field(default_factory=new_queue)
    clock: Clock = time
    count_kernel_kills: Callable[[], int] = count_kills


class LocalExecutor:
    """Trials as processes of this machine. `start_local_executor` makes one.

    A process that the system does not start is tried again after growing pauses, and so are all
    requests that come meanwhile. `notify` gets a line about it. Raises WorkerError where the system
    starts none for ten minutes.
    """

    def __init__(
        self, num_workers: int, layer: ProcessLayer, notify: Callable[[str], None] = lambda _: None
    ) -> None:
        self.num_workers, self.layer, self.notify = num_workers, layer, notify
        self.clock, self.messages = layer.clock, layer.messages
        self.ids = itertools.count(1)
        self.in_flight: dict[int, TrialRequest] = {}
        self.start_deadlines: dict[int, float] = {}
        self.held: collections.deque[TrialRequest] = collections.deque()
        self.backoff: Backoff | None = None
        self.retry_at = math.inf
        self.kernel_kills = KernelKills(layer.count_kernel_kills, layer.clock)
        self.n_restarts = 0
        self.launcher = self._launch()

    def new_id(self) -> int:
        """An id that no request had, so that late events of an earlier phase are ignored."""
        return next(self.ids)

    def submit(self, request: TrialRequest) -> None:
        """Start a trial; `next_event` returns its events."""
        self.in_flight[request.request_id] = request
        if self.backoff is None:
            self._start(request)
        else:
            self.held.append(request)

    def next_event(self, timeout_s: float | None) -> Event | None:
        """The next event of a trial that was not cancelled; None after `timeout_s` seconds."""
        until = math.inf if timeout_s is None else self.clock.monotonic() + timeout_s
        while True:
            now = self.clock.monotonic()
            wait_s = max(0.0, min(until - now, self.retry_at - now, POLL_S))
            try:
                request_id, message = self.messages.get(timeout=wait_s)
            except queue.Empty:
                self._kill_slow_starts()
                self._retry()
                if self.clock.monotonic() >= until:
                    return None
                continue
            event = self._event(request_id, message)
            if event is not None:
                return event

    def cancel(self, request_id: int) -> None:
        """Kill a trial; none of its events is returned from now on."""
        request = self.in_flight.pop(request_id, None)
        if request is not None and request in self.held:
            self.held.remove(request)
        else:
            self.launcher.kill(request_id)

    def close(self) -> None:
        """Kill what runs."""
        self.launcher.close()

    def _start(self, request: TrialRequest) -> None:
        self.start_deadlines[request.request_id] = self.clock.monotonic() + START_TIMEOUT_S
        self.launcher.start(request)

    def _event(self, request_id: int, message: LauncherMessage) -> Event | None:
        """What the coordinator gets of a message, or None."""
        if isinstance(message, ServerGone):
            self._restart(message)
            return None
        if isinstance(message, NotStarted):
            self._not_started(request_id, message.reason)
            return None
        if isinstance(message, TrialStarted | ProcessExit):
            self._has_started(request_id)
        if isinstance(message, ProcessExit):
            self.n_restarts = 0  # it was not lost with the fork server
        if request_id not in self.in_flight:
            return None
        heard = self._ended(message.code) if isinstance(message, ProcessExit) else message
        if isinstance(heard, ProcessEnded):
            del self.in_flight[request_id]
        return Event(request_id, heard)

    def _has_started(self, request_id: int) -> None:
        """The system has started a process: all requests that were held are started."""
        self.start_deadlines.pop(request_id, None)
        if self.backoff is None:
            return
        self.notify("the system starts processes again")
        self.backoff, self.retry_at = None, math.inf
        while self.held and self.backoff is None:
            self._start(self.held.popleft())

    def _not_started(self, request_id: int, reason: str) -> None:
        """Hold a request back until a pause is over."""
        self.start_deadlines.pop(request_id, None)
        request = self.in_flight.get(request_id)
        if request is not None:
            self.held.appendleft(request)
        now = self.clock.monotonic()
        if self.backoff is not None and now < self.retry_at < math.inf:
            return  # one of several that were asked for at the same time
        self.backoff = self.backoff or Backoff(now)
        self.retry_at = now + self._pause_s(self.backoff, reason)

    def _retry(self) -> None:
        """After a pause, start one of the requests that were held."""
        if self.clock.monotonic() < self.retry_at:
            return
        self.retry_at = math.inf
        if self.held:
            self._start(self.held.popleft())
        else:  # all were cancelled
            self.backoff = None

    def _pause_s(self, backoff: Backoff, reason: str) -> float:
        """Seconds until the next try. Raises WorkerError after the last one."""
        now = self.clock.monotonic()
        pause_s = backoff.next_pause_s(now)
        if pause_s is None:
            raise WorkerError(
                f"the system has started no process for {now - backoff.begin:.0f} s ({reason}); run the same "
                "command again when it does: what was finished is kept"
            )
        if backoff.is_announced:
            self.notify(
                f"the system starts no process ({reason}): waiting, {backoff.left_s(now):.0f} s at most"
            )
        return pause_s

    def _kill_slow_starts(self) -> None:
        """Kill each process that has said nothing for START_TIMEOUT_S: its trial has crashed."""
        now = self.clock.monotonic()
        for request_id in [key for key, late in self.start_deadlines.items() if now >= late]:
            del self.start_deadlines[request_id]
            self.launcher.kill(request_id)

    def _restart(self, gone: ServerGone) -> None:
        """Start a new fork server in place of one that is gone. Its trials have crashed.

        Those that had not started yet are no attempt: the new server starts them.
        """
        if gone.launcher is not self.launcher:
            return  # each thread that finds it gone says so
        self.n_restarts += 1
        if self.n_restarts > MOST_RESTARTS:
            raise WorkerError(f"{gone.reason}, {self.n_restarts} times in a row")
        self.launcher.close()
        waiting = sorted(self.start_deadlines.keys() & self.in_flight.keys())
        idle = {*waiting, *(request.request_id for request in self.held)}
        for request_id in sorted(self.in_flight.keys() - idle):
            self.messages.put((request_id, ProcessEnded(TrialStatus.CRASHED, gone.reason)))
        self.start_deadlines.clear()
        self.launcher = self._launch()
        if self.backoff is not None:
            self.retry_at = self.clock.monotonic()
        for request_id in waiting:
            self._start(self.in_flight[request_id])

    def _launch(self) -> Launcher:
        """A launcher that is ready. One that is killed before, or not started, is tried again."""
        backoff: Backoff | None = None
        while True:
            try:
                return self.layer.launch(self.messages)
            except KilledError:
                self.n_restarts += 1
                if self.n_restarts > MOST_RESTARTS:
                    raise
            except NoProcessError as error:
                backoff = backoff or Backoff(self.clock.monotonic())
                self.clock.sleep(self._pause_s(backoff, error.reason))

    def _ended(self, code: int) -> ProcessEnded:
        """How a process ended: by a signal, killed for lack of memory, or with an exit code."""
        if code == -9 and self.kernel_kills.explain_one():
            how = "killed by the system, which had no memory left"
            return ProcessEnded(TrialStatus.OUT_OF_MEMORY, how)
        how = f"exit code {code} without a result"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = f"killed by {signal.Signals(-code).name}"
        return ProcessEnded(TrialStatus.CRASHED, how)


def start_local_executor(
    num_workers: int,
    plugins: Sequence[str] = (),
    *,
    spawn: bool | None = None,
    standby: ServerProcess | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> LocalExecutor:
    """An executor whose processes are forked, or spawned where `spawn`, or where none can fork.

    `standby` is a fork server that loads torch already.
    """
    if not HAS_FORK_SERVER if spawn is None else spawn:
        layer = ProcessLayer(lambda messages: SpawnLauncher(messages, num_workers))
    else:
        ready = [] if standby is None else [standby]

        def fork(messages: MessageQueue) -> Launcher:
            return ForkLauncher(messages, plugins, ready.pop() if ready else ServerProcess())

        layer = ProcessLayer(fork)
    return LocalExecutor(num_workers, layer, notify)
