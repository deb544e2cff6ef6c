"""The executor of this machine: a process for each trial, from a fork server where there is one, else spawned ahead."""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from harness.errors import WorkerError
from harness.search.messages import End, Event, TrialRequest

POLL_S = 1.0  # on Windows a wait lets no Ctrl-C through
START_TIMEOUT_S = 120.0  # loading torch from a cold disk
LAST_WORDS_S = (
    5.0  # for a dead trial's last lines; a process of its own may hold the line open for ever
)
# Elsewhere than on Linux a process that has used the system's math libraries can't safely be forked, or not at all.
HAS_FORK_SERVER = sys.platform == "linux"

Events = queue.SimpleQueue[Event]


class Launcher(Protocol):
    """Starts a process for a trial, and tells of it through a queue of events."""

    def start(self, request: TrialRequest) -> None: ...
    def kill(self, request_id: int) -> None: ...
    def close(self) -> None: ...


class LocalExecutor:
    """Trials as processes of this machine. `spawn` True does without the fork server."""

    def __init__(
        self, num_workers: int, plugins: Sequence[str] = (), *, spawn: bool = not HAS_FORK_SERVER
    ) -> None:
        self.num_workers = num_workers
        self.events: Events = queue.SimpleQueue()
        self.ids = itertools.count(1)
        self.cancelled: set[int] = set()
        self.out_of_memory_kills = _out_of_memory_kills()
        self.launcher: Launcher = (
            SpawnLauncher(self.events, num_workers) if spawn else ForkLauncher(self.events, plugins)
        )

    def new_id(self) -> int:
        """A number that no request had: late events of one phase must not be taken for another's."""
        return next(self.ids)

    def submit(self, request: TrialRequest) -> None:
        """Start a trial; its events are heard of through `next_event`."""
        self.launcher.start(request)

    def next_event(self, timeout_s: float | None) -> Event | None:
        """The next event of a trial that was not cancelled; None when `timeout_s` seconds pass without one."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = POLL_S if until is None else until - time.monotonic()
            try:
                event = self.events.get(timeout=min(max(left, 0.0), POLL_S))
            except queue.Empty:
                if left <= POLL_S and until is not None:
                    return None
                continue
            if event.kind == "broken":
                raise WorkerError(event.data["reason"])
            if event.request_id in self.cancelled:
                continue
            if event.kind == "ended":
                return self._named(event)
            return event

    def cancel(self, request_id: int) -> None:
        """Kill a trial; nothing more is heard of it."""
        self.cancelled.add(request_id)
        self.launcher.kill(request_id)

    def close(self) -> None:
        """Kill what runs."""
        self.launcher.close()

    def _named(self, event: Event) -> Event:
        """Name the way a process ended: by a signal, by the kernel for lack of memory, or with an exit code."""
        code = event.data["code"]
        end, how = End.CRASHED, f"exit code {code} without a result"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = f"killed by {signal.Signals(-code).name}"
        kills = _out_of_memory_kills()
        if code == -9 and kills > self.out_of_memory_kills:
            self.out_of_memory_kills = kills
            end, how = End.OUT_OF_MEMORY, "killed by the system, which had no memory left"
        return Event(event.request_id, "ended", {"end": end, "how": how})


class ForkLauncher:
    """Starts trials through a fork server that has torch loaded."""

    def __init__(self, events: Events, plugins: Sequence[str]) -> None:
        from harness.search import forkserver

        self.messages, self.answers = forkserver.MESSAGE, forkserver.ANSWER
        self.events = events
        self.closing = False
        self.readers: dict[int, threading.Thread] = {}
        self.control, theirs = socket.socketpair()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
        with theirs:
            self.server = subprocess.Popen(
                [
                    *(sys.executable, "-m", "harness.search.forkserver"),
                    *(str(theirs.fileno()), json.dumps(list(plugins))),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                start_new_session=True,
            )
        self.control.settimeout(START_TIMEOUT_S)
        try:
            ready = self.control.recv(self.answers.size)
        except TimeoutError:
            ready = b""
        if not ready:
            self.server.kill()
            self.server.wait()
            words = self._last_words()
            self.control.close()
            self.log.close()
            raise WorkerError(f"no worker can be started: {words}")
        self.control.settimeout(None)
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, request: TrialRequest) -> None:
        """Fork a child and hand it the request."""
        ours, theirs = socket.socketpair()
        reader = threading.Thread(target=self._read, args=(request.request_id, ours), daemon=True)
        self.readers[request.request_id] = reader
        reader.start()  # before the child, which may die at once: its end is told after the reader's
        with theirs:
            message = self.messages.pack(b"s", request.request_id)
            try:
                ours.sendall((json.dumps(request.to_dict()) + "\n").encode())
                socket.send_fds(self.control, [message], [theirs.fileno()])
            except OSError:
                self._broken()

    def kill(self, request_id: int) -> None:
        """Have the server kill the child."""
        with contextlib.suppress(OSError):
            self.control.sendall(self.messages.pack(b"k", request_id))

    def close(self) -> None:
        """Close the control socket: the server kills its children and exits."""
        self.closing = True
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)
        self.control.close()
        try:
            self.server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
        for reader in self.readers.values():
            reader.join(timeout=1)
        self.log.close()

    def _read(self, request_id: int, connection: socket.socket) -> None:
        """Turn a child's lines into events, until it is gone."""
        with connection, contextlib.suppress(OSError):
            _forward(connection.makefile("r", encoding="utf-8"), request_id, self.events)

    def _listen(self) -> None:
        """Turn the server's answers into events: a child's end, after all it said; the server's own end."""
        while True:
            try:
                data = self.control.recv(self.answers.size, socket.MSG_WAITALL)
            except OSError:
                data = b""
            if len(data) < self.answers.size:
                if not self.closing:
                    self._broken()
                return
            _, request_id, status = self.answers.unpack(data)
            reader = self.readers.pop(request_id, None)
            if reader is not None:
                reader.join(LAST_WORDS_S)
            code = os.waitstatus_to_exitcode(status)
            self.events.put(Event(request_id, "ended", {"code": code}))

    def _broken(self) -> None:
        reason = f"the fork server is gone: {self._last_words()}"
        self.events.put(Event(0, "broken", {"reason": reason}))

    def _last_words(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            self.log.seek(0)
            lines = self.log.read().decode(errors="replace").strip().splitlines()
            if lines:
                return str(lines[-1])
        return f"exit code {self.server.poll()}"


class SpawnLauncher:
    """Starts each trial in a spawned process; the next ones load torch while the present ones train."""

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
            process.stdin.write((json.dumps(request.to_dict()) + "\n").encode())
            process.stdin.flush()  # and left open: when it closes, the worker knows that we are gone
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
                    [sys.executable, "-m", "harness.search.worker"],
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
        self.events.put(Event(request_id, "ended", {"code": process.wait()}))
        _close_streams(process)
        self.processes.pop(request_id, None)
        self.readers.pop(request_id, None)


def _close_streams(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _forward(lines: IO[Any], request_id: int, events: Events) -> None:
    """Every whole line as an event; a line cut short by a kill is dropped."""
    for line in lines:
        try:
            data = json.loads(line)
        except ValueError:
            return
        events.put(Event(request_id, data.pop("kind"), data))


def _out_of_memory_kills() -> int:
    """How many processes the kernel has killed for lack of memory, as far as it says."""
    total = 0
    for path, word in (
        (Path("/sys/fs/cgroup/memory.events"), "oom_kill"),
        (Path("/proc/vmstat"), "oom_kill"),
    ):
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == word:
                    total += int(count)
    return total
