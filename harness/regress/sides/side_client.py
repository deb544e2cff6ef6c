"""Clients of the sides' worker processes: a fresh one for each block, errors that name the side.

A client runs side_worker.py in its side's Python: a fork server where the system has fork.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from harness.errors import InputError, Shown
from harness.processes.worker_client import WorkerClient, WorkerFailed, WorkerSpec

SIDE_ANSWER_TIMEOUT_S: Final = (
    300.0  # setting a benchmark up may compile; a step that hangs must end
)


class StepError(InputError):
    """The steps of a side failed or ended its process; `reason` says why."""

    def __init__(self, label: str, reason: str, benchmark: str = "") -> None:
        self.label, self.reason = label, reason
        expected = "steps that can be loaded and run"
        super().__init__(label, benchmark, expected=expected, got=Shown(reason))

    def of(self, benchmark: str) -> StepError:
        """The same error, naming the benchmark."""
        return StepError(self.label, self.reason, benchmark)


class SideClient:
    """The worker process of one side. Every failure is an InputError that names the side."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self._is_open = False
        self._start()

    @property
    def pid(self) -> int:
        """The process that is running now; `fresh` and `restart` may start another."""
        return self.worker.process.pid

    def fresh(self) -> None:
        """Begin a block in a process that has imported torch and nothing else."""
        forks = self._wait_until_ready()["forks"]
        if self._is_open and forks:
            self.ask("end")
        elif self._is_open:
            self.restart()
        if forks:
            self.ask("fork")
        self._is_open = True

    def restart(self) -> None:
        """End the process and start another, without waiting until that is ready."""
        self.close()
        self._start()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.send(do, **arguments)
        return self.receive()

    def send(self, do: str, **arguments: Any) -> None:
        """Send a command; `receive` returns its answer."""
        self._wait_until_ready()
        self.worker.send(do, **arguments)

    def receive(self, timeout_s: float = SIDE_ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """The answer to the last command."""
        try:
            return self.worker.receive(timeout_s)
        except WorkerFailed as error:
            raise StepError(self.spec.label, str(error)) from None

    def close(self) -> None:
        """End the process and all that it has started."""
        self.worker.close()
        self._is_open = False

    def _start(self) -> None:
        self._hello: dict[str, Any] = {}
        try:
            self.worker = WorkerClient(self.spec)
        except OSError as error:
            got = Shown(f"{self.spec.command[0]}: {error.strerror}")
            expected = "a Python that can be run"
            raise InputError(self.spec.label, expected=expected, got=got) from None

    def _wait_until_ready(self) -> dict[str, Any]:
        """The worker's first line, which it writes once it has imported torch (a second or two)."""
        if not self._hello:
            try:
                self._hello = self.worker.receive(SIDE_ANSWER_TIMEOUT_S)
            except WorkerFailed as error:
                expected = "an environment in which torch can be imported"
                got = Shown(str(error))
                raise InputError(self.spec.label, expected=expected, got=got) from None
        return self._hello


@contextmanager
def side_clients(specs: Iterable[WorkerSpec]) -> Iterator[tuple[SideClient, ...]]:
    """A client for each spec; their processes start together and are ended together."""
    started: list[SideClient] = []
    try:
        started.extend(SideClient(spec) for spec in specs)
        yield tuple(started)
    finally:
        for client in started:
            client.close()
