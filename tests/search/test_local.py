"""The executor of this machine, with its fork server and with spawned workers: both keep the same promises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import cast

import psutil
import pytest

from harness.errors import WorkerError
from harness.plugins import load_plugins
from harness.search import local
from harness.search.local import ForkLauncher, LocalExecutor
from harness.search.messages import End, TrialRequest
from harness.training import Training
from tests.search.requests import config_of, events_of, run_one, submit
from tests.small import FAULTY, survivors

needs_fork = pytest.mark.skipif(not local.HAS_FORK_SERVER, reason="no fork server on this system")
FORMS = [pytest.param("fork", marks=needs_fork), "spawn"]


@pytest.fixture(scope="module", params=FORMS)
def executor(request: pytest.FixtureRequest) -> Iterator[LocalExecutor]:
    """An executor that several tests use one after the other, so that what one leaves behind, the next may find."""
    made = LocalExecutor(1, (FAULTY,), spawn=request.param == "spawn")
    yield made
    made.close()


@pytest.fixture(scope="module")
def forking() -> Iterator[LocalExecutor]:
    """An executor with a fork server and two workers, again for several tests."""
    if not local.HAS_FORK_SERVER:
        pytest.skip("no fork server on this system")
    made = LocalExecutor(2, (FAULTY,), spawn=False)
    yield made
    made.close()


# ---------------------------------------------------------------------------------------- both forms


def test_trains(executor: LocalExecutor) -> None:
    """A trial reports each evaluation, then its outcome, then the end of its process: what training here gives."""
    load_plugins([FAULTY])
    *evaluations, outcome, ended = run_one(executor)
    assert [event.kind for event in evaluations] == ["evaluation"] * 3
    assert outcome.kind == "outcome"
    assert outcome.data["end"] == End.COMPLETE
    assert ended.kind == "ended"
    here = list(Training(config_of("faulty", fault="none")).evaluations())
    for event, expected in zip(evaluations, here, strict=True):
        assert event.data["loss"] == expected.loss
        assert event.data["sequences_seen"] == expected.sequences_seen


def test_raises(executor: LocalExecutor) -> None:
    """A trial that raises has an outcome with the first line as its reason, and the traceback."""
    outcome, _ = run_one(executor, "raise")
    assert outcome.data["end"] == End.ERROR
    assert outcome.data["reason"] == "RuntimeError: no such luck"
    assert "faulty.py" in outcome.data["traceback"]


def test_killed(executor: LocalExecutor) -> None:
    """A trial that a signal ends has no outcome; its end names the signal."""
    (ended,) = run_one(executor, "kill")
    assert ended.data == {"end": End.CRASHED, "how": "killed by SIGKILL"}


def test_cancelled(executor: LocalExecutor) -> None:
    """A cancelled trial is killed and not heard of again, and the next one runs."""
    number = submit(executor, "hang")
    time.sleep(0.3)
    executor.cancel(number)
    events = run_one(executor)
    assert {event.request_id for event in events} == {events[-1].request_id} != {number}


def test_late_events_of_the_cancelled(executor: LocalExecutor) -> None:
    """What a trial sent before it was cancelled is dropped."""
    number = submit(executor)
    deadline = time.monotonic() + 30
    while executor.events.empty() and time.monotonic() < deadline:
        time.sleep(0.01)
    executor.cancel(number)
    assert executor.next_event(0.3) is None


def test_waits_no_longer_than_it_is_told(executor: LocalExecutor) -> None:
    """Where nothing happens, the wait ends with nothing."""
    start = time.monotonic()
    assert executor.next_event(0.05) is None
    assert 0.04 < time.monotonic() - start < 5.0


@pytest.mark.parametrize("form", FORMS)
def test_close_kills(form: str) -> None:
    """Closing kills what runs and waits for nobody; no process is left."""
    before = set(psutil.Process().children(recursive=True))
    executor = LocalExecutor(2, (FAULTY,), spawn=form == "spawn")
    submit(executor, "hang")
    submit(executor, "hang")
    started = set(psutil.Process().children(recursive=True)) - before
    assert len(started) >= 1
    start = time.monotonic()
    executor.close()
    assert time.monotonic() - start < 5.0
    assert survivors([*started]) == []


@pytest.mark.parametrize("form", FORMS)
def test_orphans(form: str) -> None:
    """When the coordinator is killed, the processes it started are gone soon, though their trials hang."""
    code = (
        "import sys, time\n"
        "from harness.search.local import LocalExecutor\n"
        "from tests.search.requests import submit\n"
        f"executor = LocalExecutor(2, ({FAULTY!r},), spawn={form == 'spawn'})\n"
        "submit(executor, 'hang')\n"
        "submit(executor)\n"
        "while executor.next_event(None).kind != 'ended': pass\n"
        "print('running', flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 2
        process.kill()
    assert survivors(started) == []


# ------------------------------------------------------------------------------------- the fork server


def test_many_at_once(forking: LocalExecutor) -> None:
    """Trials run side by side, each heard in full, and numbers are never used twice."""
    numbers = [submit(forking) for _ in range(8)]
    assert len(set(numbers)) == 8
    events = events_of(forking, *numbers)
    for number in numbers:
        kinds = [event.kind for event in events if event.request_id == number]
        assert kinds == ["evaluation"] * 3 + ["outcome", "ended"]


@pytest.mark.parametrize(
    ("fault", "how"),
    [("segfault", "killed by SIGSEGV"), ("exit", "exit code 7 without a result")],
)
def test_crashes(forking: LocalExecutor, fault: str, how: str) -> None:
    """A crash is named by its signal or exit code and costs that trial alone: one beside it trains on."""
    other = submit(forking)
    crashed = submit(forking, fault)
    events = events_of(forking, other, crashed)
    (ended,) = [event for event in events if event.request_id == crashed]
    assert ended.data == {"end": End.CRASHED, "how": how}
    assert [event.kind for event in events if event.request_id == other].count("evaluation") == 3


def test_memory_limit(forking: LocalExecutor) -> None:
    """A trial that allocates more than its limit is out of memory; one that allocates as much without a limit is not."""
    outcome, _ = run_one(forking, "memory", memory_bytes=2**28)
    assert outcome.data["end"] == End.OUT_OF_MEMORY
    assert [event.kind for event in run_one(forking, "memory")][-2:] == ["outcome", "ended"]


def test_limit_above_what_is_held(forking: LocalExecutor) -> None:
    """The limit counts what a trial allocates by itself: torch, which is loaded already, is not held against it."""
    *_, outcome, _ = run_one(forking, memory_bytes=2**26)
    assert outcome.data["end"] == End.COMPLETE


def test_killed_for_lack_of_memory(forking: LocalExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SIGKILL while the kernel counts a further kill for lack of memory is out of memory, and no crash."""
    monkeypatch.setattr(local, "_out_of_memory_kills", lambda: forking.out_of_memory_kills + 1)
    (ended,) = run_one(forking, "kill")
    assert ended.data["end"] == End.OUT_OF_MEMORY


def test_process_of_a_trial_holds_the_line(
    forking: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that crashes and leaves a process of its own behind is named all the same, and others run on."""
    monkeypatch.setattr(local, "LAST_WORDS_S", 0.2)
    (ended,) = run_one(forking, "fork_and_crash")
    assert ended.data["how"] == "exit code 7 without a result"
    assert len(run_one(forking)) == 5


@needs_fork
def test_server_dies() -> None:
    """When the fork server is killed, its children die with it and the coordinator hears of it."""
    forking = LocalExecutor(1, (FAULTY,), spawn=False)
    server = psutil.Process(cast("ForkLauncher", forking.launcher).server.pid)
    submit(forking, "hang")
    deadline = time.monotonic() + 10
    while not server.children() and time.monotonic() < deadline:
        time.sleep(0.01)
    children = server.children()
    assert len(children) == 1
    server.kill()
    with pytest.raises(WorkerError, match="fork server is gone"):
        forking.next_event(10.0)
    forking.close()
    if sys.platform == "linux":
        assert survivors(children) == []


def test_server_does_not_hear_ctrl_c(forking: LocalExecutor) -> None:
    """SIGINT to the fork server stops nothing: Ctrl-C is the coordinator's to hear."""
    cast("ForkLauncher", forking.launcher).server.send_signal(signal.SIGINT)
    assert len(run_one(forking)) == 5


@needs_fork
def test_server_that_cannot_start() -> None:
    """Where the fork server cannot start, the error ends with its last words."""
    with pytest.raises(WorkerError, match=r"no worker can be started: .*no_such_plugin"):
        LocalExecutor(1, ("no_such_plugin",), spawn=False)


def test_children_are_reaped(forking: LocalExecutor) -> None:
    """No zombie stays behind a finished trial."""
    for _ in range(3):
        run_one(forking)
    server = psutil.Process(cast("ForkLauncher", forking.launcher).server.pid)
    assert server.children() == []


def test_descriptors_are_given_back(forking: LocalExecutor) -> None:
    """Trial after trial, neither the coordinator nor the fork server holds more open files."""
    server = psutil.Process(cast("ForkLauncher", forking.launcher).server.pid)
    run_one(forking)
    before = psutil.Process().num_fds(), server.num_fds()
    for _ in range(5):
        run_one(forking)
    time.sleep(0.1)
    assert (psutil.Process().num_fds(), server.num_fds()) == before


def test_same_settings_for_each(forking: LocalExecutor) -> None:
    """A child computes with one thread and flushes denormals, as the fork server was told to."""
    number = forking.new_id()
    config = config_of("faulty", fault="settings").to_dict()
    forking.submit(TrialRequest(number, config, (FAULTY,)))
    outcome, _ = events_of(forking, number)
    assert outcome.data["reason"] == "ValueError: 1 threads, 1e-310 * 1 = 0.0"
