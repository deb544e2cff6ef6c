"""harness.processes.worker_client: a small worker of the standard library, and how it can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from harness.processes.worker_client import WorkerClient, WorkerFailed, WorkerGone, WorkerSpec
from tests.known import known

WORKER = """
import json, os, subprocess, sys, time

if "--greet" in sys.argv:
    print(json.dumps({"hello": 1}), flush=True)
for line in sys.stdin:
    command = json.loads(line)
    answer = {"did": command["do"]}
    match command["do"]:
        case "echo":
            answer = {"got": command["value"]}
        case "fail":
            answer = {"error": "no such thing"}
        case "exit":
            print("a warning\\nlast words", file=sys.stderr)
            sys.exit(3)
        case "silent exit":
            sys.exit(7)
        case "die":
            print("last words", file=sys.stderr)
            os.kill(os.getpid(), 9)
        case "sleep":
            time.sleep(600)
        case "junk":
            print("no JSON", flush=True)
        case "child":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            answer = {"pid": child.pid}
        case "variable":
            answer = {"value": os.environ.get("A_VARIABLE")}
    print(json.dumps(answer), flush=True)
"""

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@contextmanager
def worker(*options: Any, **fields: Any) -> Iterator[Any]:
    """A client of the worker above."""
    client = WorkerClient(WorkerSpec("small", (sys.executable, "-c", WORKER, *options), **fields))
    try:
        yield client
    finally:
        client.kill()
        client.close()


def test_a_command_has_its_answer() -> None:
    """Arguments go out and come back as JSON, text of any script included."""
    with worker() as client:
        value = {"number": 1.5, "text": "Grüße 안녕", "nothing": None}
        assert client.ask("echo", value=value) == {"got": value}


def test_what_the_worker_says_first_can_be_received() -> None:
    """A greeting comes without a command."""
    with worker("--greet") as client:
        assert client.receive() == {"hello": 1}
        assert client.ask("echo", value=1) == {"got": 1}


def test_the_answer_is_that_of_the_last_command() -> None:
    """Answers to earlier commands that nobody has received are passed over."""
    with worker() as client:
        client.send("echo", value=1)
        client.send("echo", value=2)
        assert client.ask("echo", value=3) == {"got": 3}
        assert client.ask("echo", value=4) == {"got": 4}


def test_an_error_of_an_earlier_command_comes_first() -> None:
    """It is raised once, and the worker goes on."""
    with worker() as client:
        client.send("fail")
        with pytest.raises(WorkerFailed, match=r"^no such thing$") as caught:
            client.ask("echo", value=1)
        assert not isinstance(caught.value, WorkerGone)
        assert client.ask("echo", value=2) == {"got": 2}


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        ("exit", "last words"),
        ("silent exit", "ended with exit code 7"),
        pytest.param("die", "killed by signal 9", marks=posix),
    ],
)
def test_the_cause_of_death_is_named(command: str, cause: str) -> None:
    """Its signal, else the last line that it wrote, else its exit code; every time it is asked."""
    with worker() as client:
        for _ in range(2):
            with pytest.raises(WorkerGone, match=f"^{cause}$"):
                client.ask(command)


def test_an_answer_that_is_no_json_ends_the_worker() -> None:
    """What was written instead is named."""
    with worker() as client:
        with pytest.raises(WorkerGone, match=r"its answer is no JSON: b'no JSON"):
            client.ask("junk")
        assert client.process.poll() is not None


def test_an_answer_that_does_not_come_ends_the_worker() -> None:
    """After the time limit it is killed."""
    with worker() as client:
        client.send("sleep")
        started = time.monotonic()
        with pytest.raises(WorkerGone, match="no answer within 1 s"):
            client.receive(timeout_s=1)
        assert client.process.poll() is not None
        assert time.monotonic() - started < 60


def test_closing_ends_the_worker_by_its_input() -> None:
    """It leaves its loop, so its exit code is 0."""
    with worker() as client:
        client.ask("echo", value=1)
        client.close()
        assert client.process.returncode == 0


def test_closing_ends_a_worker_that_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """By force, after a while."""
    monkeypatch.setattr("harness.processes.worker_client.END_TIMEOUT_S", 0.2)
    with worker() as client:
        client.ask("echo", value=1)
        client.send("sleep")
        client.close()
        assert client.process.returncode != 0


@posix
def test_killing_ends_the_children_of_its_own_session() -> None:
    """What the worker has started does not outlive it."""
    with worker(own_session=True) as client:
        child = psutil.Process(client.ask("child")["pid"])
        client.kill()
        psutil.wait_procs([child], timeout=30)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("value", [None, "b"])
def test_the_environment_is_the_one_given(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    """Or, without one, that of this process."""
    monkeypatch.setenv("A_VARIABLE", "a")
    environment = None if value is None else {**os.environ, "A_VARIABLE": value}
    with worker(environment=environment) as client:
        assert client.ask("variable") == {"value": value or "a"}


def test_a_command_that_cannot_be_run_is_an_oserror() -> None:
    """As subprocess raises it."""
    with pytest.raises(FileNotFoundError):
        WorkerClient(WorkerSpec("none", ("/there/is/no/such/program",)))


@posix
@pytest.mark.parametrize("own_session", [False, True])
def test_a_worker_ends_when_its_parent_is_killed(own_session: bool) -> None:
    """The system closes its input, which is all that it waits for."""
    code = (
        "import sys\n"
        "from harness.processes.worker_client import WorkerClient, WorkerSpec\n"
        f"command = (sys.executable, '-c', {WORKER!r})\n"
        f"client = WorkerClient(WorkerSpec('small', command, own_session={own_session}))\n"
        "client.ask('echo', value=1)\n"
        "print(client.process.pid, flush=True)\n"
        "client.ask('never', value=input())\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        child = psutil.Process(int(known(parent.stdout).readline()))
        parent.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs([child], timeout=30)
    assert alive == []
