"""The interface of a launcher, which starts a process for each trial, and the messages it puts."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
from collections.abc import Iterable
from typing import Protocol

from harness.study.execution.worker_messages import (
    ProcessEnded,
    TrialMessage,
    TrialRequest,
    message_from_line,
)


@dataclasses.dataclass(frozen=True)
class ProcessExit:
    """A trial's process is gone, with this exit code (negative: the signal)."""

    code: int


@dataclasses.dataclass(frozen=True)
class NotStarted:
    """The system did not start a process for a trial, and why: no attempt of the trial."""

    reason: str

    @classmethod
    def from_errno(cls, number: int) -> NotStarted:
        """The message for a fork that failed with this errno."""
        return cls(os.strerror(number))


@dataclasses.dataclass(frozen=True)
class ServerGone:
    """A launcher's fork server is gone."""

    launcher: Launcher
    reason: str


LauncherMessage = TrialMessage | ProcessEnded | ProcessExit | NotStarted | ServerGone


class MessageQueue(Protocol):
    """Messages with the ids of their requests; 0 is the id of `ServerGone`.

    A `queue.SimpleQueue` is one: `get` raises queue.Empty after `timeout` seconds.
    """

    def put(self, item: tuple[int, LauncherMessage], /) -> None: ...
    def get(self, *, timeout: float) -> tuple[int, LauncherMessage]: ...


class Launcher(Protocol):
    """Starts a process for a trial and puts its messages into a queue."""

    def start(self, request: TrialRequest) -> None:
        """Start a process. It puts `NotStarted` where the system starts none."""
        ...

    def kill(self, request_id: int) -> None:
        """Kill a trial's process with all that it has started."""
        ...

    def close(self) -> None:
        """Kill all processes."""
        ...


def new_queue() -> MessageQueue:
    """A queue that any thread may use."""
    return queue.SimpleQueue()


def forward(lines: Iterable[str | bytes], request_id: int, messages: MessageQueue) -> None:
    """Put the message of every whole line; a line cut short by a kill is dropped."""
    with contextlib.suppress(ValueError):
        for line in lines:
            messages.put((request_id, message_from_line(line)))
