"""The client of a worker process: commands go out and answers come back, each one line of JSON.

It starts the process, asks it, ends it, and says why it died. It knows no command.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any, Final

ANSWER_TIMEOUT_S: Final = 900.0  # a compilation takes minutes
END_TIMEOUT_S: Final = 5.0  # for a worker to end by itself once its input is closed


@dataclass(frozen=True)
class WorkerSpec:
    """How a worker process is started; `label` names it in messages.

    `environment` None is that of this process. `own_session`: Ctrl-C in the terminal does not reach
    the worker, and killing it also kills every process that it has started.
    """

    label: str
    command: tuple[str, ...]
    environment: Mapping[str, str] | None = None
    own_session: bool = False


class WorkerFailed(RuntimeError):  # noqa: N818  # its subclass is no error of the caller's either
    """A worker answered a command with an error."""


class WorkerGone(WorkerFailed):
    """A worker ended or no longer answers; what it held is lost."""


class WorkerClient:
    """One worker process: it reads commands from its input and writes answers to its output.

    A command is `{"do": name, ...its arguments}`, an answer a JSON object; `{"error": reason}` is
    the answer to a command that failed. Raises OSError where the process can't be started.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self._errors = TemporaryFile("w+b")  # noqa: SIM115  # closed with the process
        try:
            self.process = subprocess.Popen(
                spec.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=None if spec.environment is None else dict(spec.environment),
                start_new_session=spec.own_session,
            )
        except OSError:
            self._errors.close()
            raise
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._input, self._output = self.process.stdin, self.process.stdout
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._reader = threading.Thread(
            target=_read_lines, args=(self._output, self._lines), daemon=True
        )
        self._reader.start()
        self._n_unread = 0

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.send(do, **arguments)
        return self.receive()

    def send(self, do: str, **arguments: Any) -> None:
        """Send a command; `receive` returns its answer, and says why where the worker is gone."""
        self._n_unread += 1
        with suppress(OSError):
            self._input.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self._input.flush()

    def receive(self, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """The answer to the last command sent; where none was sent, what the worker says first.

        Raises WorkerFailed where it is an error, or where that of an earlier command was one. Kills
        the worker and raises WorkerGone if nothing comes within `timeout_s`.
        """
        answer = self._next_answer(timeout_s)
        while self._n_unread:
            answer = self._next_answer(timeout_s)
        return answer

    def close(self) -> None:
        """End the process by closing its input, or by force where it goes on for 5 s."""
        with suppress(OSError):
            self._input.close()
        try:
            self.process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join(END_TIMEOUT_S)
        self._output.close()
        self._errors.close()

    def kill(self) -> None:
        """Kill the process, and all that it has started where it has a session of its own."""
        with suppress(ProcessLookupError, PermissionError):
            if self.spec.own_session and hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        self.process.wait()

    def cause_of_death(self) -> str:
        """Why the process ended: its signal, the last line of its stderr, or its exit code."""
        try:
            code = self.process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return "it no longer answers"
        if code < 0:
            return f"killed by signal {-code}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"ended with exit code {code}"

    def _next_answer(self, timeout_s: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            self.kill()
            raise WorkerGone(f"no answer within {timeout_s:.0f} s") from None
        if line is None:
            self._lines.put(None)  # for the next call
            raise WorkerGone(self.cause_of_death())
        self._n_unread = max(self._n_unread - 1, 0)
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            self.kill()
            raise WorkerGone(f"its answer is no JSON: {line[:40]!r}") from None
        if "error" in answer:
            raise WorkerFailed(answer["error"])
        return answer


def _read_lines(output: IO[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    """Put each line of the output into the queue, and None at its end."""
    with suppress(ValueError, OSError):  # closed by `close`
        for line in output:
            lines.put(line)
    lines.put(None)
