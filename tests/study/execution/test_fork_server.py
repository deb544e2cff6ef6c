"""The fork server runs trials side by side, each in its own child process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, cast

import psutil
import pytest
import torch

from harness.columns import TrialStatus
from harness.errors import InputError, WorkerError
from harness.study.execution import (
    fork_launcher,
    launcher,
    local_executor,
    prewarmed_server,
)
from harness.study.execution.fork_launcher import ForkLauncher
from harness.study.execution.local_executor import LocalExecutor, start_local_executor
from harness.study.execution.worker_messages import ProcessEnded, TrialRequest, TrialStarted
from tests.small import FAULTY, survivors
from tests.study.requests import (
    KINDS_OF_A_TRIAL,
    config_of,
    events_of,
    kinds_of,
    outcome_in,
    run_one,
    submit,
)

pytestmark = pytest.mark.skipif(
    not prewarmed_server.HAS_FORK_SERVER,
    reason="no fork server on this system",
)


def server_of(executor: LocalExecutor) -> psutil.Process:
    """The fork server's process."""
    return psutil.Process(cast("ForkLauncher", executor.launcher).server.process.pid)


@pytest.fixture(scope="module")
def forking() -> Iterator[LocalExecutor]:
    """An executor with a fork server and two workers, again for several tests."""
    made = start_local_executor(2, (FAULTY,), spawn=False)
    yield made
    made.close()


def test_many_at_once(forking: LocalExecutor) -> None:
    """Trials run side by side, each heard in full, and numbers are never used twice."""
    numbers = [submit(forking) for _ in range(8)]
    assert len(set(numbers)) == 8
    events = events_of(forking, *numbers)
    for number in numbers:
        own = [event for event in events if event.request_id == number]
        assert kinds_of(own) == KINDS_OF_A_TRIAL


@pytest.mark.parametrize(
    ("fault", "how"),
    [("segfault", "killed by SIGSEGV"), ("exit", "exit code 7 without a result")],
)
def test_crashes(forking: LocalExecutor, fault: str, how: str) -> None:
    """A crash is named by its signal or exit code and costs that trial alone.

    One beside it trains on.
    """
    other = submit(forking)
    crashed = submit(forking, fault)
    events = events_of(forking, other, crashed)
    (ended,) = [event for event in events if event.request_id == crashed]
    assert ended.message == ProcessEnded(TrialStatus.CRASHED, how)
    beside = [event for event in events if event.request_id == other]
    assert kinds_of(beside) == KINDS_OF_A_TRIAL


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_memory_limit(forking: LocalExecutor) -> None:
    """A trial that allocates more than its limit is out of memory.

    One that allocates as much without a limit is not.
    """
    outcome, _ = run_one(forking, "memory", memory_bytes=2**28)
    assert outcome_in(outcome).end is TrialStatus.OUT_OF_MEMORY
    assert kinds_of(run_one(forking, "memory")) == KINDS_OF_A_TRIAL


def test_limit_above_what_is_held(forking: LocalExecutor) -> None:
    """The limit counts what a trial allocates by itself.

    Torch, which is loaded already, is not held against it.
    """
    *_, outcome, _ = run_one(forking, memory_bytes=2**26)
    assert outcome_in(outcome).end is TrialStatus.COMPLETE


def test_killed_for_lack_of_memory(forking: LocalExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SIGKILL while the kernel counts another memory kill is out of memory, not a crash."""
    counted = forking.kernel_kills.counted
    monkeypatch.setattr(forking.kernel_kills, "count", lambda: counted + 1)
    gone = [run_one(forking, "kill")[0].message for _ in range(2)]
    no_memory = "killed by the system, which had no memory left"
    assert gone == [
        ProcessEnded(TrialStatus.OUT_OF_MEMORY, no_memory),
        ProcessEnded(TrialStatus.CRASHED, "killed by SIGKILL"),
    ]


def test_process_of_a_trial_holds_the_line(
    forking: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that crashes and leaves a process behind is named, and others run on."""
    monkeypatch.setattr(fork_launcher, "LAST_WORDS_S", 0.2)
    (ended,) = run_one(forking, "fork_and_crash")
    assert ended.message == ProcessEnded(TrialStatus.CRASHED, "exit code 7 without a result")
    assert len(run_one(forking)) == 5


def test_end_comes_last(forking: LocalExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process' end is told after all that it said, however slowly that is read.

    No result is taken for a crash.
    """
    forward = launcher.forward

    def read_slowly(*arguments: Any) -> None:
        time.sleep(0.5)
        forward(*arguments)

    monkeypatch.setattr(fork_launcher, "forward", read_slowly)
    assert kinds_of(run_one(forking)) == KINDS_OF_A_TRIAL


def kill_server(executor: LocalExecutor) -> list[psutil.Process]:
    """Kill the fork server once its trial has started; returns both."""
    server = server_of(executor)
    event = executor.next_event(60.0)
    assert event is not None
    assert event.message == TrialStarted()
    children = server.children()
    assert len(children) == 1
    server.kill()
    return [server, *children]


def test_server_dies() -> None:
    """If the fork server is killed, its trials have crashed and a new one runs the next."""
    forking = start_local_executor(1, (FAULTY,), spawn=False)
    number = submit(forking, "hang")
    killed = kill_server(forking)
    (ended,) = events_of(forking, number)
    how = "the fork server is gone: killed by SIGKILL"
    assert ended.message == ProcessEnded(TrialStatus.CRASHED, how)
    assert survivors(killed) == []
    assert len(run_one(forking)) == 5
    forking.close()


def test_server_that_dies_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork server that is killed so often that no trial ends is not started for ever."""
    monkeypatch.setattr(local_executor, "MOST_RESTARTS", 1)
    forking = start_local_executor(1, (FAULTY,), spawn=False)
    number = submit(forking, "hang")
    kill_server(forking)
    events_of(forking, number)
    submit(forking, "hang")
    kill_server(forking)
    with pytest.raises(WorkerError, match=r"fork server is gone: .*2 times in a row"):
        events_of(forking, number + 1)
    forking.close()


def test_server_that_is_killed_before_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork server that is killed while it loads torch is started again."""
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def start_and_kill_the_first(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        process = start(*arguments, **options)
        started.append(process)
        if len(started) == 1:
            process.kill()
        return process

    monkeypatch.setattr(prewarmed_server.subprocess, "Popen", start_and_kill_the_first)  # type: ignore[attr-defined]
    forking = start_local_executor(1, (FAULTY,), spawn=False)
    assert len(started) == 2
    assert len(run_one(forking)) == 5
    forking.close()


def test_what_plug_ins_print_takes_no_room(
    forking: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What trials print is forgotten once it is long, so that weeks of it fill no disk.

    The last words stay.
    """
    forker = cast("ForkLauncher", forking.launcher)
    os.write(forker.server.log.fileno(), b"x" * 100_000)
    monkeypatch.setattr(prewarmed_server, "LONGEST_LOG_BYTES", 50_000)
    run_one(forking)
    deadline = time.monotonic() + 10
    while os.fstat(forker.server.log.fileno()).st_size > 50_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    monkeypatch.setattr(prewarmed_server, "LONGEST_LOG_BYTES", 10**9)
    run_one(forking)
    assert os.fstat(forker.server.log.fileno()).st_blocks * 512 < 50_000
    assert forker.server.last_words() in ("a plug-in may print", "also here")


def test_server_does_not_hear_ctrl_c(forking: LocalExecutor) -> None:
    """SIGINT to the fork server stops nothing: Ctrl-C is the coordinator's to hear."""
    server_of(forking).send_signal(signal.SIGINT)
    assert len(run_one(forking)) == 5


def test_server_that_cannot_start() -> None:
    """Where the fork server cannot start, the error ends with its last words."""
    with pytest.raises(InputError, match=r"--plugin: expected .*no_such_plugin"):
        start_local_executor(1, ("no_such_plugin",), spawn=False)


def test_no_process_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system starts no further process, that is one line, not a traceback."""

    def refuse(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(prewarmed_server.subprocess, "Popen", refuse)  # type: ignore[attr-defined]
    with pytest.raises(WorkerError, match="no worker can be started: Resource temporarily"):
        prewarmed_server.ServerProcess()


def test_a_server_that_stood_by_is_used() -> None:
    """A server started early gets its plug-ins later, trains, and ends with the executor."""
    with prewarmed_server.start_prewarmed_server() as server:
        assert server is not None
        made = start_local_executor(1, (FAULTY,), spawn=False, standby=server)
        assert server_of(made).pid == server.process.pid
        assert len(run_one(made)) == 5
        made.close()
        assert server.process.poll() is not None


def test_a_server_that_was_not_needed_is_killed() -> None:
    """Where nothing came of the command, nothing stays behind."""
    with prewarmed_server.start_prewarmed_server() as server:
        assert server is not None
    assert server.process.poll() == -signal.SIGKILL


def test_a_server_ends_when_its_coordinator_does_before_a_word() -> None:
    """A server without plug-ins ends by itself when its socket closes."""
    server = prewarmed_server.ServerProcess()
    server.control.close()
    assert server.process.wait(60) == 0
    server.log.close()


def test_children_are_reaped(forking: LocalExecutor) -> None:
    """No zombie stays behind a finished trial."""
    for _ in range(3):
        run_one(forking)
    server = server_of(forking)
    assert server.children() == []


def test_descriptors_are_given_back(forking: LocalExecutor) -> None:
    """Trial after trial, neither the coordinator nor the fork server holds more open files."""
    server = server_of(forking)
    run_one(forking)
    time.sleep(0.1)
    before = psutil.Process().num_fds(), server.num_fds()
    for _ in range(5):
        run_one(forking)
    time.sleep(0.1)
    assert (psutil.Process().num_fds(), server.num_fds()) == before


def test_same_settings_for_each(forking: LocalExecutor) -> None:
    """A child computes with one thread and flushes denormals, as the fork server was told to."""
    number = forking.new_id()
    config = config_of("faulty", fault="settings")
    forking.submit(TrialRequest(number, config, (FAULTY,)))
    outcome, _ = events_of(forking, number)
    product = 0.0 if torch.set_flush_denormal(True) else 1e-310  # not every processor can
    assert outcome_in(outcome).reason == f"ValueError: 1 threads, 1e-310 * 1 = {product}"


def test_server_has_one_thread(forking: LocalExecutor) -> None:
    """The fork server has a single thread, even after trials.

    What it forks cannot wait for a lock that nobody holds.
    """
    run_one(forking)
    assert server_of(forking).num_threads() == 1
