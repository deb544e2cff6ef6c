"""Runs trials on this machine, each in its own process: forked from a server, or else spawned."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from harness.columns import TrialStatus
from harness.errors import WorkerError
from harness.study.execution.prewarmed_server import (
    ANSWER,
    HAS_FORK_SERVER,
    LAST_WORDS_S,
    MESSAGE,
    KilledError,
    ServerProcess,
)
from harness.study.execution.worker_messages import (
    Event,
    ProcessEnded,
    TrialOutcome,
    TrialRequest,
    message_from_line,
)
from harness.training.training_loop import Evaluation

POLL_S = 1.0  # on Windows a longer wait would delay Ctrl-C
MOST_RESTARTS = 5  # of the fork server, without any trial that ended meanwhile
KILLS_COUNT_S = 10.0  # a SIGKILL counts as the kernel's up to so long after the kernel counted it


@dataclasses.dataclass(frozen=True)
class ProcessExit:
    """A trial's process is gone, with this exit code (negative: the signal)."""

    code: int


@dataclasses.dataclass(frozen=True)
class ServerGone:
    """A launcher's fork server is gone."""

    launcher: Launcher
    reason: str


Message = Evaluation | TrialOutcome | ProcessEnded | ProcessExit | ServerGone
Events = queue.SimpleQueue[tuple[int, Message]]
"""Messages with the ids of their requests; 0 is the id of `ServerGone`."""


class Launcher(Protocol):
    """Starts a process for a trial and puts its messages into a queue."""

    def start(self, request: TrialRequest) -> None: ...
    def kill(self, request_id: int) -> None: ...
    def close(self) -> None: ...


class LocalExecutor:
    """Trials as processes of this machine.

    `spawn` True uses no fork server. `standby` is a fork server that loads torch already.
    """

    def __init__(
        self,
        num_workers: int,
        plugins: Sequence[str] = (),
        *,
        spawn: bool = not HAS_FORK_SERVER,
        standby: ServerProcess | None = None,
    ) -> None:
        self.num_workers = num_workers
        self.events: Events = queue.SimpleQueue()
        self.ids = itertools.count(1)
        self.cancelled: set[int] = set()
        self.in_flight: set[int] = set()
        self.kernel_kills = KernelKills()
        self.n_restarts = 0
        self.plugins = tuple(plugins)
        self.launcher: Launcher = (
            SpawnLauncher(self.events, num_workers) if spawn else self._fork_launcher(standby)
        )

    def new_id(self) -> int:
        """An id that no request had, so that late events of an earlier phase are ignored."""
        return next(self.ids)

    def submit(self, request: TrialRequest) -> None:
        """Start a trial; `next_event` returns its events."""
        self.in_flight.add(request.request_id)
        self.launcher.start(request)

    def next_event(self, timeout_s: float | None) -> Event | None:
        """The next event of a trial that was not cancelled; None after `timeout_s` seconds."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = POLL_S if until is None else until - time.monotonic()
            try:
                request_id, message = self.events.get(timeout=min(max(left, 0.0), POLL_S))
            except queue.Empty:
                if left <= POLL_S and until is not None:
                    return None
                continue
            if isinstance(message, ServerGone):
                self._restart(message)
                continue
            if isinstance(message, ProcessExit | ProcessEnded):
                self.in_flight.discard(request_id)
            if isinstance(message, ProcessExit):  # it was not lost with the fork server
                self.n_restarts = 0
            if request_id in self.cancelled:
                continue
            if isinstance(message, ProcessExit):
                message = self._ended(message.code)
            return Event(request_id, message)

    def cancel(self, request_id: int) -> None:
        """Kill a trial; none of its events is returned from now on."""
        self.cancelled.add(request_id)
        self.launcher.kill(request_id)

    def close(self) -> None:
        """Kill what runs."""
        self.launcher.close()

    def _restart(self, gone: ServerGone) -> None:
        """Start a new fork server in place of one that is gone. Its trials have crashed."""
        if gone.launcher is not self.launcher:
            return  # each thread that finds it gone says so
        self.n_restarts += 1
        if self.n_restarts > MOST_RESTARTS:
            raise WorkerError(f"{gone.reason}, {self.n_restarts} times in a row")
        self.launcher.close()
        for request_id in sorted(self.in_flight):
            self.events.put((request_id, ProcessEnded(TrialStatus.CRASHED, gone.reason)))
        self.launcher = self._fork_launcher()

    def _fork_launcher(self, standby: ServerProcess | None = None) -> ForkLauncher:
        """A fork server that is ready. One that is killed before is started again."""
        while True:
            try:
                server = standby or ServerProcess()
                return ForkLauncher(self.events, self.plugins, server)
            except KilledError:
                standby = None
                self.n_restarts += 1
                if self.n_restarts > MOST_RESTARTS:
                    raise

    def _ended(self, code: int) -> ProcessEnded:
        """How a process ended: by a signal, killed for lack of memory, or with an exit code."""
        if code == -9 and self.kernel_kills.explain_one():
            how = "killed by the system, which had no memory left"
            return ProcessEnded(TrialStatus.OUT_OF_MEMORY, how)
        how = f"exit code {code} without a result"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = f"killed by {signal.Signals(-code).name}"
        return ProcessEnded(TrialStatus.CRASHED, how)


class ForkLauncher:
    """Starts trials through a fork server that has torch loaded."""

    def __init__(self, events: Events, plugins: Sequence[str], server: ServerProcess) -> None:
        self.events, self.server = events, server
        self.closing = False
        self.readers: dict[int, threading.Thread] = {}
        server.make_ready(plugins)
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, request: TrialRequest) -> None:
        """Fork a child and hand it the request."""
        ours, theirs = socket.socketpair()
        reader = threading.Thread(target=self._read, args=(request.request_id, ours), daemon=True)
        self.readers[request.request_id] = reader
        # Before the child, which may die at once: its end comes after its messages
        reader.start()
        with theirs:
            message = MESSAGE.pack(b"s", request.request_id)
            try:
                ours.sendall(request.to_line().encode())
                socket.send_fds(self.server.control, [message], [theirs.fileno()])
            except OSError:
                self._broken()

    def kill(self, request_id: int) -> None:
        """Have the server kill the child."""
        with contextlib.suppress(OSError):
            self.server.control.sendall(MESSAGE.pack(b"k", request_id))

    def close(self) -> None:
        """Close the control socket: the server kills its children and exits."""
        self.closing = True
        self.server.close()
        for reader in self.readers.values():
            reader.join(timeout=1)
        self.server.log.close()

    def _read(self, request_id: int, connection: socket.socket) -> None:
        """Put a child's messages until it is gone."""
        with connection, contextlib.suppress(OSError):
            _forward(connection.makefile("r", encoding="utf-8"), request_id, self.events)

    def _listen(self) -> None:
        """Put the end of each child, after all its messages, and the end of the server."""
        while True:
            try:
                data = self.server.control.recv(ANSWER.size, socket.MSG_WAITALL)
            except OSError:
                data = b""
            if len(data) < ANSWER.size:
                if not self.closing:
                    self._broken()
                return
            _, request_id, status = ANSWER.unpack(data)
            reader = self.readers.pop(request_id, None)
            if reader is not None:
                reader.join(LAST_WORDS_S)
            code = os.waitstatus_to_exitcode(status)
            self.events.put((request_id, ProcessExit(code)))
            self.server.shorten_log()

    def _broken(self) -> None:
        reason = f"the fork server is gone: {self.server.how_it_ended()}"
        self.events.put((0, ServerGone(self, reason)))


class SpawnLauncher:
    """Starts each trial in a spawned process. The next ones load torch meanwhile."""

    def __init__(self, events: Events, num_workers: int) -> None:
        self.events = events
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.readers: dict[int, threading.Thread] = {}
        self.spare: collections.deque[subprocess.Popen[bytes]] = collections.deque()
        self.num_workers = num_workers
        self._prepare()

    def start(self, request: TrialRequest) -> None:
        """Hand the request to a process that waits for one."""
        process = self.spare.popleft()
        self.processes[request.request_id] = process
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.write(request.to_line().encode())
            # It stays open: when it closes, the worker exits
            process.stdin.flush()
        arguments = (request.request_id, process)
        reader = threading.Thread(target=self._read, args=arguments, daemon=True)
        self.readers[request.request_id] = reader
        reader.start()
        self._prepare()

    def kill(self, request_id: int) -> None:
        """Kill the process."""
        process = self.processes.get(request_id)
        if process is not None:
            process.kill()

    def close(self) -> None:
        """Kill every process."""
        for process in [*self.processes.values(), *self.spare]:
            process.kill()
            process.wait()
        for reader in [*self.readers.values()]:
            reader.join(LAST_WORDS_S)
        for process in self.spare:
            _close_streams(process)

    def _prepare(self) -> None:
        while len(self.spare) < self.num_workers:
            flags: dict[str, Any] = (
                {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
                if sys.platform == "win32"
                else {"start_new_session": True}
            )
            self.spare.append(
                subprocess.Popen(
                    [sys.executable, "-m", "harness.study.execution.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    **flags,
                )
            )

    def _read(self, request_id: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            _forward(process.stdout, request_id, self.events)
        self.events.put((request_id, ProcessExit(process.wait())))
        _close_streams(process)
        self.processes.pop(request_id, None)
        self.readers.pop(request_id, None)


def _close_streams(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _forward(lines: IO[Any], request_id: int, events: Events) -> None:
    """Put the message of every whole line; a line cut short by a kill is dropped."""
    for line in lines:
        try:
            events.put((request_id, message_from_line(line)))
        except ValueError:
            return


class KernelKills:
    """Finds out which SIGKILLs came from the kernel for lack of memory.

    The kernel counts its kills but does not say which processes it killed. So each kill explains
    one SIGKILL that is noticed soon after.
    """

    def __init__(self) -> None:
        self.counted = _out_of_memory_kills()
        self.unexplained, self.until = 0, 0.0

    def explain_one(self) -> bool:
        """Whether a SIGKILL that is noticed now was the kernel's."""
        now, counted = time.monotonic(), _out_of_memory_kills()
        if now > self.until:
            self.unexplained = 0
        if counted > self.counted:
            self.unexplained += counted - self.counted
            self.counted, self.until = counted, now + KILLS_COUNT_S
        if self.unexplained == 0:
            return False
        self.unexplained -= 1
        return True


def _out_of_memory_kills() -> int:
    """The kernel's count of kills for lack of memory: of this control group, or the machine."""
    for path in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0
