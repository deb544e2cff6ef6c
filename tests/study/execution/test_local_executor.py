"""The executor of this machine, with its fork server and with spawned workers.

Both keep the same promises.
"""

from __future__ import annotations

import dataclasses
import os
import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import psutil
import pytest
import torch

from harness.columns import TrialStatus
from harness.plugins import load_plugins
from harness.study.execution import prewarmed_server
from harness.study.execution.local_executor import LocalExecutor, start_local_executor
from harness.study.execution.worker_messages import ProcessEnded, TrialRequest
from harness.training.training_loop import Evaluation, Training
from tests.small import FAULTY, survivors
from tests.study.requests import (
    KINDS_OF_A_TRIAL,
    config_of,
    events_of,
    kinds_of,
    outcome_in,
    request_of,
    run_one,
    submit,
)
from tests.tally import Tally

needs_fork = pytest.mark.skipif(
    not prewarmed_server.HAS_FORK_SERVER,
    reason="no fork server on this system",
)
HELPERS = str(Path(__file__).parents[1] / "helpers.py")
FORMS = [
    pytest.param("fork", marks=needs_fork),
    # every day where there is no other form
    pytest.param("spawn", marks=pytest.mark.nightly if prewarmed_server.HAS_FORK_SERVER else ()),
]


@pytest.fixture(scope="module", params=FORMS)
def executor(request: pytest.FixtureRequest) -> Iterator[LocalExecutor]:
    """An executor that several tests use, one after the other."""
    made = start_local_executor(1, (FAULTY,), spawn=request.param == "spawn")
    yield made
    made.close()


def test_trains(executor: LocalExecutor) -> None:
    """A trial reports each evaluation, then its outcome, then the end of its process.

    What training here gives.
    """
    load_plugins([FAULTY])
    *evaluations, outcome, ended = run_one(executor)
    assert kinds_of([*evaluations, outcome, ended]) == KINDS_OF_A_TRIAL
    assert outcome_in(outcome).end is TrialStatus.COMPLETE
    here = list(Training(config_of("faulty", fault="none")).evaluations())
    for event, expected in zip(evaluations, here, strict=True):
        assert isinstance(event.message, Evaluation)
        assert dataclasses.replace(event.message, train_time_s=expected.train_time_s) == expected


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA is not available")
def test_trains_on_cuda(executor: LocalExecutor) -> None:
    """A forked process can use a card, and so can the next one."""
    for _ in range(2):
        request = request_of(executor.new_id())
        config = dataclasses.replace(request.config, device="cuda:0")
        executor.submit(dataclasses.replace(request, config=config))
        *_, outcome, _ = events_of(executor, request.request_id)
        assert outcome_in(outcome).end is TrialStatus.COMPLETE


def test_raises(executor: LocalExecutor) -> None:
    """A trial that raises has an outcome with the first line as its reason, and the traceback."""
    outcome, _ = run_one(executor, "raise")
    assert outcome_in(outcome).end is TrialStatus.ERROR
    assert outcome_in(outcome).reason == "RuntimeError: no such luck"
    assert "faulty.py" in outcome_in(outcome).traceback


def test_killed(executor: LocalExecutor) -> None:
    """A trial that a signal ends has no outcome; its end names the signal."""
    (ended,) = run_one(executor, "kill")
    assert ended.message == ProcessEnded(TrialStatus.CRASHED, "killed by SIGKILL")


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
    while (
        cast("queue.SimpleQueue[object]", executor.messages).empty() and time.monotonic() < deadline
    ):
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
    executor = start_local_executor(2, (FAULTY,), spawn=form == "spawn")
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
    """If the coordinator is killed, its processes end soon, even if their trials hang."""
    code = (
        "import sys, time\n"
        "from harness.study.execution.local_executor import start_local_executor\n"
        "from harness.study.execution.worker_messages import ProcessEnded\n"
        "from tests.study.requests import submit\n"
        f"executor = start_local_executor(2, ({FAULTY!r},), spawn={form == 'spawn'})\n"
        "submit(executor, 'hang')\n"
        "submit(executor)\n"
        "while not isinstance(executor.next_event(None).message, ProcessEnded): pass\n"
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


@pytest.mark.parametrize("form", FORMS)
def test_processes_of_a_cancelled_trial_end(form: str) -> None:
    """What a trial has started is killed with it, also a process in a session of its own."""
    executor = start_local_executor(1, (FAULTY,), spawn=form == "spawn")
    number = submit(executor, "start_processes_and_hang")
    started = wait_for_sleepers(os.getpid())
    executor.cancel(number)
    left = survivors(started)
    executor.close()
    survivors_of_spawn = 1 if form == "spawn" else 0  # the one in a session of its own
    assert len(left) == survivors_of_spawn
    for each in left:
        each.kill()


@needs_fork
def test_processes_of_a_finished_trial_end() -> None:
    """What a trial has started and left behind is killed when the trial has ended."""
    executor = start_local_executor(1, (FAULTY,), spawn=False)
    outcome, _ = run_one(executor, "start_processes")
    executor.close()
    numbers = outcome_in(outcome).reason.removeprefix("RuntimeError: ").split()
    assert [number for number in numbers if psutil.pid_exists(int(number))] == []


@pytest.mark.fault
@pytest.mark.parametrize("killed", ["coordinator", "server"])
@needs_fork
def test_processes_of_a_trial_die_with_the_study(killed: str, tally: Tally) -> None:
    """SIGKILL of the coordinator or of the fork server leaves no process that a trial started.

    One in a session of its own outlives a fork server that is killed.
    """
    code = (
        "import time\n"
        "from harness.study.execution.local_executor import start_local_executor\n"
        "from tests.study.requests import submit\n"
        f"executor = start_local_executor(1, ({FAULTY!r},), spawn=False)\n"
        "submit(executor, 'start_processes_and_hang')\n"
        "while True: executor.next_event(0.1)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        started = wait_for_sleepers(process.pid)
        (server,) = psutil.Process(process.pid).children()
        expected = 0
        if killed == "coordinator":
            process.kill()
        else:
            server.kill()
            expected = 1
        left = survivors(started, 5.0)
        process.kill()
    for each in left:
        each.kill()
    fault = f"SIGKILL of the {killed} while a trial's own processes run"
    tally.add(fault, "they end too", injected=2 - expected, lost=max(0, len(left) - expected))
    assert len(left) <= expected


def wait_for_sleepers(pid: int) -> list[psutil.Process]:
    """The two processes that `start_processes` starts below this process."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        below = psutil.Process(pid).children(recursive=True)
        found = [each for each in below if "-S" in each.cmdline()]
        if len(found) == 2:
            return found
        time.sleep(0.02)
    raise AssertionError("the trial started no processes")


@pytest.mark.fault
@needs_fork
def test_server_that_imports_a_plug_in_dies_with_the_study(tmp_path: Path, tally: Tally) -> None:
    """SIGKILL of the coordinator while the fork server imports a plug-in ends the server."""
    slow = tmp_path / "slow.py"
    slow.write_text("import time\nprint('importing', flush=True)\ntime.sleep(600)\n")
    code = (
        "from harness.study.execution.prewarmed_server import ServerProcess\n"
        "server = ServerProcess()\n"
        "print(server.process.pid, flush=True)\n"
        f"server.make_ready([{str(slow)!r}])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        server = psutil.Process(int(process.stdout.readline()))
        log = Path(f"/proc/{server.pid}/fd/1")
        deadline = time.monotonic() + 60
        while "importing" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    left = survivors([server])
    fault = "SIGKILL of the coordinator while the fork server imports a plug-in"
    tally.add(fault, "the server ends too", lost=len(left))
    assert left == []


@needs_fork
def test_helper_processes_live_as_long_as_they_are_needed() -> None:
    """The end of a trial kills no helper of another trial, nor one that a plug-in's import started.

    Both helpers are looked for at each step of training.
    """
    executor = start_local_executor(2, (HELPERS,), spawn=False)
    numbers = []
    for pause_s in (0.0, 0.5, 0.0):
        request = TrialRequest(executor.new_id(), config_of("helped", pause_s=pause_s), (HELPERS,))
        executor.submit(request)
        numbers.append(request.request_id)
    events = events_of(executor, *numbers)
    executor.close()
    for number in numbers:
        own = [event for event in events if event.request_id == number]
        assert kinds_of(own) == KINDS_OF_A_TRIAL
        assert outcome_in(own[-2]).reason == ""


@needs_fork
def test_a_request_longer_than_a_socket_holds() -> None:
    """A request of a megabyte is read; nothing waits for ever."""
    executor = start_local_executor(1, (FAULTY,), spawn=False)
    config = config_of("faulty", fault="x" * 1_000_000)
    executor.submit(TrialRequest(executor.new_id(), config, (FAULTY,)))
    assert kinds_of(events_of(executor, 1)) == KINDS_OF_A_TRIAL
    executor.close()
