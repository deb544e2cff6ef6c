"""Live worker processes of the sides.

Started, spoken to in JSON lines, ended with all that they started. Times nothing itself.

A `WorkerSpec` says which Python runs side_worker.py and where; a `WorkerClient` is the process that
runs there, a fork server where there is fork. Each block begins with `fresh()`: a forked process,
or a new one.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final

from harness.errors import InputError, Shown

ANSWER_TIMEOUT_S: Final = 300.0
"""For one command: setting a benchmark up may download nothing, but may compile.

A step that hangs must not take for ever.
"""

END_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True)
class WorkerSpec:
    """Where a side's processes run.

    Its word in messages, its Python, the worker's file, and the variables that it is given.

    `options` go to side_worker.py.
    """

    label: str
    python: str
    worker: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    options: tuple[str, ...] = ()


class WorkerClient:
    """One process of side_worker.py and the line to it.

    Every failure is an InputError that names the side.
    """

    def __init__(self, seat: WorkerSpec) -> None:
        self.seat = seat
        self.hello: dict[str, Any] = {}
        self._is_open = False
        self._start()

    def fresh(self) -> None:
        """Begin a block: a process that has loaded nothing but torch."""
        forks = self._greeted()["forks"]
        if self._is_open and forks:
            self.ask("end")
        elif self._is_open:
            self.restart()
        if forks:
            self.ask("fork")
        self._is_open = True

    def restart(self) -> None:
        """End the process and start another, without waiting for it to be ready."""
        self.close()
        self._start()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.send(do, **arguments)
        return self.receive()

    def send(self, do: str, **arguments: Any) -> None:
        """Send a command; `receive` gives its answer."""
        self._greeted()
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(OSError):  # a process that is gone is told by `receive`, with its reason
            stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            stdin.flush()

    def receive(self, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """The answer to the last command."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            self._kill()
            raise self._gone(f"no answer within {timeout_s:.0f} s") from None
        if line is None:
            raise self._gone(self._cause())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise StepError(self.seat.label, answer["error"])
        if "gone" in answer:
            raise self._gone(answer["gone"])
        return answer

    def close(self) -> None:
        """End the process and whatever it has started.

        By the end of its input, or else by force.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with suppress(OSError):
            stdin.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._kill()
        self._reader.join(END_TIMEOUT_S)
        stdout.close()
        self._errors.close()
        self._is_open = False

    def _start(self) -> None:
        self._errors = TemporaryFile("w+b")  # noqa: SIM115  # closed with the process
        try:
            self._process = subprocess.Popen(
                [self.seat.python, str(self.seat.worker), *self.seat.options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=dict(self.seat.environment),
                start_new_session=True,  # Ctrl-C is for the conductor; and all of it can be ended
            )
        except OSError as error:
            self._errors.close()
            got = Shown(f"{self.seat.python}: {error.strerror}")
            raise InputError(
                self.seat.label, expected="a Python that can be run", got=got
            ) from None
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._reader = threading.Thread(
            target=_read, args=(self._process, self._lines), daemon=True
        )
        self._reader.start()
        self.hello = {}

    def _greeted(self) -> dict[str, Any]:
        """What the process said first.

        It takes a second or two to import torch, so that several are started together.
        """
        if not self.hello:
            try:
                line = self._lines.get(timeout=ANSWER_TIMEOUT_S)
            except queue.Empty:
                line = None
            if line is None:
                raise InputError(
                    self.seat.label,
                    expected="an environment in which torch can be imported",
                    got=Shown(self._cause()),
                )
            self.hello = json.loads(line)
        return self.hello

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()

    def _gone(self, how: str) -> StepError:
        return StepError(self.seat.label, how)

    def _cause(self) -> str:
        """Why the process is no more: its last line, or its signal."""
        try:
            code = self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return "it no longer answers"
        lines = self.stderr().strip().splitlines()
        if code < 0 and not lines:
            return f"killed by signal {-code}"
        return lines[-1] if lines else f"ended with exit code {code}"

    def stderr(self) -> str:
        """What the process and its blocks have printed so far."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")


class StepError(InputError):
    """A side's process could not do what it was told: `reason` says why."""

    def __init__(self, label: str, reason: str, benchmark: str = "") -> None:
        self.label, self.reason = label, reason
        expected = "steps that can be loaded and run"
        super().__init__(label, benchmark, expected=expected, got=Shown(reason))

    def of(self, benchmark: str) -> StepError:
        """The same error, naming the benchmark."""
        return StepError(self.label, self.reason, benchmark)


def _read(process: subprocess.Popen[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    assert process.stdout is not None
    with suppress(ValueError, OSError):  # closed under us
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


@contextmanager
def worker_clients(seats: Iterable[WorkerSpec]) -> Iterator[tuple[WorkerClient, ...]]:
    """A process for each seat, started together and ended together, whatever happens."""
    started: list[WorkerClient] = []
    try:
        started.extend(WorkerClient(seat) for seat in seats)
        yield tuple(started)
    finally:
        for talker in started:
            talker.close()
