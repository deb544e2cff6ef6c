"""Where the system starts no process, no trial is lost: the executor pauses and tries again."""

from __future__ import annotations

import errno
import os
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from harness.columns import TrialStatus
from harness.errors import InputError, WorkerError
from harness.study.execution import prewarmed_server, spawn_launcher
from harness.study.execution.launcher import (
    LauncherMessage,
    MessageQueue,
    NotStarted,
    ProcessExit,
    ServerGone,
)
from harness.study.execution.local_executor import (
    LocalExecutor,
    ProcessLayer,
    start_local_executor,
)
from harness.study.execution.prewarmed_server import HAS_FORK_SERVER, NoProcessError
from harness.study.execution.worker_messages import (
    Event,
    ProcessEnded,
    TrialOutcome,
    TrialRequest,
    TrialStarted,
)
from tests.small import FAULTY
from tests.study.requests import KINDS_OF_A_TRIAL, events_of, kinds_of, request_of, submit
from tests.tally import Tally

FAILING_FORKS = str(Path(__file__).parents[1] / "failing_forks.py")
PROMISE = "no attempt of the trial: tried again after a pause"


class Waiting:
    """A queue and a clock: whoever waits for a message moves the clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.left: list[tuple[int, LauncherMessage]] = []

    def monotonic(self) -> float:
        """The time."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Move the clock."""
        self.now_s += seconds

    def put(self, item: tuple[int, LauncherMessage]) -> None:
        """Put a message."""
        self.left.append(item)

    def get(self, *, timeout: float) -> tuple[int, LauncherMessage]:
        """The next message; where there is none, time passes."""
        if self.left:
            return self.left.pop(0)
        self.now_s += timeout
        raise queue.Empty


class Starts:
    """A launcher that starts nothing before `works_at`; then a trial ends as soon as it starts."""

    def __init__(self, waiting: Waiting, works_at: float) -> None:
        self.waiting, self.works_at = waiting, works_at
        self.tries: list[tuple[float, int]] = []
        self.killed: list[int] = []

    def start(self, request: TrialRequest) -> None:
        """Try to start one."""
        number = request.request_id
        self.tries.append((self.waiting.now_s, number))
        if self.waiting.now_s < self.works_at:
            self.waiting.put((number, NotStarted("no memory")))
            return
        for message in (TrialStarted(), TrialOutcome(TrialStatus.COMPLETE), ProcessExit(0)):
            self.waiting.put((number, message))

    def kill(self, request_id: int) -> None:
        """Note it."""
        self.killed.append(request_id)

    def close(self) -> None:
        """Do nothing."""


def executor_of(works_at: float, said: list[str]) -> tuple[LocalExecutor, Starts]:
    """An executor of four workers over such a launcher."""
    waiting = Waiting()
    launcher = Starts(waiting, works_at)
    return LocalExecutor(
        4, ProcessLayer(lambda _: launcher, waiting, waiting), said.append
    ), launcher


def test_pauses_grow_and_one_is_tried_at_a_time() -> None:
    """After a failed start the pauses grow; one request is tried, and the others wait for it."""
    said: list[str] = []
    executor, launcher = executor_of(3.0, said)
    numbers = [submit(executor) for _ in range(4)]
    events = events_of(executor, *numbers, timeout_s=700)
    for number in numbers:
        own = [event for event in events if event.request_id == number]
        assert kinds_of(own) == [TrialOutcome, ProcessEnded]
    first = [number for now, number in launcher.tries if now == 0]
    assert first == numbers
    later = [now for now, _ in launcher.tries if now > 0]
    assert later[:6] == pytest.approx([0.1, 0.3, 0.8, 1.8, 3.8, 3.8])
    assert said == [
        "the system starts no process (no memory): waiting, 600 s at most",
        "the system starts processes again",
    ]


def test_what_is_submitted_meanwhile_waits_too() -> None:
    """A request that comes during a pause is started after the one that is tried."""
    executor, launcher = executor_of(0.25, [])
    first = submit(executor)
    assert executor.next_event(0.0) is None
    second = submit(executor)
    events_of(executor, first, second, timeout_s=700)
    assert launcher.tries == [
        (0.0, first),
        (pytest.approx(0.1), first),
        (pytest.approx(0.3), first),
        (pytest.approx(0.3), second),
    ]


def test_gives_up_after_ten_minutes() -> None:
    """If it lasts, the study ends with one line that says what to do."""
    executor, launcher = executor_of(1e9, [])
    submit(executor)
    with pytest.raises(WorkerError, match=r"no process for 5\d\d s \(no memory\); run the same"):
        executor.next_event(None)
    assert len(launcher.tries) < 40


def test_cancelled_while_it_waits() -> None:
    """A request that is cancelled during a pause is never started."""
    executor, launcher = executor_of(0.2, [])
    first, second = submit(executor), submit(executor)
    assert executor.next_event(0.05) is None
    executor.cancel(first)
    events_of(executor, second, timeout_s=700)
    assert {number for now, number in launcher.tries if now > 0} == {second}
    assert launcher.killed == []


def test_process_that_says_nothing_is_killed() -> None:
    """A process that has not started its trial within two minutes is killed."""
    executor, launcher = executor_of(0.0, [])
    launcher.start = lambda request: None  # type: ignore[method-assign]
    number = submit(executor)
    assert executor.next_event(150.0) is None
    assert launcher.killed == [number]


def test_fork_server_that_is_not_started_is_tried_again() -> None:
    """A fork server for which there is no process is started after a pause."""
    waiting = Waiting()
    tries: list[float] = []

    def launch(_: MessageQueue) -> Starts:
        tries.append(waiting.now_s)
        if len(tries) < 4:
            raise NoProcessError("no memory")
        return Starts(waiting, 0.0)

    LocalExecutor(1, ProcessLayer(launch, waiting, waiting))
    assert tries == pytest.approx([0.0, 0.1, 0.3, 0.8])


def test_what_had_not_started_is_no_attempt_when_the_server_dies() -> None:
    """A request that a fork server had not started when it died is started by the next one."""
    waiting = Waiting()
    launchers: list[Starts] = []

    def launch(_: MessageQueue) -> Starts:
        launchers.append(Starts(waiting, 0.0))
        return launchers[-1]

    executor = LocalExecutor(1, ProcessLayer(launch, waiting, waiting))
    launchers[0].start = lambda request: None  # type: ignore[method-assign]
    number = submit(executor)
    waiting.put((0, ServerGone(launchers[0], "killed")))
    assert kinds_of(events_of(executor, number)) == [TrialOutcome, ProcessEnded]
    assert [each for _, each in launchers[1].tries] == [number]


@pytest.mark.skipif(not HAS_FORK_SERVER, reason="no fork server on this system")
def test_no_thread_for_the_fork_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system starts no thread at first, the fork server is started after a pause."""
    start, n_tries = threading.Thread.start, 0

    def refuse_once(thread: threading.Thread) -> None:
        nonlocal n_tries
        n_tries += 1
        if n_tries == 1:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_once)
    executor = start_local_executor(1, (FAULTY,), spawn=False)
    assert kinds_of(events_of(executor, submit(executor))) == KINDS_OF_A_TRIAL
    executor.close()


@pytest.mark.skipif(not HAS_FORK_SERVER, reason="no fork server on this system")
def test_a_plug_in_that_cannot_be_imported_any_more(tmp_path: Path) -> None:
    """A plug-in that was broken by an edit ends the study with one line and exit code 2."""
    broken = tmp_path / "broken.py"
    broken.write_text("def broken(:\n")
    with pytest.raises(
        InputError, match=r"--plugin: expected .*SyntaxError.*undo the edit"
    ) as error:
        start_local_executor(1, (str(broken),), spawn=False)
    assert error.value.exit_code == 2


@pytest.mark.skipif(not HAS_FORK_SERVER, reason="no fork server on this system")
@pytest.mark.fault
def test_forks_that_fail_cost_no_attempt(monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:
    """While the fork server cannot fork for a second, every trial waits and then runs."""
    monkeypatch.setenv("FORKS_FAIL_FOR_S", "1")
    said: list[str] = []
    executor = start_local_executor(2, (FAULTY, FAILING_FORKS), spawn=False, notify=said.append)
    numbers = [executor.new_id() for _ in range(3)]
    for number in numbers:
        executor.submit(request_of(number))
    events = events_of(executor, *numbers)
    executor.close()
    lost = sum(kinds_of(own_events(events, number)) != KINDS_OF_A_TRIAL for number in numbers)
    tally.add("no process can be forked for a second", PROMISE, injected=3, lost=lost)
    assert lost == 0
    assert said[0].startswith("the system starts no process (Resource temporarily unavailable)")


@pytest.mark.nightly
@pytest.mark.fault
def test_spawns_that_fail_cost_no_attempt(monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:
    """While no process can be spawned, the trial waits and then runs."""
    popen, n_tries = subprocess.Popen, 0

    def refuse_three(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        nonlocal n_tries
        n_tries += 1
        if n_tries <= 3:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return popen(*arguments, **options)

    monkeypatch.setattr(spawn_launcher.subprocess, "Popen", refuse_three)  # type: ignore[attr-defined]
    executor = start_local_executor(1, (FAULTY,), spawn=True)
    events = events_of(executor, submit(executor))
    executor.close()
    lost = int(kinds_of(events) != KINDS_OF_A_TRIAL)
    tally.add("no process can be spawned, three times", PROMISE, lost=lost, injected=3)
    assert (lost, n_tries > 3) == (0, True)


def test_no_server_early_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no fork server can be started before the study, the executor starts it later."""

    def refuse(*_: Any, **__: Any) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(prewarmed_server.subprocess, "Popen", refuse)  # type: ignore[attr-defined]
    with prewarmed_server.start_prewarmed_server() as server:
        assert server is None


def own_events(events: list[Event], number: int) -> list[Event]:
    """The events of one trial."""
    return [event for event in events if event.request_id == number]
