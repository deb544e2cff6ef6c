"""Live worker processes, one a variant: started, spoken to in JSON lines, and ended.

Times nothing itself.
"""

from __future__ import annotations

import dataclasses
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Self

from harness.timing.clocks import BlockTime
from harness.timing.variants import parse_variant

# For one command: a compilation takes minutes, a step that hangs must not take for ever
ANSWER_TIMEOUT_S = 900.0
END_TIMEOUT_S = 5.0


class WorkerGone(RuntimeError):  # noqa: N818  # a state of affairs, as the standard library's BrokenPipe
    """A worker ended or no longer answers; what was prepared in it is lost."""


class Worker:
    """One process of `python -m harness.timing --worker VARIANT`, and the line to it."""

    def __init__(self, variant: str, plugins: Sequence[str] = ()) -> None:
        self._errors = TemporaryFile(  # noqa: SIM115  # closed with the worker
            "w+", encoding="utf-8", errors="replace"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.timing", "--worker", variant],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._waiting = 0
        if plugins:
            self.send({"do": "plugins", "names": list(plugins)})

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and wait for its answer.

        Raises WorkerGone, and RuntimeError where the answer is an error.
        """
        self.send(command)
        return self.receive()

    def send(self, command: Mapping[str, Any]) -> None:
        """Send a command; `receive` gives its answer."""
        stdin = self._process.stdin
        assert stdin is not None
        self._waiting += 1
        try:
            stdin.write(json.dumps(command) + "\n")
            stdin.flush()
        except (BrokenPipeError, OSError):
            raise WorkerGone(self._cause()) from None

    def receive(self, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """The answer to the last command sent; an error of an earlier one comes first."""
        answer: dict[str, Any] = {}
        while self._waiting:
            try:
                line = self._lines.get(timeout=timeout_s)
            except queue.Empty:
                self._process.kill()
                raise WorkerGone(f"no answer within {timeout_s:.0f} s") from None
            if line is None:
                raise WorkerGone(self._cause())
            self._waiting -= 1
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(answer["error"])
        return answer

    def close(self, *, at_once: bool = False) -> None:
        """End the process: by the end of its input, or by force where that is not heard, or `at_once`."""
        if at_once:
            self._process.kill()
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with suppress(OSError):
            stdin.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(END_TIMEOUT_S)
        stdout.close()
        self._errors.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with suppress(ValueError, OSError):  # closed under us
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    def _cause(self) -> str:
        """Why the process is no more: its signal, or its last line."""
        try:
            code = self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return "it no longer answers"
        if code < 0:
            return f"killed by signal {-code}"
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1] if lines else f"ended with exit code {code}"


@dataclasses.dataclass(frozen=True)
class ReplicaGroup:
    """The copies of one variant's worker: one, but for `processes=N`.

    They run their blocks at the same time.
    """

    members: tuple[Worker, ...]

    def ask(self, **command: Any) -> dict[str, Any]:
        """Each member in turn does the command; the first one's answer."""
        answers = [member.ask(**command) for member in self.members]
        return answers[0]

    def block(self, name: str, n_steps: int) -> BlockTime:
        """A block in every member at the same time; the time is that of the slowest."""
        for member in self.members:
            member.send({"do": "block", "name": name, "n_steps": n_steps})
        times = [BlockTime(**member.receive()) for member in self.members]
        return max(times, key=lambda time: time.wall_time_s)

    def close(self, *, at_once: bool = False) -> None:
        """End every member."""
        for member in self.members:
            member.close(at_once=at_once)


class Workers:
    """The teams of a session, by variant.

    Started when first asked for, kept until the end, and ended together.
    """

    def __init__(self, plugins: Sequence[str] = ()) -> None:
        self.plugins = tuple(_absolute(name) for name in plugins)
        self._teams: dict[str, ReplicaGroup] = {}

    def start(self, variants: Iterable[str]) -> None:
        """Start the processes of several variants at once."""
        for name in variants:
            self.team(name)

    def team(self, variant: str) -> ReplicaGroup:
        """The team of a variant."""
        if variant not in self._teams:
            copies = parse_variant(variant).n_processes
            self._teams[variant] = ReplicaGroup(
                tuple(Worker(variant, self.plugins) for _ in range(copies))
            )
        return self._teams[variant]

    def discard(self, variant: str, *, at_once: bool = False) -> None:
        """End a team of which a member is gone; the next request starts it anew."""
        team = self._teams.pop(variant, None)
        if team is not None:
            team.close(at_once=at_once)

    def drop(self) -> None:
        """Have every team forget what it has prepared; a team that is gone is discarded."""
        for variant, team in list(self._teams.items()):
            try:
                team.ask(do="drop")
            except RuntimeError:
                self.discard(variant)

    def after(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """What follows a request: all is dropped.

        After one that was interrupted, ended, whatever a worker is busy with.
        """
        if error is None:
            self.drop()
            return
        for variant in list(self._teams):
            self.discard(variant, at_once=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for variant in list(self._teams):
            self.discard(variant, at_once=error is not None)


def _absolute(plugin: str) -> str:
    return str(Path(plugin).absolute()) if plugin.endswith(".py") else plugin
